"""What the middleware costs over a real server, beside the bare app in the same run.

usage: python bench/added_latency.py [--framework starlette|flask] [--rounds 6]

Prints, for turns held at the reply: time to the first byte of a streamed answer of the bare app
and of ours (the model's first token comes after 0.6 s), one at a time and in bursts of 50, with
moderation of a median of 0.25 s ("fast") and of 0.5 s with a p95 of 1.2 s ("reported"); and CPU
time a request of the app's process without a model call, with and without a moderation call.
Rounds of the two apps are interleaved. Ratios within the run are what counts.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections import defaultdict
from itertools import count

from serving import Reply, Served, ask, ask_all, conditions, judged_at, request_of, served

from safety_middleware.testing import FakeOpenAI, lognormal

FIRST_TOKEN = 0.6
MODERATIONS = {"fast": (0.25, 0.35), "reported": (0.5, 1.2)}
BURST = 50
ALONE = 4
"""Turns a round of each app that are sent one at a time."""
CPU_REQUESTS = 2_000
WORKERS = 8
USERS = 50
_numbers = count()


def turns(path: str, number: int) -> list[tuple[str, str, str]]:
    """New texts, of users who have been here before once the run is warm."""
    named = [next(_numbers) for _ in range(number)]
    return [(path, f"What is the best name for boat {n}?", f"user-{n % USERS}") for n in named]


async def one_by_one(port: int, asked: list[tuple[str, str, str]]) -> list[Reply]:
    """One after the other."""
    return [await ask(port, *turn) for turn in asked]


Times = dict[tuple[str, str, str], list[float]]


def first_bytes(apps: dict[str, Served], fake: FakeOpenAI, rounds: int) -> Times:
    """(moderation, way, app) -> seconds to the first byte; "early": the verdict came first."""
    times: Times = defaultdict(list)
    for _ in range(rounds):
        for speed, (median, p95) in MODERATIONS.items():
            fake.moderation_latency = lognormal(median, p95)
            for way in ("alone", "burst"):
                asked = turns("/chat", ALONE if way == "alone" else BURST)
                for kind, app in apps.items():
                    fake.clear()
                    send = (
                        one_by_one(app.port, asked)
                        if way == "alone"
                        else ask_all(app.port, asked, BURST)
                    )
                    replies = asyncio.run(send)
                    times[speed, way, kind] += [reply.first for reply in replies]
                    judged = judged_at(fake)
                    times[speed, way, f"{kind} early"] += [
                        reply.first
                        for (_, text, _), reply in zip(asked, replies, strict=True)
                        if judged.get(text, 0.0) < reply.sent + FIRST_TOKEN
                    ]
    return times


async def hammer(port: int, path: str, number: int) -> None:
    """Requests over connections that are kept, so that the server's own work counts little."""

    async def work(asked: list[tuple[str, str, str]]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for turn in asked:
            writer.write(request_of(*turn, keep=True))
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head)
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
        writer.close()

    await asyncio.gather(*(work(turns(path, number // WORKERS)) for _ in range(WORKERS)))


def cpu(apps: dict[str, Served], rounds: int) -> dict[tuple[str, str], list[float]]:
    """(path, app) -> CPU microseconds a request, by round."""
    spent: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(rounds):
        for path in ("/quiet", "/canned"):
            for kind, app in apps.items():
                before = app.cpu()
                asyncio.run(hammer(app.port, path, CPU_REQUESTS))
                spent[path, kind].append((app.cpu() - before) / CPU_REQUESTS * 1e6)
    return spent


def report(times: Times, spent: dict[tuple[str, str], list[float]]) -> None:
    """Print the tables."""
    print(
        f"{'first byte':26}{'bare':>10}{'ours':>10}{'ratio':>8}{'p95':>8}{'verdict first: added':>24}"
    )
    for speed in MODERATIONS:
        for way in ("alone", "burst"):
            bare, ours = times[speed, way, "bare"], times[speed, way, "ours"]
            early = times[speed, way, "ours early"]
            added = (
                1000 * (statistics.median(early) - statistics.median(bare))
                if early
                else float("nan")
            )
            print(
                f"{speed + ', ' + way:26}{_ms(bare)}{_ms(ours)}"
                f"{statistics.median(ours) / statistics.median(bare):8.3f}{_p95(ours) / _p95(bare):8.3f}"
                f"{added:13.1f} ms of {len(early):4}"
            )
    print(f"\n{'CPU a request':26}{'bare':>10}{'ours':>10}{'ratio':>8}")
    for path, what in (("/quiet", "no moderation call"), ("/canned", "a moderation call")):
        bare, ours = spent[path, "bare"], spent[path, "ours"]
        ratio = statistics.median(o / b for o, b in zip(ours, bare, strict=True))
        print(
            f"{what:26}{statistics.median(bare):7.0f} us{statistics.median(ours):7.0f} us{ratio:8.2f}"
        )


def _ms(times: list[float]) -> str:
    return f"{1000 * statistics.median(times):7.1f} ms"


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[18]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--framework", choices=("starlette", "flask"), default="starlette")
    parser.add_argument("--rounds", type=int, default=6)
    chosen = parser.parse_args()
    fake = FakeOpenAI(first_token_latency=FIRST_TOKEN, reply_tokens=5, keep=10_000)
    with (
        fake,
        served(chosen.framework, "bare", fake.base_url) as bare,
        served(chosen.framework, "ours", fake.base_url) as ours,
    ):
        apps = {"bare": bare, "ours": ours}
        for app in apps.values():  # pools, threads and imports are there
            for path in ("/chat", "/canned", "/quiet"):
                asyncio.run(ask_all(app.port, turns(path, BURST), BURST))
        times = first_bytes(apps, fake, chosen.rounds)
        fake.moderation_latency = 0.0
        spent = cpu(apps, chosen.rounds)
    print(f"{chosen.framework}: {conditions()}, {chosen.rounds} rounds")
    report(times, spent)


if __name__ == "__main__":
    main()
