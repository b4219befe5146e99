"""``safety-middleware explain``: what the wordlist finds in a text, and why it counts or not."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import click

from safety_middleware.loading import load
from safety_middleware.settings import Settings

from ._output import room, table, told

__all__ = ["explain"]

HEADER = ("term", "category", "severity", "at", "written", "read as", "how", "blocks", "allowed by")


@click.command()
@click.argument("text")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def explain(*, text: str, as_json: bool) -> None:
    """Say what the wordlist finds in TEXT ("-" reads standard input), and whether it blocks.

    The list is the one of SAFETY_WORDLIST, SAFETY_LANGUAGES or safety.toml, else all that ships.
    It shows the words it found.
    """
    with told():
        words = _words(load().settings)
    if text == "-":
        text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    found = words.explain(text)
    if as_json:
        click.echo(json.dumps({"blocked": found.blocked, **dataclasses.asdict(found)}))
        return
    click.echo("blocked" if found.blocked else "not blocked")
    if found.findings:
        click.echo(table(HEADER, [_row(finding) for finding in found.findings], room()))


def _words(settings: Settings) -> Any:
    from safety_middleware.wordlist import Wordlist  # noqa: PLC0415  # the automaton

    if settings.wordlist is None:
        return Wordlist.default(languages=settings.languages)
    return Wordlist.load(settings.wordlist)


def _row(finding: Any) -> tuple[str, ...]:
    match = finding.match
    return (
        match.term,
        match.category,
        str(match.severity),
        f"{match.start}-{match.end}",
        finding.written,
        finding.read,
        str(finding.reading),
        "yes" if finding.blocks else "no",
        finding.allowed_by or "-",
    )
