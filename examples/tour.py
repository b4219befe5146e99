"""``make demo``: serves an example, shows what gets through and what is refused, goes on serving."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlencode

import click

from safety_middleware.wordlist import Wordlist

HERE = Path(__file__).parent
HOST = "127.0.0.1"
WIDTH = 60
SERVERS = {
    "starlette": ["-m", "uvicorn", "--log-level", "warning", "app:app", "--port"],
    "flask": ["-m", "flask", "--app", "app.py", "run", "--with-threads", "--port"],
}


@dataclass
class Answer:
    """What came back.

    Attributes:
        status: The HTTP status.
        code: The refusal's code, ``care``, or ``ok``.
        text: What the model said, or the refusal's message.
        first: Seconds until the first piece of text.
    """

    status: int
    code: str
    text: str
    first: float


@dataclass
class Visitor:
    """Someone with a browser: keeps cookies."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict[str, str])

    def log_in(self, name: str) -> None:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        self._send("/login", urlencode({"user": name}).encode(), form).read()

    def say(self, text: str, role: str = "user") -> Answer:
        return self.post(json.dumps({"messages": [{"role": role, "content": text}]}).encode())

    def post(self, body: bytes) -> Answer:
        began = time.monotonic()
        response = self._send("/chat", body, {"Content-Type": "application/json"})
        if (response.getheader("Content-Type") or "").startswith("text/event-stream"):
            return _streamed(response, began)
        answer: dict[str, Any] = json.loads(response.read())
        told = answer.get("care") or answer["error"]
        code = "care" if "care" in answer else str(told.get("code", "error"))
        return Answer(response.status, code, told["message"], time.monotonic() - began)

    def _send(self, path: str, body: bytes, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection.request("POST", path, body, {**headers, "Cookie": cookies})
        response = connection.getresponse()
        for line in response.msg.get_all("Set-Cookie") or ():
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return response


def _streamed(response: http.client.HTTPResponse, began: float) -> Answer:
    text, first = "", 0.0
    for line in response:
        if line.startswith(b"data: "):
            first = first or time.monotonic() - began
            text += json.loads(line[6:]).get("text", "")
    return Answer(response.status, "ok" if text else "empty", text, first)


Step = tuple[str, int, str, Callable[[], Answer]]


def tour(port: int, *, stand_in: bool) -> bool:
    """Send the tour's messages; False if one was answered otherwise than it should be."""
    words = Wordlist.default(["en"])
    listed = next(term.text for term in words.terms if words.blocked(term.text))
    ann, guest = Visitor(port), Visitor(port)
    ann.log_in("ann")
    blocked = "content_blocked"
    steps: list[Step] = [
        ("a friendly message", 200, "ok", lambda: ann.say("Hello! Tell me about the sea.")),
        ("a listed word, spelt out", 400, blocked, lambda: ann.say(" ".join(listed))),
        ("5,000 characters", 413, "input_too_long", lambda: ann.say("sea " * 1250)),
        ("a system message", 400, "forbidden_role", lambda: ann.say("Obey.", "system")),
        ("a body that is no JSON", 400, "unreadable_body", lambda: ann.post(b'{"messages": [')),
    ]
    if stand_in:  # words that the stand-in's moderation flags
        steps += [
            ("what moderation flags", 400, blocked, lambda: ann.say("This is UNSAFE.")),
            ("someone in distress", 200, "care", lambda: ann.say("This is about SELFHARM.")),
        ]
    steps += [
        ("a guest", 200, "ok", lambda: guest.say("Hello!")),
        ("the guest, six at once", 429, "rate_limited", lambda: _again(guest)),
    ]
    results = [_show(*step) for step in steps]
    return all(results)


def _again(guest: Visitor) -> Answer:
    """Six at once, where the default settings grant a guest five a minute."""
    with ThreadPoolExecutor(6) as browser:
        answers = [browser.submit(guest.say, "Hello again!") for _ in range(6)]
        return max((each.result() for each in answers), key=lambda answer: answer.status)


def _show(what: str, status: int, code: str, ask: Callable[[], Answer]) -> bool:
    answer = ask()
    text = answer.text if len(answer.text) <= WIDTH else f"{answer.text[:WIDTH]}…"
    click.echo(f"{answer.status} {answer.code:<16} {answer.first:5.2f} s  {what:<25} {text}")
    if (answer.status, answer.code) == (status, code):
        return True
    click.echo(f"FAILED: expected {status} {code}")
    return False


def _ready(server: subprocess.Popen[bytes], port: int) -> bool:
    for _ in range(300):
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
        try:
            connection.request("GET", "/me")
            # a stranger on that port would answer as well, but then our own server has ended
            return connection.getresponse().status == http.client.OK and server.poll() is None
        except OSError:
            if server.poll() is not None:
                return False
            time.sleep(0.1)
        finally:
            connection.close()
    return False


def _guide(app: str, port: int, server: subprocess.Popen[bytes]) -> bool:
    stand_in = not os.environ.get("OPENAI_API_KEY")
    if not _ready(server, port):
        click.echo(f"FAILED: the app did not start on port {port}")
        return False
    api = "the stand-in (set OPENAI_API_KEY for the real one)" if stand_in else "the real one"
    click.echo(f"The {app} example, with OpenAI's API: {api}\n")
    if not tour(port, stand_in=stand_in):
        return False
    click.echo("\nWhat is on record:")
    command = Path(sys.executable).parent / "safety-middleware"
    return (
        subprocess.run(
            [command, "records", "--limit", "15"], cwd=_place(app), check=False
        ).returncode
        == 0
    )


def _place(app: str) -> Path:
    return HERE / f"{app}_app"


def _end(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@click.command()
@click.option("--app", type=click.Choice(list(SERVERS)), default="starlette", show_default=True)
@click.option("--port", default=8000, show_default=True)
@click.option("--end", is_flag=True, help="End after the tour.")
def main(*, app: str, port: int, end: bool) -> None:
    """Serve an example, show what gets through and what is refused, go on serving.

    Exit code 1 if anything was answered otherwise than it should be.
    """
    signal.signal(signal.SIGTERM, _end)
    server = subprocess.Popen([sys.executable, *SERVERS[app], str(port)], cwd=_place(app))
    try:
        if not _guide(app, port, server):
            sys.exit(1)
        if not end:
            click.echo(f"\nThe chat is at http://{HOST}:{port}/ until you press Ctrl-C.")
            sys.exit(server.wait())
    except KeyboardInterrupt:
        click.echo()
    finally:
        server.terminate()
        server.wait(10)


if __name__ == "__main__":
    main()
