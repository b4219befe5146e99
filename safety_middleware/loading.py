"""Where settings come from: keyword, environment (or Flask config), ``safety.toml``, default."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._checks import is_a
from .errors import SettingsError
from .policy import Policy, policy_fields
from .settings import CALLABLES, Settings, nearest, settings_fields, split

__all__ = ["Loaded", "load"]

PREFIX = "SAFETY_"
FILE = "safety.toml"
FILE_VARIABLE = "SAFETY_CONFIG"
TEST_PREFIX = "SAFETY_TEST_"
"""Variables that point the project's own tests to services; they are no settings."""
_CALLABLES = frozenset({*CALLABLES, "moderation_client"})


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and where each came from.

    Attributes:
        settings: The effective settings.
        sources: Name of a setting or policy field -> ``keyword``, the variable's name, the file's
            path, or ``default``.
    """

    settings: Settings
    sources: Mapping[str, str]


def load(
    keywords: Mapping[str, Any] | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Loaded:
    """Read settings: *keywords* beat the environment, which beats the file, which beats defaults.

    Args:
        keywords: What the code says.
        config: Flask's ``app.config``; its ``SAFETY_*`` stand beside the environment and beat it.
        environ: The environment; ``os.environ`` when None.
        directory: Where ``safety.toml`` is looked for; the working directory when None.
            ``SAFETY_CONFIG`` names another file.

    Raises:
        SettingsError: If a name is unknown, a value impossible, or the file unreadable.
    """
    environ = os.environ if environ is None else environ
    layers = [
        *_file(environ, directory or Path.cwd()),
        _environment(environ),
        _flask(config or {}),
        {name: (value, "keyword") for name, value in (keywords or {}).items()},
    ]
    merged: dict[str, tuple[Any, str]] = {}
    for layer in map(_flat, layers):
        if "secret" in layer or "secrets" in layer:  # one of them is meant, not both
            merged.pop("secret", None)
            merged.pop("secrets", None)
        merged.update(layer)
    settings = _build({name: value for name, (value, _) in merged.items()})
    known = dict.fromkeys((*settings_fields(), *policy_fields()), "default")
    return Loaded(settings, known | {name: source for name, (_, source) in merged.items()})


def _flat(layer: Mapping[str, tuple[Any, str]]) -> dict[str, tuple[Any, str]]:
    """*layer* with the fields of its ``policy`` beside its other names, so that they rank alike."""
    rest = dict(layer)
    policy, source = rest.pop("policy", (None, ""))
    if policy is None:
        return rest
    given = policy if isinstance(policy, Policy) else _policy("policy", policy)
    return {name: (getattr(given, name), source) for name in given.given} | rest


def _build(values: dict[str, Any]) -> Settings:
    own, rules = split(values)
    own["policy"] = _policy("", rules)
    routes: Any = own.get("routes")
    if is_a(routes, Mapping):
        own["routes"] = {
            path: rule if isinstance(rule, Policy) else _policy(f"routes.{path}", rule)
            for path, rule in routes.items()
        }
    return Settings(**own)


def _policy(place: str, fields: Any) -> Policy:
    if not is_a(fields, Mapping):
        raise SettingsError(
            place, f"{fields!r} is no table of rules", "Write a Policy(…) or a table."
        )
    for name in fields:
        if name not in policy_fields():
            raise SettingsError(
                f"{place}.{name}".lstrip("."),
                "no such policy field",
                nearest(name, policy_fields()),
            )
    return Policy(**{name: _rules(name, value) for name, value in fields.items()})


def _rules(name: str, value: Any) -> Any:
    # an empty string switches a limit off where None can't be written: TOML and the environment
    switched_off = name in {"limits", "anonymous_limits", "address_limits"} and value in (
        "",
        "none",
    )
    return None if switched_off else value


def _file(environ: Mapping[str, str], directory: Path) -> list[dict[str, tuple[Any, str]]]:
    named = environ.get(FILE_VARIABLE)
    path = Path(named) if named else directory / FILE
    if not path.is_file():
        if named:
            raise SettingsError(
                FILE_VARIABLE, f"{named!r} is not a file", "Name a TOML file or unset it."
            )
        return []
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise SettingsError(
            path.name, f"can't be read: {problem}", "Correct the file."
        ) from problem
    for name in values:
        if name in _CALLABLES:
            raise SettingsError(f"{path.name}: {name}", "can't be set in a file", "Set it in code.")
    return [{name: (value, str(path)) for name, value in values.items()}]


def _environment(environ: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    found: dict[str, tuple[Any, str]] = {}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable.startswith(TEST_PREFIX):
            continue
        if variable != FILE_VARIABLE:
            name = _name(variable)
            if name in _CALLABLES:
                raise SettingsError(variable, "can't be set in a variable", "Set it in code.")
            found[name] = (_value(name, text), variable)
    return found


def _flask(config: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    chosen = {k: v for k, v in config.items() if k.startswith(PREFIX)}
    return {
        _name(key): (_value(_name(key), v) if isinstance(v, str) else v, f"app.config[{key!r}]")
        for key, v in chosen.items()
    }


def _name(variable: str) -> str:
    name = variable.removeprefix(PREFIX).lower()
    known = (*settings_fields(), *policy_fields())
    if name not in known:
        spelled = {f"{PREFIX}{each.upper()}" for each in known}
        raise SettingsError(variable, "no such setting", nearest(variable.upper(), spelled))
    return name


_PLAIN = frozenset(
    {
        "address_limits",
        "anonymous_limits",
        "cookie_samesite",
        "limits",
        "limits_storage",
        "moderation_model",
        "on_failure",
        "openai_api_key",
        "openai_base_url",
        "secret",
        "store",
        "unbound_calls",
    }
)
_LISTS = frozenset({"routes", "secrets", "languages", "methods", "client_roles", "fields"})


def _value(name: str, text: str) -> Any:
    """Read one variable as a TOML value where its setting is not plain text."""
    if name in _PLAIN:
        return text
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    if name in _LISTS and not is_a(value, list, dict):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if not isinstance(value, str):
        return value
    word = value.strip().lower()
    return word == "true" if word in {"true", "false"} else value
