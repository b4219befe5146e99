"""Which routes are protected, by their templates: patterns, marks and their order of precedence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from .errors import SettingsError
from .marks import Mark
from .policy import BODY_METHODS, Policy
from .settings import DEFAULT_ROUTES
from .turn import Route

__all__ = ["Routes", "normal", "path_of", "protects"]

BODILESS = frozenset({"CONNECT", "GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods whose requests mostly carry no body."""
_PARAMETER = re.compile(r"\{[^{}]*\}|<[^<>]*>")
_SPANS = re.compile(r"\{[^{}]*:path\}|<path[:(][^<>]*>")
_SLASHES = re.compile(r"/{2,}")


def normal(template: str) -> str:
    """A template with its parameters' names and converters left out: ``/c/{}/messages``."""
    return _PARAMETER.sub("{}", template)


def protects(policy: Policy, method: str, *, body: bool) -> bool:
    """Whether *policy* protects a request by *method*, in any case, with or without a *body*.

    Policies that name no methods protect every request that carries a body, or may: endpoints
    that answer any method read one that comes with ``GET``, or with a method nobody knows.
    """
    name = method.upper()
    if name in policy.methods or "*" in policy.methods:
        return True
    return policy.methods == BODY_METHODS and (body or name not in BODILESS)


class Routes:
    """The protected routes of one app.

    Precedence: ``exempt``, ``protect``, an exact pattern, one with ``{}``, the longest ``*``.

    Args:
        chosen: Pattern -> effective policy; None: the default routes.
        default: The default policy.
    """

    def __init__(self, chosen: Mapping[str, Policy] | None, default: Policy) -> None:
        self.defaulted = chosen is None
        self._default = default
        patterns = dict.fromkeys(DEFAULT_ROUTES, default) if chosen is None else dict(chosen)
        self._exact = {
            normal(p): (p, rules) for p, rules in patterns.items() if not p.endswith("*")
        }
        stars = [(p[:-1], rules) for p, rules in patterns.items() if p.endswith("*")]
        self._stars = sorted(stars, key=lambda star: len(star[0]), reverse=True)
        exact = sorted(self._exact.values(), key=lambda found: bool(_PARAMETER.search(found[0])))
        self._paths = [
            *((path_of(p, "/?"), p, rules) for p, rules in exact),
            *((path_of(stem, ".*"), f"{stem}*", rules) for stem, rules in self._stars),
        ]
        self._known: dict[tuple[str, str], Route] = {}
        self._met: set[str] = set()

    def of_template(self, template: str, mark: Mark | None = None) -> Route | None:
        """The protected route that *template* (mounts included) is, or None."""
        if mark is not None:
            if mark.policy is None:
                self._note(template)
                return None
            self._note(template)
            return self._route(template, mark.policy.over(self._default))
        policy = self._policy(normal(template))
        return None if policy is None else self._route(template, policy)

    def of_path(self, path: str) -> Route | None:
        """The protected route that a decoded request *path* falls under, or None.

        For apps whose router we can't see. Some routers fold slashes and some don't mind one at
        the end, so a path counts in either reading: one too many is guarded rather than one too
        few.
        """
        folded = _SLASHES.sub("/", "/" + path)
        for shape, pattern, policy in self._paths:
            if shape.fullmatch(path) or shape.fullmatch(folded):
                return self._route(pattern, policy)
        return None

    def policies(self) -> list[Policy]:
        """The rules of every route that was found so far, marked ones among them."""
        return [route.policy for route in self._known.values()]

    def below(self, prefix: str) -> bool:
        """True when a pattern could match something under *prefix* (an app we can't look into)."""
        theirs = normal(prefix).rstrip("/").split("/")
        met = [
            shape
            for shape, (written, _) in self._exact.items()
            if (shape.count("/") + 1 >= len(theirs) or _SPANS.search(written))
            and _meet(shape.split("/"), theirs)
        ]
        self._met.update(met)
        stars = (_meet(normal(stem).split("/"), theirs, open_end=True) for stem, _ in self._stars)
        return bool(met) or any(stars)

    def crosses(self, template: str) -> bool:
        """True when *template*, which no pattern names, has paths that one does: ``/{page}``."""
        spans = _SPANS.search(template)
        if spans is not None:
            return self.below(template[: spans.start()])
        theirs = normal(template).split("/")
        if "{}" not in normal(template):
            return False
        met = [
            shape
            for shape in self._exact
            if shape.count("/") + 1 == len(theirs) and _meet(shape.split("/"), theirs)
        ]
        self._met.update(met)
        stems = (normal(stem).split("/") for stem, _ in self._stars)
        return bool(met) or any(
            len(stem) <= len(theirs) and _meet(stem, theirs, open_end=True) for stem in stems
        )

    def missing(self, templates: Iterable[str]) -> None:
        """Complain about patterns that were asked for and match nothing.

        Raises:
            SettingsError: It names the first one and lists the nearest templates.
        """
        if self.defaulted:
            return
        known = sorted(set(templates))
        for shape, (pattern, _) in self._exact.items():
            if shape not in self._met:
                close = difflib.get_close_matches(pattern, known, n=3, cutoff=0.3) or known[:10]
                raise SettingsError(
                    "routes",
                    f"{pattern!r} matches no route of the app",
                    f"The nearest are: {', '.join(close) or 'none, the app has no routes'}.",
                )

    def _policy(self, shape: str) -> Policy | None:
        if shape in self._exact:
            self._met.add(shape)
            return self._exact[shape][1]
        for pattern, (_, rules) in self._exact.items():
            if "{}" in pattern and _fits(pattern, shape):
                self._met.add(pattern)
                return rules
        for stem, rules in self._stars:
            if _starts(stem, shape):
                return rules
        return None

    def _note(self, template: str) -> None:
        self._met.add(normal(template))

    def _route(self, name: str, policy: Policy) -> Route:
        route = Route(name, policy)
        return self._known.setdefault((name, route.scope), route)


