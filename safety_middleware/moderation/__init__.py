"""The moderation desk: asks a moderation model about contents, once each, from any thread or loop."""

from __future__ import annotations

from .backend import Moderator
from .budget import Priority
from .desk import Desk
from .meter import Latency
from .settings import DeskSettings, Question

__all__ = ["Desk", "DeskSettings", "Latency", "Moderator", "Priority", "Question"]
