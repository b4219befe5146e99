"""What the probe apps share: the engine, its policies, and what a process tells about itself."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from safety_middleware import Policy, Safety, Settings, _services
from safety_middleware.moderation import DeskSettings

SECRET = "secret"
"""Every piece of every reply begins with it, so that a leak is seen in the bytes."""
PIECES = [f"{SECRET} piece {number}\n" for number in range(5)]
POLICIES = {
    "handler": Policy(hold="handler"),
    "model": Policy(hold="model"),
    "reply": Policy(hold="reply"),
    "open": Policy(hold="reply", on_failure="open"),
}
PREFIXES = ("bare", *POLICIES)
HERE = str(Path(__file__).parent)


def safety(user: Any) -> Safety:
    """The engine of a probe app; where it finds its services stands in the environment.

    Its breaker rests so shortly that a test can see it recover.
    """
    _services.__dict__["DeskSettings"] = partial(DeskSettings, breaker_rest=0.2)
    return Safety(
        Settings(
            routes={f"/{name}/*": policy for name, policy in POLICIES.items()},
            policy=Policy(limits="100000/minute", address_limits=None),
            user=user,
            secret="s" * 64,
            openai_api_key="sk-test",
            openai_base_url=os.environ["PROBE_OPENAI"],
            moderation_timeout=2.5,
            moderation_share=1.0,  # every turn comes from one address
            store=os.environ["PROBE_STORE"],
        )
    )


@dataclass
class Seen:
    """What the app's own code did, by the key of the request."""

    background: Counter[str] = field(default_factory=Counter[str])


def at_work() -> dict[str, Any]:
    """What this process is at: threads in an app's code or a model call, tasks, connections."""
    me = threading.get_ident()
    busy = [
        name
        for ident, frame in sys._current_frames().items()  # pyright: ignore[reportPrivateUsage]  # there is no public way
        if ident != me and (name := _inside(frame))
    ]
    return {"busy": busy, "tasks": _tasks(), "sockets": _sockets()}


def _inside(frame: Any) -> str | None:
    """The function of ours, or of the SDK, that a thread is in."""
    while frame is not None:
        name = frame.f_code.co_filename
        if (name.startswith(HERE) and not name.endswith("serve.py")) or "/openai/" in name:
            return f"{frame.f_code.co_name} in {Path(name).name}"
        frame = frame.f_back
    return None


def _tasks() -> dict[str, int]:
    try:
        current = asyncio.current_task()
    except RuntimeError:
        return {}
    coros = (task.get_coro() for task in asyncio.all_tasks() if task is not current)
    return dict(Counter(getattr(coro, "__qualname__", type(coro).__name__) for coro in coros))


def _sockets() -> int:
    """Connections of this process to the model's service."""
    port = f":{int(os.environ['PROBE_OPENAI'].rpartition(':')[2].partition('/')[0]):04X}"
    held: set[str] = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            held.add(str(entry.readlink()))
        except OSError:
            continue  # closed meanwhile
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(line[2].endswith(port) and f"socket:[{line[9]}]" in held for line in lines)
