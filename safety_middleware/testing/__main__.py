"""``python -m safety_middleware.testing``: the fake as a process of its own."""

from __future__ import annotations

import signal
import threading
from types import FrameType

import click

from ._fake import FakeOpenAI
from ._latency import lognormal
from ._log import Seen

__all__ = ["main"]

_KEPT = 1000


@click.command()
@click.option("--port", default=9000, show_default=True, help="Port; 0 takes a free one.")
@click.option("--moderation-latency", default=0.5, show_default=True, help="Seconds.")
@click.option("--moderation-p95", type=float, help="Seconds; spreads the latency log-normally.")
@click.option("--first-token-latency", default=0.6, show_default=True, help="Seconds.")
@click.option("--token-interval", default=0.02, show_default=True, help="Seconds.")
@click.option("--reply-tokens", default=40, show_default=True, help="Words of a reply.")
@click.option("--seed", type=int, help="Makes spread latencies depend on the text alone.")
def main(
    *,
    port: int,
    moderation_latency: float,
    moderation_p95: float | None,
    first_token_latency: float,
    token_interval: float,
    reply_tokens: int,
    seed: int | None,
) -> None:
    """Serve a local stand-in for the OpenAI API until interrupted.

    One line is printed for each request; never its text.
    """
    spread = moderation_p95 is not None and lognormal(moderation_latency, moderation_p95, seed)
    fake = FakeOpenAI(
        moderation_latency=spread or moderation_latency,
        first_token_latency=first_token_latency,
        token_interval=token_interval,
        reply_tokens=reply_tokens,
        port=port,
        keep=_KEPT,
    )
    fake.on_answer = _print
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    with fake:
        click.echo(f"Fake OpenAI API: OPENAI_BASE_URL={fake.base_url} OPENAI_API_KEY=any")
        ended.wait()


def _print(seen: Seen) -> None:
    spent = 1000 * ((seen.finished or seen.started) - seen.started)
    tokens = f" {seen.tokens_sent} tokens" if seen.tokens_sent else ""
    aborted = " aborted by the client" if seen.aborted else ""
    click.echo(f"{seen.method} {seen.path} {seen.status or '-'} {spent:.0f} ms{tokens}{aborted}")


if __name__ == "__main__":
    main()
