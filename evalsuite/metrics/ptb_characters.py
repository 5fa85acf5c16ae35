"""What the Penn Treebank tokeniser does with characters outside ASCII, found by probing it with each."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

CURRENCY = {"£": "#", "€": "$", "¤": "$", "₠": "$", "¢": "cents"}
FRACTIONS = {"½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}
# Dashes, the ellipsis and hyphens: tokens that are dropped when they stand alone.
SILENT = frozenset("–—―…‐‑֊")
_QUOTES = str.maketrans({"‹": " ", "›": " ", "“": '"', "”": '"', "«": '"', "»": '"'})
# Single quotes that may be an apostrophe; inside a word they stay as they are.
_CURLY = frozenset("‘’‛")
# Symbols that stay as tokens of their own; all others outside ASCII become a blank.
_KEPT_SYMBOLS = re.compile(
    "[\u00a1\u00a5-\u00a9\u00ac\u00ae-\u00b4\u00b6-\u00b9\u00bf\u00d7\u00f7\u037e\u0387\u0589\u05be\u05c0\u05c3\u05c6"
    "\u05f3\u05f4\u0606-\u060c\u061b\u061e\u061f\u066a\u066d\u06d4\u0700-\u070d\u07f6-\u07f8\u0964\u0965\u0e3f\u0e4f"
    "\u1fbd\u2016\u2017\u201a\u201e-\u2023\u2030-\u2038\u203b\u203e-\u2042\u2044\u2070\u2074-\u207e\u2080-\u208e\u20a4"
    "\u2100-\u214f\u2155-\u215e\u2190-\u2bff\u3001\u3002\u3012\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
    "\uffe0\uffe1\uffe5\uffe6]"
)
_SIGNS_LIKE_LETTERS = (0x0375, 0x0384, 0x0385)  # Greek; and all modifier letters
_SCRIPTS_WITHOUT_SIGNS = (0x0B00, 0x0C80, 0x0D80)  # Oriya, Kannada, Sinhala: their vowel signs become blanks


def plain(caption: str) -> str:
    """Curly double quotes as straight ones; what the original does not know becomes a blank."""
    text = caption.translate(_QUOTES)
    return "".join(character if character.isascii() else _known(character) for character in text)


@lru_cache(maxsize=1 << 14)
def _known(character: str) -> str:
    if character == "\u00ad":
        return ""
    if (
        character in FRACTIONS
        or character in CURRENCY
        or character in SILENT
        or character in _CURLY
        or _is_letter(character)
    ):
        return character
    return character if _KEPT_SYMBOLS.match(character) else " "


def _is_letter(character: str) -> bool:
    """Letters, vowel signs and digits of the scripts the original knows (Unicode 6, Basic Multilingual Plane)."""
    code, category = ord(character), unicodedata.category(character)
    if 0x02B0 <= code < 0x0300 or code in _SIGNS_LIKE_LETTERS:
        return True
    if category in ("Mn", "Mc"):
        return code < 0x0F00 and not any(first <= code < first + 0x80 for first in _SCRIPTS_WITHOUT_SIGNS)
    return code < 0x10000 and category in ("Lu", "Ll", "Lt", "Lm", "Lo", "Nd")


@lru_cache(maxsize=1)
def letter_ranges() -> str:
    """Character-class ranges of the non-ASCII letters, marks and digits of the Basic Multilingual Plane."""
    ranges: list[str] = []
    start = None
    for code in range(0x80, 0x10001):
        inside = code < 0x10000 and _is_letter(chr(code))
        if inside and start is None:
            start = code
        elif not inside and start is not None:
            ranges.append(chr(start) if start == code - 1 else f"{chr(start)}-{chr(code - 1)}")
            start = None
    return "".join(ranges)
