"""``safety-middleware check-config``: every setting, its value, and where it came from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import click

from safety_middleware.loading import Loaded, load
from safety_middleware.policy import Policy, policy_fields
from safety_middleware.settings import settings_fields

from ._output import room, table, told
from ._startup import problems
from ._values import shown

__all__ = ["check_config"]

Row = tuple[str, str, str]
_OPENAI = {"openai_api_key": "OPENAI_API_KEY", "openai_base_url": "OPENAI_BASE_URL"}


@click.command("check-config")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def check_config(*, as_json: bool) -> None:
    """Show the effective settings with their source, secrets masked.

    Read from SAFETY_* variables and safety.toml in the working directory (or the file that
    SAFETY_CONFIG names). Settings given in code, or in Flask's app.config, beat these and can't be
    seen from here. Exit code 2 if a setting is wrong or unknown.
    """
    with told():
        loaded = load()
        rows = list(_rows(loaded, os.environ))
        warnings = list(problems(loaded.settings, os.environ))
    if as_json:
        for name, value, source in rows:
            click.echo(json.dumps({"setting": name, "value": value, "source": source}))
    else:
        click.echo(table(("setting", "value", "source"), rows, room()))
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)


def _rows(loaded: Loaded, environ: Mapping[str, str]) -> Iterator[Row]:
    settings = loaded.settings
    for name in settings_fields():
        if name == "policy" or (name == "secrets" and loaded.sources[name] == "default"):
            continue
        if name == "secret" and loaded.sources["secrets"] != "default":
            continue
        value, source = getattr(settings, name), loaded.sources[name]
        variable = _OPENAI.get(name)
        if value is None and variable is not None and environ.get(variable):
            value, source = environ[variable], variable
        if name == "wordlist" and value is None:
            source = "default"  # true and false are the policy's field of that name
        yield name, _patterns(value) if name == "routes" else shown(name, value), source
    yield from _policy_rows(settings.policy, loaded)
    for path, policy in _routes(settings.routes):
        for name in policy_fields():
            if name in policy.given:
                source = loaded.sources["routes"]
                yield f"routes.{path}.{name}", shown(name, getattr(policy, name)), source


def _policy_rows(policy: Policy, loaded: Loaded) -> Iterator[Row]:
    for name in policy_fields():
        source = loaded.sources[name]
        if name == "wordlist" and loaded.settings.wordlist is not None:
            source = "default"
        label = "wordlist (check)" if name == "wordlist" else name
        yield label, shown(name, getattr(policy, name)), source


def _routes(routes: Any) -> Iterator[tuple[str, Policy]]:
    if isinstance(routes, Mapping):
        yield from routes.items()


def _patterns(routes: Any) -> str:
    if routes is None:
        return shown("routes", None)
    return ", ".join(routes) or "those marked with protect"
