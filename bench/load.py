"""Flagged turns under load: does a byte of a reply leave, and what does the model still produce?

usage: python bench/load.py [--turns 10000] [--at-once 50] [--framework starlette|flask]

Each turn is flagged, held at the reply, and streams from the model meanwhile. One model call in
five is quicker than any verdict, so that there is something to hold back. Ends with 1 if a byte
leaked, if under 99 % of the model calls were ended, or if over 5 % of their tokens were produced.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time

from serving import SECRET, Reply, ask_all, conditions, judged_at, served

from safety_middleware.testing import FakeOpenAI, Seen, lognormal

TOKENS = 200
BATCH = 1_000


class Totals:
    """What became of the turns and of their model calls."""

    def __init__(self) -> None:
        self.turns = self.refused = self.leaked = self.calls = self.aborted = self.tokens = 0
        self.late: list[float] = []

    def add(self, replies: dict[str, Reply], fake: FakeOpenAI) -> None:
        """Count one batch (text -> reply)."""
        calls = fake.calls("/chat/completions")
        fake.wait_for(lambda: all(call.finished for call in calls), timeout=60)
        self.turns += len(replies)
        self.refused += sum(reply.raw.startswith(b"HTTP/1.1 400") for reply in replies.values())
        self.leaked += sum(SECRET in reply.raw for reply in replies.values())
        self.calls += len(calls)
        self.aborted += sum(call.aborted for call in calls)
        self.tokens += sum(call.tokens_sent for call in calls)
        judged = judged_at(fake)
        self.late += [1000 * (reply.ended - judged[text]) for text, reply in replies.items()]

    def passed(self) -> bool:
        """Whether every figure keeps its budget."""
        kept = self.leaked == 0 and self.refused == self.turns
        cheap = self.tokens <= 0.05 * TOKENS * self.calls
        return kept and cheap and self.aborted >= 0.99 * self.calls


def play(framework: str, turns: int, at_once: int) -> Totals:
    """Send the turns, a batch at a time, so that the stand-in's log stays small."""
    totals = Totals()
    fake = FakeOpenAI(
        moderation_latency=lognormal(0.25, 0.4, seed=1),
        token_interval=0.02,
        first_token_latency=_first_token,
        reply=[f"{SECRET.decode()} "] * TOKENS,
    )
    with fake, served(framework, "ours", fake.base_url) as app:
        for start in range(0, turns, BATCH):
            texts = [f"[[violence]] {n}" for n in range(start, min(start + BATCH, turns))]
            asked = [("/chat", text, f"user-{text[13:]}") for text in texts]
            replies = asyncio.run(ask_all(app.port, asked, at_once))
            totals.add(dict(zip(texts, replies, strict=True)), fake)
            fake.clear()
    return totals


def _first_token(seen: Seen) -> float:
    return 0.6 if int(seen.request_id[4:], 16) % 5 else 0.1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--framework", choices=("starlette", "flask"), default="starlette")
    chosen = parser.parse_args()
    began = time.monotonic()
    found = play(chosen.framework, chosen.turns, chosen.at_once)
    print(conditions())
    print(
        f"{found.turns} flagged turns in {time.monotonic() - began:.0f} s, {found.refused} refused"
    )
    print(f"replies that leaked      {found.leaked}")
    print(f"model calls ended        {found.aborted} of {found.calls}")
    print(f"tokens produced          {found.tokens} of {found.calls * TOKENS}")
    late = statistics.quantiles(found.late, n=20)
    print(f"refusal after verdict    median {late[9]:.1f} ms, p95 {late[18]:.1f} ms")
    sys.exit(not found.passed())


if __name__ == "__main__":
    main()
