"""The page as a person meets it, in a real browser."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable

import pytest

from tests.examples.browser import Page, browser

LAST = "document.querySelector('#talk').lastElementChild"


@pytest.fixture
def chromium() -> str:
    program = os.environ.get("SAFETY_TEST_CHROMIUM")
    if not program:
        pytest.skip("SAFETY_TEST_CHROMIUM names no browser")
    return program


async def _say(page: Page, text: str) -> None:
    await page.run(f"say.text.value = {json.dumps(text)}; say.requestSubmit()")


async def _visit(page: Page, address: str) -> None:
    await page.go(f"{address}/")
    await page.until("!document.getElementById('in').hidden")
    await page.run("document.forms['in'].user.value = 'ann'; document.forms['in'].submit()")
    await page.until("document.getElementById('name')?.textContent === 'ann'")

    await _say(page, "Hello sea")
    await page.until(f"{LAST}.className === 'theirs waiting' && {LAST}.textContent.length > 4")
    assert await page.run("send.hidden && !stop.hidden"), "the answer grows while it is written"
    await page.until("!send.hidden")
    assert "Hello sea" in await page.run(f"{LAST}.textContent")

    await _say(page, "This is UNSAFE")
    await page.until("!send.hidden")
    assert await page.run(f"[{LAST}.className, {LAST}.textContent]") == [
        "note",
        "This message can't be answered here.",
    ]

    await _say(page, "This is about SELFHARM")
    await page.until("!send.hidden")
    assert await page.run(f"{LAST}.className") == "care"
    assert "116 123" in await page.run(f"{LAST}.textContent")

    await _say(page, "And now?")
    await page.until(f"{LAST}.textContent.startsWith('You said: And')")
    await page.run("stop.click()")
    await page.until(f"{LAST}.textContent === 'You stopped the answer.'")
    assert await page.run("document.querySelectorAll('.mine').length") == 4

    await page.run("document.forms['out'].submit()")
    await page.until("document.getElementById('in')?.hidden === false")


@pytest.mark.parametrize("name", ["starlette", "flask"])
def test_a_visitor_logs_in_talks_is_refused_is_cared_for_and_stops_an_answer(
    name: str, serve: Callable[[str], str], chromium: str
) -> None:
    address = serve(name)

    async def visit() -> None:
        async with browser(chromium) as page:
            await _visit(page, address)

    asyncio.run(visit())
