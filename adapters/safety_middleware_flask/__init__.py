"""Flask: ``SafetyMiddleware(app)``, or ``SafetyMiddleware().init_app(app)``."""

from __future__ import annotations

from ._marks import exempt, protect
from ._middleware import SafetyMiddleware

__all__ = ["SafetyMiddleware", "exempt", "protect"]
