"""A headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    async def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            answer: dict[str, Any] = json.loads(await self._socket.receive_str())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    async def go(self, url: str) -> None:
        await self.tell("Page.navigate", url=url)
        await self.until(
            f"location.href === {json.dumps(url)} && document.readyState === 'complete'"
        )

    async def run(self, script: str) -> Any:
        """The value of an expression of JavaScript."""
        answer = await self.tell(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, script: str, seconds: float = 60) -> None:
        """Wait until an expression is true."""
        async with asyncio.timeout(seconds):
            while not await self.run(f"Boolean({script})"):  # noqa: ASYNC110  # it is in another process
                await asyncio.sleep(0.02)


@asynccontextmanager
async def browser(program: str) -> AsyncGenerator[Page]:
    """A tab of a browser that is ended afterwards."""
    with tempfile.TemporaryDirectory() as profile:
        chromium = await asyncio.create_subprocess_exec(
            *(
                program,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ),
            *("--remote-debugging-port=0", f"--user-data-dir={profile}", "--no-first-run"),
            *("--no-proxy-server", "--disable-background-networking", "about:blank"),
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            async with aiohttp.ClientSession() as session:
                address = await _address(chromium)
                async with session.get(f"http://{address}/json/list") as tabs:
                    tab = next(tab for tab in await tabs.json() if tab["type"] == "page")
                async with session.ws_connect(
                    tab["webSocketDebuggerUrl"], max_msg_size=0
                ) as socket:
                    yield Page(socket)
        finally:
            chromium.terminate()
            await chromium.communicate()


async def _address(chromium: asyncio.subprocess.Process) -> str:
    assert chromium.stderr is not None
    async with asyncio.timeout(30):
        async for line in chromium.stderr:
            found = re.search(rb"DevTools listening on ws://([^/]+)/", line)
            if found:
                return found[1].decode()
    raise RuntimeError("the browser ended")
