#!/usr/bin/env python3
# ruff: noqa: RUF001, PLR2004 - look-alikes and code points are what this script is about
"""Write the wordlist's folding table from Unicode's own data files.

usage: build_fold_table.py CONFUSABLES_TXT [--unicode DIR]

CONFUSABLES_TXT is https://www.unicode.org/Public/security/latest/confusables.txt; DIR holds UnicodeData.txt,
CaseFolding.txt and DerivedCoreProperties.txt (Debian: package unicode-data). The table says for a
code point what it is read as: nothing for marks and invisible characters, a letter for its
full-width, mathematical, enclosed, accented or capital form. A second part lists look-alikes
from other scripts, which count only inside words that are not wholly of that script. Python's own
Unicode data is not asked, so the table does not depend on the interpreter that builds it.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

OUT = Path(__file__).parent.parent / "safety_middleware" / "wordlist" / "data" / "fold.json"
LONGEST = 4  # characters one code point may become

# Marks that only decorate; those of Indic scripts, Thai and Hebrew carry meaning and stay.
DECORATION = (
    *range(0x0300, 0x0370), *range(0x0483, 0x048A), *range(0x0610, 0x061B),
    *range(0x064B, 0x0660), 0x0640, 0x0670, *range(0x06D6, 0x06DD), 0x093C, *range(0x1AB0, 0x1B00),
    *range(0x1DC0, 0x1E00), *range(0x20D0, 0x2100), 0x3099, 0x309A, *range(0xFE00, 0xFE10),
    *range(0xFE20, 0xFE30), *range(0xE0000, 0xE01F0), 0xFFF9, 0xFFFA, 0xFFFB,
)  # fmt: skip

# Latin letters without a decomposition, and what people write with them.
LATIN = {
    "ß": "ss", "ẞ": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th",
    "ħ": "h", "ŧ": "t", "ŋ": "n", "ı": "i", "İ": "i", "ĸ": "k", "ſ": "s", "ƒ": "f", "ə": "e",
    "ɐ": "a", "ɑ": "a", "ɒ": "a", "ɓ": "b", "ƀ": "b", "ƃ": "b", "ɔ": "c", "ƈ": "c", "ɕ": "c",
    "ɖ": "d", "ɗ": "d", "ɘ": "e", "ɛ": "e", "ɜ": "e", "ǝ": "e", "ɟ": "j", "ɠ": "g", "ɡ": "g",
    "ɢ": "g", "ɣ": "y", "ɤ": "y", "ɥ": "h", "ɦ": "h", "ɧ": "h", "ɨ": "i", "ɩ": "i", "ɪ": "i",
    "ɫ": "l", "ɬ": "l", "ɭ": "l", "ƚ": "l", "ɯ": "w", "ɰ": "w", "ɱ": "m", "ɲ": "n", "ɳ": "n",
    "ɴ": "n", "ƞ": "n", "ɵ": "o", "ɸ": "o", "ɹ": "r", "ɺ": "r", "ɻ": "r", "ɼ": "r", "ɽ": "r",
    "ɾ": "r", "ʀ": "r", "ʁ": "r", "ʂ": "s", "ʃ": "s", "ʄ": "f", "ƭ": "t", "ʇ": "t", "ʈ": "t",
    "ʉ": "u", "ʊ": "u", "ʋ": "v", "ʌ": "v", "ʍ": "m", "ʎ": "y", "ʏ": "y", "ʐ": "z", "ʑ": "z",
    "ƶ": "z", "ƴ": "y", "ʙ": "b", "ʜ": "h", "ʞ": "k", "ƙ": "k", "ʟ": "l", "ƥ": "p", "ʠ": "q",
    "ᴀ": "a", "ᴁ": "ae", "ᴃ": "b", "ᴄ": "c", "ᴅ": "d", "ᴆ": "d", "ᴇ": "e", "ᴉ": "i", "ᴊ": "j",
    "ᴋ": "k", "ᴌ": "l", "ᴍ": "m", "ᴎ": "n", "ᴏ": "o", "ᴐ": "c", "ᴑ": "o", "ᴘ": "p", "ᴙ": "r",
    "ᴚ": "r", "ᴛ": "t", "ᴜ": "u", "ᴝ": "u", "ᴠ": "v", "ᴡ": "w", "ᴢ": "z", "ꜰ": "f", "ꜱ": "s",
    "ꞙ": "f", "ꟾ": "i", "ⱥ": "a", "ȼ": "c", "ɇ": "e", "ɉ": "j", "ɋ": "q", "ɍ": "r", "ɏ": "y",
    "ⱦ": "t", "ⱡ": "l", "ꝁ": "k", "ꝃ": "k", "ꝋ": "o", "ꝑ": "p", "ꞩ": "s", "ᵮ": "f", "ᵯ": "m",
    "ᵰ": "n", "ᵱ": "p", "ᵲ": "r", "ᵳ": "r", "ᵴ": "s", "ᵵ": "t", "ᵶ": "z", "ᶃ": "g", "ᶄ": "k",
    "ᶅ": "l", "ᶆ": "m", "ᶇ": "n", "ᶈ": "p", "ᶉ": "r", "ᶊ": "s", "ᶌ": "y", "ᶍ": "x", "ᶎ": "z",
    "ᶏ": "a", "ᶑ": "d", "ᶒ": "e", "ᶓ": "e", "ᶖ": "i", "ᶙ": "u", "ꬲ": "e", "ꬵ": "f", "ꬽ": "o",
    "ꭇ": "r", "ꭈ": "r", "ꭎ": "u", "ꭒ": "u", "ꭚ": "y", "ǀ": "l", "ƽ": "s", "ƨ": "s", "ƅ": "b",
    "ꞟ": "u", "ɷ": "w", "ᴕ": "o", "ʆ": "s", "ȷ": "j", "ꮃ": "w", "ꜹ": "av", "℮": "e",
}  # fmt: skip

# Signs that are written for a letter: each becomes the ASCII sign or digit that is used so.
SIGNS = {
    "€": "3", "¢": "(", "£": "1", "¥": "y", "µ": "u", "§": "5", "¡": "!", "©": "(", "®": "r",
    "×": "x", "∂": "d", "∑": "e", "∏": "n", "√": "v", "∆": "a", "†": "t", "‡": "t", "¦": "|",
    "∩": "n", "∪": "u", "∈": "e", "₩": "w", "₦": "n", "₭": "k", "₮": "t", "₱": "p", "₴": "s",
    "₵": "(", "₲": "g", "₳": "a", "฿": "b", "₿": "b", "∞": "8", "☆": "*", "★": "*", "♥": "*",
    "♡": "*", "❤": "*", "•": "*", "●": "*", "○": "*", "·": ".", "∙": ".", "⋅": ".", "・": ".",
    "…": ".", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "‚": ",",
    "‹": "'", "›": "'", "´": "'", "¨": "'", "¯": "-", "¸": ",", "–": "-", "—": "-", "―": "-", "‐": "-", "‑": "-",
    "‒": "-", "−": "-", "⁃": "-", "■": "*", "□": "*", "▪": "*", "✱": "*", "✶": "*", "✳": "*",
    "、": ",", "。": ".", "؟": ".", "،": ",",
}  # fmt: skip

# Letters of other scripts that stand for a Latin one in mixed words, beyond confusables.txt.
MORE_LOOKALIKES = {
    "б": "b", "д": "d", "з": "e", "и": "n", "й": "n", "л": "n", "п": "n", "ц": "u", "ч": "y",
    "ш": "w", "щ": "w", "ъ": "b", "ы": "b", "э": "e", "я": "r", "ф": "f", "є": "e", "ё": "e",
    "δ": "d", "ε": "e", "ζ": "z", "η": "n", "θ": "o", "μ": "u", "ξ": "e", "π": "n", "φ": "f",
    "χ": "x", "ψ": "y", "ω": "w", "ς": "s", "λ": "l", "β": "b", "α": "a", "τ": "t", "κ": "k", "υ": "u", "γ": "y",
    "ҽ": "e", "ҡ": "k", "қ": "k", "ң": "h", "ҳ": "x", "ү": "y", "ұ": "y", "ғ": "f", "ђ": "h",
    "ћ": "h", "ќ": "k", "ѓ": "r", "џ": "u", "љ": "b", "њ": "h", "ҭ": "t", "ҫ": "c", "ө": "o",
    "ե": "e", "է": "t", "ի": "h", "կ": "u", "պ": "w", "տ": "w", "ր": "n", "ց": "g", "ք": "f",
    "շ": "2", "բ": "p", "գ": "q", "զ": "q", "լ": "l", "ղ": "n", "մ": "u", "ւ": "i", "ֆ": "f",
    "卂": "a", "乃": "b", "匚": "c", "刀": "d", "乇": "e", "下": "f", "厶": "g", "卄": "h", "工": "i", "丁": "j",
    "长": "k", "乚": "l", "从": "m", "几": "n", "口": "o", "尸": "p", "尺": "r", "丂": "s", "丅": "t", "凵": "u",
    "山": "w", "乂": "x", "丫": "y", "乙": "z",
}  # fmt: skip

# Greek nu: the capital is an N, and hardly any term has a v. Cyrillic ghe with a stroke is an F.
NOT_AS_LISTED = {0x3BD: "n", 0x493: "f"}


def main() -> None:
    """Read the sources and write the table."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("confusables", type=Path)
    args.add_argument("--unicode", type=Path, default=Path("/usr/share/unicode"))
    options = args.parse_args()
    unicode = Unicode(options.unicode)
    table = fold_table(unicode)
    lookalikes, strict = lookalike_tables(options.confusables, table, unicode)
    parts = {"fold": table, "lookalike": lookalikes, "strict": strict}
    document = {name: grouped(part) for name, part in parts.items()}
    OUT.write_text(json.dumps(document, indent=0, separators=(",", ":")) + "\n", encoding="ascii")
    print(  # noqa: T201 - says what it wrote
        f"{OUT}: {len(table)} folded, {len(lookalikes) + len(strict)} look-alikes, {OUT.stat().st_size} bytes"
    )