def _fits(pattern: str, shape: str) -> bool:
    ours, theirs = pattern.split("/"), shape.split("/")
    return len(ours) == len(theirs) and all(
        a in {"{}", b} for a, b in zip(ours, theirs, strict=True)
    )


def _meet(ours: list[str], theirs: list[str], *, open_end: bool = False) -> bool:
    """Whether a pattern and the prefix of a mount can be the beginning of the same path."""
    *whole, last = ours
    pairs = [*zip(whole, theirs, strict=False)]
    if not all("{}" in a or "{}" in b or a == b for a, b in pairs):
        return False
    if len(theirs) < len(ours):
        return True
    end = theirs[len(whole)]
    return "{}" in last or "{}" in end or (end.startswith(last) if open_end else end == last)


def path_of(pattern: str, end: str = "/?") -> re.Pattern[str]:
    """What paths of *pattern* look like; a converter such as ``{rest:path}`` spans slashes."""
    written = pattern.rstrip("/") if end == "/?" else pattern
    parts = [re.escape(part) for part in _PARAMETER.split(written)]
    gaps = [".*" if _SPANS.fullmatch(gap) else "[^/]+" for gap in _PARAMETER.findall(written)]
    return re.compile("".join(p + g for p, g in zip(parts, [*gaps, end], strict=True)), re.DOTALL)


def _starts(stem: str, shape: str) -> bool:
    """Whether *shape* continues *stem*, a pattern without its star: ``/chat/`` needs more."""
    ours, theirs = normal(stem).split("/"), shape.split("/")
    *whole, last = ours
    return (
        len(theirs) >= len(ours)
        and all(a in {"{}", b} for a, b in zip(whole, theirs, strict=False))
        and theirs[len(whole)].startswith(last)
    )
