from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
BOTH = pytest.mark.parametrize("name", ["starlette", "flask"])


def _tour(*options: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "tour.py"), *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@BOTH
def test_the_tour_meets_what_it_expects(
    name: str, port: int, alone: dict[str, str], tmp_path: Path
) -> None:
    environment = {**alone, "SAFETY_STORE": f"sqlite:///{tmp_path}/safety.db"}
    done = _tour("--app", name, "--port", str(port), "--end", environment=environment)
    assert done.returncode == 0, done.stdout
    shown = done.stdout
    for line in ("200 ok", "400 content_blocked", "413 input_too_long", "400 forbidden_role"):
        assert f"\n{line}" in shown
    for line in ("400 unreadable_body", "200 care", "429 rate_limited"):
        assert f"\n{line}" in shown
    assert shown.count("POST /chat") >= 10, "the records are shown"
    assert "FAILED" not in shown


def test_a_tour_that_goes_wrong_says_so_and_fails(port: int, alone: dict[str, str]) -> None:
    environment = {**alone, "SAFETY_OBSERVE": "true", "SAFETY_STORE": "sqlite:///.safety/tour.db"}
    done = _tour("--port", str(port), "--end", environment=environment)
    assert done.returncode == 1
    assert "FAILED: expected 400 content_blocked" in done.stdout


def test_an_app_that_does_not_start_fails_the_tour(port: int, alone: dict[str, str]) -> None:
    done = _tour("--port", str(port), "--end", environment={**alone, "SAFETY_HOLD": "nonsense"})
    assert done.returncode == 1
    assert "did not start" in done.stdout


def test_after_the_tour_the_chat_stays_until_it_is_ended(
    port: int, alone: dict[str, str], tmp_path: Path
) -> None:
    tour = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "tour.py"), "--port", str(port)],
        env={**alone, "SAFETY_STORE": f"sqlite:///{tmp_path}/safety.db"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert tour.stdout is not None
    with tour.stdout as lines:
        assert any("until you press Ctrl-C" in line for line in lines)
        os.kill(tour.pid, signal.SIGTERM)
        assert tour.wait(20) == 0


@BOTH
def test_an_example_is_short_and_its_guarding_lines_are_marked(name: str) -> None:
    lines = (EXAMPLES / f"{name}_app" / "app.py").read_text("utf-8").splitlines()
    assert len(lines) < 100
    ours = [line for line in lines if line.endswith("# safety_middleware")]
    assert len(ours) == 4
    code = "\n".join(line for line in lines if line not in ours)
    rest = code.replace("from safety_middleware.testing import FakeOpenAI", "").split('"""')[2]
    assert "safety" not in rest
    assert "guard" not in rest


def test_both_examples_have_the_same_page() -> None:
    pages = {
        (EXAMPLES / f"{n}_app/templates/chat.html").read_text("utf-8")
        for n in ("starlette", "flask")
    }
    assert len(pages) == 1
