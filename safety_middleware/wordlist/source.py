"""Read terms from files: TOML, JSON, CSV, or plain lines."""

from __future__ import annotations

import csv
import io
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from safety_middleware.errors import SettingsError

from .term import Mode, Term

__all__ = ["Contents", "read_file", "read_lines"]

LARGEST_FILE: Final = 16 * 1024 * 1024
_FIELDS: Final = frozenset(
    {"text", "language", "category", "severity", "mode", "variants", "allow", "exact", "near", "id"}
)
_KINDS: Final = (("text", str), ("language", str), ("id", str), ("exact", bool), ("near", bool))


class Contents(NamedTuple):
    """What a file says.

    Attributes:
        terms: Its terms.
        allow: Phrases that are allowed everywhere.
        remove: Terms of the list that ships to leave out, by id or spelling.
        languages: Languages of the list that ships to start from; None for none of it.
        severity: From which severity on a term counts, or None.
    """

    terms: tuple[Term, ...]
    allow: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    languages: tuple[str, ...] | None = None
    severity: int | None = None


def read_file(path: str | Path) -> Contents:
    """Read a file of terms; its suffix says how, and plain lines are the default.

    Raises:
        SettingsError: If the file cannot be read or holds something that is not a term.
    """
    place = Path(path)
    try:
        if place.stat().st_size > LARGEST_FILE:
            raise _bad(place, "is larger than 16 MiB")
        text = place.read_text(encoding="utf-8-sig")
        suffix = place.suffix.lower()
        if suffix == ".toml":
            return _from_document(tomllib.loads(text))
        if suffix == ".json":
            return _from_document(json.loads(text))
        if suffix == ".csv":
            return Contents(tuple(map(_from_row, csv.DictReader(io.StringIO(text)))))
        return _from_lines(text)
    except OSError as error:
        raise _bad(place, error.strerror or "cannot be read") from error
    except SettingsError as error:
        raise SettingsError(f"wordlist file {place}", str(error), "Correct that entry.") from error
    except (ValueError, RecursionError, csv.Error) as error:
        raise _bad(place, f"is not a valid {place.suffix.lower() or 'text'} file") from error


def read_lines(text: str, language: str = "") -> Iterator[Term]:
    """Read terms from the lines the package's own lists are written in.

    A line is ``headword, variant, variant ! allowed word, allowed phrase``. A header such as
    ``[hate 4 substring]`` gives category, severity and mode to the lines under it; ``exact`` or
    ``near`` may follow. Lines before any header are words of severity 4. ``#`` and a space start
    a comment.
    """
    category, severity, mode, flags = "profanity", 4, "word", frozenset[str]()
    for raw in text.splitlines():
        line = raw.partition("# ")[0].strip()
        if not line or line == "#":
            continue
        if line.startswith("[") and line.endswith("]"):
            category, severity, mode, flags = _header(line)
            continue
        spellings, _, allow = line.partition(" ! ")
        first, *others = _split(spellings)
        yield Term(
            text=first,
            language=language,
            category=category,
            severity=severity,
            mode=cast("Mode", mode),
            variants=tuple(others),
            allow=tuple(_split(allow)),
            exact="exact" in flags,
            near="near" in flags,
        )


def _split(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(",") if part.strip()]


def _header(line: str) -> tuple[str, int, str, frozenset[str]]:
    category, severity, mode, *flags = (*line[1:-1].split(), "", "", "")[
        : max(3, line.count(" ") + 1)
    ]
    if not severity.isdecimal() or not set(flags) <= {"exact", "near"}:
        raise SettingsError(
            "wordlist", f"{line!r} is not a header", "Write [category severity mode]."
        )
    return category, int(severity), mode, frozenset(flags)


def _from_lines(text: str) -> Contents:
    allowed = [line[2:].strip() for line in text.splitlines() if line.startswith("! ")]
    rest = "\n".join(line for line in text.splitlines() if not line.startswith("! "))
    return Contents(tuple(read_lines(rest)), tuple(a for a in allowed if a))


def _from_document(document: object) -> Contents:
    if not isinstance(document, Mapping):
        return Contents(tuple(map(_from_entry, _list(document))))
    table = cast("Mapping[str, object]", document)
    if unknown := sorted(set(table) - set(Contents._fields)):
        raise SettingsError(
            "wordlist", f"{unknown[0]!r} is not known", f"Use {', '.join(Contents._fields)}."
        )
    severity = table.get("severity")
    if severity is not None and (type(severity) is not int or severity not in range(1, 5)):
        raise SettingsError("wordlist", f"severity {severity!r}", "Use 1 to 4.")
    languages = table.get("languages")
    return Contents(
        tuple(map(_from_entry, _list(table.get("terms", [])))),
        _strings("allow", table.get("allow", [])),
        _strings("remove", table.get("remove", [])),
        None if languages is None else _strings("languages", languages),
        severity,
    )


def _from_entry(entry: object) -> Term:
    if isinstance(entry, str):
        return Term(text=entry)
    if not isinstance(entry, Mapping):
        raise SettingsError("wordlist", "an entry is neither a string nor a table", "Make it one.")
    fields = dict(cast("Mapping[str, Any]", entry))
    if "term" in fields:
        fields["text"] = fields.pop("term")
    if unknown := sorted(set(fields) - _FIELDS):
        raise SettingsError(
            "wordlist", f"{unknown[0]!r} is not a field", f"Use {', '.join(sorted(_FIELDS))}."
        )
    for name in ("variants", "allow"):
        if name in fields:
            fields[name] = _strings(name, fields[name])
    for name, kind in _KINDS:
        if not isinstance(fields.get(name, kind()), kind) or (
            name == "text" and name not in fields
        ):
            raise SettingsError(
                "wordlist", f"{name} is missing or not a {kind.__name__}", "Give it."
            )
    return Term(**fields)


def _from_row(row: Mapping[str, str | None]) -> Term:
    fields: dict[str, object] = {k: v for k, v in row.items() if v}
    for name in ("variants", "allow"):
        if name in fields:
            fields[name] = [part.strip() for part in str(fields[name]).split("|") if part.strip()]
    if "severity" in fields:
        fields["severity"] = int(str(fields["severity"]))
    for name in {"exact", "near"} & fields.keys():
        fields[name] = str(fields[name]).lower() in {"1", "true", "yes"}
    return _from_entry(fields)


def _list(value: object) -> Sequence[object]:
    if not isinstance(value, list):
        raise SettingsError("wordlist", "terms is not a list", "Make it a list.")
    return cast("list[object]", value)


def _strings(name: str, value: object) -> tuple[str, ...]:
    items = cast("list[object]", value) if isinstance(value, list) else None
    if items is None or not all(isinstance(item, str) for item in items):
        raise SettingsError("wordlist", f"{name} is not a list of strings", "Make it one.")
    return tuple(cast("list[str]", items))


def _bad(place: Path, problem: str) -> SettingsError:
    return SettingsError(f"wordlist file {place}", problem, "Give a file of terms.")
