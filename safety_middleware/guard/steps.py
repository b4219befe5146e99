"""What the guard's flows ask for, and the ports that answer.

Steps are values, yet not frozen: several are made for every turn, and freezing triples the cost.
"""

from __future__ import annotations

from collections.abc import Awaitable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from safety_middleware.content import RawRequest
from safety_middleware.decision import Decision
from safety_middleware.flow import Step
from safety_middleware.identity import Identity
from safety_middleware.moderation import Priority, Question
from safety_middleware.ratelimit import Bucket, Hits
from safety_middleware.standing import Clean, Standing, Strike
from safety_middleware.store import Record
from safety_middleware.verdict import Verdict

__all__ = [
    "AwaitDecision",
    "Hit",
    "LoadStanding",
    "Ports",
    "ReadBody",
    "SaveStanding",
    "StartModeration",
    "WriteRecord",
]


class Ports(Protocol):
    """The I/O of one turn; where an adapter is asynchronous, answers may be awaitable."""

    def load_standing(self, identity: Identity) -> Standing | Awaitable[Standing]:
        """What is known of *identity*."""
        ...

    def save_standing(self, identity: Identity, event: Clean | Strike) -> None:
        """Take a turn into what is known of *identity*; never blocks."""
        ...

    def hit(self, wanted: tuple[Bucket, ...]) -> Hits | Awaitable[Hits]:
        """Count one turn in every bucket."""
        ...

    def read_body(self, limit: int) -> RawRequest | Awaitable[RawRequest]:
        """Read the request up to *limit* bytes, leaving the app the same bytes.

        Raises:
            BadInput: ``body_too_large``, or ``unreadable_body`` where the client left half-way.
        """
        ...

    def ask(
        self, question: Question, *, priority: Priority, who: str | None, address: str | None
    ) -> Future[Verdict]:
        """Start moderation, counted against what *who* and *address* may use; never blocks."""
        ...

    def wait(self, admitted: Future[Decision]) -> Decision | Awaitable[Decision]:
        """Wait for the decision about the input."""
        ...

    def write(self, record: Record) -> None:
        """Hand a record to the writer; never blocks."""
        ...


@dataclass(slots=True)
class LoadStanding(Step[Standing]):
    """What is known of *identity*."""

    identity: Identity

    def ask(self, ports: Ports) -> Standing | Awaitable[Standing]:
        """Ask the port."""
        return ports.load_standing(self.identity)


@dataclass(slots=True)
class Hit(Step[Hits]):
    """Count one turn in every bucket."""

    wanted: tuple[Bucket, ...]

    def ask(self, ports: Ports) -> Hits | Awaitable[Hits]:
        """Ask the port."""
        return ports.hit(self.wanted)


@dataclass(slots=True)
class ReadBody(Step[RawRequest]):
    """Read the request, *limit* bytes at most."""

    limit: int

    def ask(self, ports: Ports) -> RawRequest | Awaitable[RawRequest]:
        """Ask the port."""
        return ports.read_body(self.limit)


@dataclass(slots=True)
class StartModeration(Step["Future[Verdict]"]):
    """Start moderation of *question*; the answer is a future, at once.

    Attributes:
        question: What is asked.
        priority: How it stands to the questions of others when the budget is short.
        who: The safety identifier of who speaks, and
        address: that of their address: neither may use up the budget. None bounds no share.
    """

    question: Question
    priority: Priority
    who: str | None
    address: str | None

    def ask(self, ports: Ports) -> Future[Verdict]:
        """Ask the port."""
        return ports.ask(self.question, priority=self.priority, who=self.who, address=self.address)


@dataclass(slots=True)
class AwaitDecision(Step[Decision]):
    """Wait until the input is decided."""

    admitted: Future[Decision]

    def ask(self, ports: Ports) -> Decision | Awaitable[Decision]:
        """Ask the port."""
        return ports.wait(self.admitted)


@dataclass(slots=True)
class SaveStanding(Step[None]):
    """Take a turn into what is known of *identity*."""

    identity: Identity
    event: Clean | Strike

    def ask(self, ports: Ports) -> None:
        """Ask the port."""
        ports.save_standing(self.identity, self.event)


@dataclass(slots=True)
class WriteRecord(Step[None]):
    """Hand *record* to the writer."""

    record: Record

    def ask(self, ports: Ports) -> None:
        """Ask the port."""
        ports.write(self.record)