class Unicode:
    """What the table needs of UnicodeData, CaseFolding and DerivedCoreProperties."""

    def __init__(self, folder: Path) -> None:
        self.category: dict[int, str] = {}
        self.parts: dict[int, str] = {}
        for line in (folder / "UnicodeData.txt").read_text("utf-8").splitlines():
            code, _, category, _, _, parts, *_ = line.split(";")
            self.category[int(code, 16)] = category
            if parts:
                hexes = parts.split("> ")[-1].split()
                self.parts[int(code, 16)] = "".join(chr(int(h, 16)) for h in hexes)
        self.case: dict[str, str] = {}
        for line in (folder / "CaseFolding.txt").read_text("utf-8").splitlines():
            if line and line[0] != "#":
                code, status, target, *_ = line.split("; ")
                if status in "CF":
                    self.case[chr(int(code, 16))] = "".join(chr(int(h, 16)) for h in target.split())
        self.ignorable: set[int] = set()
        for line in (folder / "DerivedCoreProperties.txt").read_text("utf-8").splitlines():
            span, _, rest = line.partition(";")
            if rest.split("#")[0].strip() == "Default_Ignorable_Code_Point":
                first, _, last = span.strip().partition("..")
                self.ignorable.update(range(int(first, 16), int(last or first, 16) + 1))

    def decompose(self, char: str) -> str:
        """Compatibility decomposition, except of Hangul syllables and voiced kana."""
        parts = self.parts.get(ord(char))
        if parts is None or "\u3040" <= char <= "\u30ff":
            return char
        return "".join(map(self.decompose, parts))


