"""The second look at a text: letters only, digits and signs read as letters, repeats pressed."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, compress
from typing import Final

__all__ = ["SIGNS", "Places", "has_signs", "letters", "press", "read", "skeleton", "stretched"]

_ASCII: Final = 0x7F
_BLOCK: Final = 256

SIGNS: Final = b"@$!|+(<{#"
"""ASCII signs that are written for a letter as well as between letters."""

# Each digit and sign with the letter it looks like; l is read as i, because 1, | and ! are both.
_LEET: Final = dict(zip(b"0123456789l", b"oizeasgtbgi", strict=True))
_SIGN_LETTERS: Final = dict(zip(SIGNS, b"asiitccch", strict=True))
_OPAQUE: Final = ord("?")
"""Stands for a letter of another script, which is never left out."""

_LETTERS_ONLY: Final = bytes(_LEET.get(byte, byte) for byte in range(256))
_SIGNS_TOO: Final = bytes(_SIGN_LETTERS.get(b, _LEET.get(b, b)) for b in range(256))
_SEPARATORS: Final = bytes(b for b in range(128) if not chr(b).isalnum() and b != _OPAQUE)
_WEAK_SEPARATORS: Final = bytes(b for b in _SEPARATORS if b not in SIGNS)
_NOT_SIGNS: Final = bytes(byte for byte in range(256) if byte not in SIGNS)
_SHAPE: Final = bytes(
    ord("a")
    if chr(b).isalnum() and b <= _ASCII
    else ord("s")
    if b in SIGNS and b != ord("!")
    else b
    if b == ord("!")
    else ord(".")
    for b in range(256)
)
_WORDS: Final = bytes(
    ord("a") if chr(b).isalnum() or b == _OPAQUE else ord(".") for b in range(128)
) + bytes(128)
_RUNS: Final = tuple(
    (b"." * gap + b"a" + b"." * gap, b"." + (b"a" + b"." * gap) * 4) for gap in (1, 2, 3)
)
_NO_LETTER: Final = bytes(not chr(b).isalpha() or b > _ASCII for b in range(256))
_KEPT: Final = bytes(b not in _SEPARATORS for b in range(256))
_KEPT_SIGNS: Final = bytes(b not in _WEAK_SEPARATORS for b in range(256))


def skeleton(word: str) -> bytes:
    """Read a spelling as ``letters`` reads a text."""
    return letters(word.encode("ascii", "replace"))


def letters(raw: bytes, *, signs: bool = False) -> bytes:
    """Leave out what stands between letters and read digits, and signs, as letters."""
    if signs:
        return raw.translate(_SIGNS_TOO, _WEAK_SEPARATORS)
    return raw.translate(_LETTERS_ONLY, _SEPARATORS)


class Places:
    """Where in the text each byte that ``letters`` gives has stood; looked up block by block."""

    __slots__ = ("_blocks", "_counts", "_kept", "_known", "_raw", "_weak")

    def __init__(self, raw: bytes, *, signs: bool = False) -> None:
        self._raw = raw
        self._kept = _KEPT_SIGNS if signs else _KEPT
        self._weak = _WEAK_SEPARATORS if signs else _SEPARATORS
        self._counts = list(accumulate(map(self._count, range(0, len(raw), _BLOCK)), initial=0))
        self._known: dict[int, list[int]] = {}

    def __getitem__(self, index: int) -> int:
        block = bisect_right(self._counts, index) - 1
        places = self._known.get(block)
        if places is None:
            start = block * _BLOCK
            part = self._raw[start : start + _BLOCK]
            places = list(compress(range(start, start + len(part)), part.translate(self._kept)))
            self._known[block] = places
        return places[index - self._counts[block]]

    def _count(self, start: int) -> int:
        return len(self._raw[start : start + _BLOCK].translate(None, self._weak))


def has_signs(raw: bytes) -> bool:
    """Whether a sign stands where a letter could; a ``!`` only before one, or before a sign."""
    if not raw.translate(None, _NOT_SIGNS):
        return False
    shape = raw.translate(_SHAPE)
    return b"sa" in shape or b"as" in shape or b"!a" in shape or b"!s" in shape


def spelt_out(text: str) -> bool:
    """Whether four letters stand in a row, each alone, with up to three marks between."""
    shape = b"." + text.encode("ascii", "replace").translate(_WORDS) + b"."
    return any(one in shape and four in shape for one, four in _RUNS)


def read(raw: bytes) -> bytes:
    """Read digits as letters and leave nothing out."""
    return raw.translate(_LETTERS_ONLY)


def _changes(raw: bytes) -> bytes:
    """One byte for each byte of the text, zero where it repeats the one before."""
    number = int.from_bytes(raw, "little")
    return (number ^ (number << 8)).to_bytes(len(raw) + 1, "little")[:-1]


def stretched(raw: bytes) -> list[tuple[int, int]]:
    """Find the stretches without a space in which a letter stands three times in a row."""
    changes = _changes(raw)
    if b"\0\0" not in changes:
        return []
    others = int.from_bytes(raw.translate(_NO_LETTER), "little")
    changes = (int.from_bytes(changes, "little") | others).to_bytes(len(raw), "little")
    found: list[tuple[int, int]] = []
    place = changes.find(b"\0\0")
    while place >= 0:
        start = raw.rfind(b" ", 0, place) + 1
        end = raw.find(b" ", place)
        end = len(raw) if end < 0 else end
        found.append((start, end))
        place = changes.find(b"\0\0", end)
    return found


def press(raw: bytes) -> tuple[bytes, list[int]]:
    """Write each repeated byte once; also says where each run begins, and where the text ends."""
    changes = _changes(raw)
    starts = list(compress(range(len(raw)), changes))
    starts.append(len(raw))
    return bytes(compress(raw, changes)), starts