def fold_table(unicode: Unicode) -> dict[int, str]:  # noqa: C901 - one case after the other
    """Code point to what it is read as, where that differs."""
    gone = {c for c in (*DECORATION, *unicode.ignorable) if c > 0x7F}
    table = dict.fromkeys(sorted(gone), "")
    named = {ord(k): v for k, v in (LATIN | SIGNS).items()}
    for code, category in unicode.category.items():
        char = chr(code)
        if code < 0x80 or code in gone or 0xAC00 <= code <= 0xD7A3:
            continue
        if category in {"Zs", "Zl", "Zp"} or code == 0x85:
            table[code] = "\n" if category in {"Zl", "Zp"} or code == 0x85 else " "
            continue
        if 0x3200 <= code <= 0x33FF or 0x2F00 <= code <= 0x2FFF:
            continue
        read = named.get(code) or one(char, unicode, gone, named)
        if (
            read != char
            and len(read) <= LONGEST
            and "(" not in read[1:] + read[:1] * (len(read) > 1)
        ):
            table[code] = read
    for code in range(ord("A"), ord("Z") + 1):
        table[code] = chr(code + 32)
    for offset in range(26):
        letter = chr(ord("a") + offset)
        for base in (0x1F1E6, 0x1F150, 0x1F170, 0x1F130, 0x1F110):
            table[base + offset] = letter
    for code in range(0x30A1, 0x30F7):  # katakana is read as hiragana
        table[code] = chr(code - 0x60)
    for code in range(0xFF66, 0xFF9E):
        table[code] = table.get(ord(unicode.decompose(chr(code))), unicode.decompose(chr(code)))
    table |= {0x0629: "ه", 0x0649: "ي", 0x06A9: "ك", 0x06CC: "ي", 0x0671: "ا"}
    return table


def one(char: str, unicode: Unicode, gone: set[int], named: dict[int, str]) -> str:
    """Fold one character: case, decomposition, decoration, letters by name; until it is stable."""
    text = char
    for _ in range(4):
        parts = "".join(unicode.decompose(c) for c in text)
        parts = "".join(unicode.case.get(c, c) for c in parts)
        parts = "".join(named.get(ord(c), c) for c in parts if ord(c) not in gone)
        if len(parts) == 3 and parts[0] == "(" and parts[2] == ")":
            parts = parts[1]
        if parts == text:
            break
        text = parts
    return text if text.strip() else char


def lookalike_tables(
    path: Path, table: dict[int, str], unicode: Unicode
) -> tuple[dict[int, str], dict[int, str]]:
    """Letters of other scripts read as Latin ones; those of confusables.txt are the strict part."""
    strict: dict[int, str] = {}
    capitals: dict[int, str] = {}
    for line in path.read_text("utf-8-sig").splitlines():
        fields = [field.strip() for field in line.split("#")[0].split(";")]
        if len(fields) < 3:
            continue
        source = chr(int(fields[0], 16))
        target = "".join(chr(int(h, 16)) for h in fields[1].split())
        read = "".join(table.get(ord(c), c) for c in target).replace("rn", "m")
        shown = table.get(ord(source), source)
        if ord(source) < 0x80 or len(read) != 1 or not (read.isascii() and read.isalpha()):
            continue
        if 0x0590 <= ord(source) <= 0x08FF:
            continue
        if (
            shown.isascii()
            or len(shown) != 1
            or unicode.category.get(ord(shown), "Cn")[0] not in "LN"
        ):
            continue
        if unicode.category.get(ord(source)) == "Ll" and shown != source:
            table[ord(source)] = read  # a symbol form of a letter, such as the lunate sigma
        elif shown == source:
            strict[ord(source)] = read
        else:  # a capital that looks Latin speaks for its small letter only where that has no look
            capitals[ord(shown)] = read
    strict |= NOT_AS_LISTED
    for code in [code for code in strict if code > 0xFFFF]:
        table[code] = strict.pop(code)
    more = capitals | {ord(k): v for k, v in MORE_LOOKALIKES.items()}
    gone = strict.keys() | table.keys()
    return {
        code: read for code, read in more.items() if code not in gone and code < 0x10000
    }, strict


def grouped(table: dict[int, str]) -> dict[str, str]:
    """Turn the table around: each reading with all the characters that are read so."""
    by_reading: defaultdict[str, list[str]] = defaultdict(list)
    for code, reading in sorted(table.items()):
        by_reading[reading].append(chr(code))
    return {reading: "".join(chars) for reading, chars in sorted(by_reading.items())}


if __name__ == "__main__":
    main()
