"""Swear words and slurs in a text, by a list.

A list finds words, not intentions: it misses every insult without one, and takes a quotation for an insult. Words that
also name a harmless thing which pictures show (a donkey, a rooster, a cat, a bird) are left out. English only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import pyarrow as pa

from curate.signals.base import Signal
from curate.signals.memo import Remembered

# Stems take any ending of the list below them; whole words only otherwise.
_STEMS = (
    "(?:mother)?fuck", "(?:bull|horse|dip)?shit", "cunt", "asshole", "arsehole", "dickhead", "cocksuck", "wank", "twat",
    "bitch", "whore", "slut", "bastard", "jackass", "dumbass", "douchebag", "piss(?:ed|ing) off", "blowjob",
    "nigg(?:er|a)", "fagg?ot", "fag", "kike", "wetback", "gook", "raghead", "towelhead", "sandnigger",
    "shemale", "beaner", "porch monkey", "white trash", "retard",
)  # fmt: skip
_PROFANE = re.compile(
    rf"\b(?:{'|'.join(_STEMS)})(?:s|es|ed|er|ers|ing|in|y|ty|ting|ish|face|head|heads|hole|wit|wits|tard|tards)?\b",
    re.IGNORECASE,
)
# What each match has in it: looking for these first takes a tenth of the time. Only in ASCII are small letters enough.
_PARTS = (
    "fuck", "shit", "cunt", "hole", "head", "cocksuck", "wank", "twat", "bitch", "whore", "slut", "bastard", "ass",
    "douchebag", "piss", "blowjob", "nigg", "fag", "kike", "wetback", "gook", "shemale", "beaner", "monkey", "trash",
    "retard",
)  # fmt: skip


def first_profanity(texts: Iterable[str]) -> str | None:
    """The first listed word of some texts, in small letters; None without any."""
    return next((word for text in texts if (word := _KNOWN[text])), None)


def _first(text: str) -> str:
    found = _PROFANE.search(text) if _may_be(text) else None
    return found[0].casefold() if found else ""


_KNOWN: Remembered[str] = Remembered(_first)


def _may_be(text: str) -> bool:
    small = text.lower()
    return not text.isascii() or any(map(small.__contains__, _PARTS))


SIGNALS = (
    Signal(
        "profanity",
        1,
        {
            "profanity": "the first English swear word or slur of a fixed list in the turns and references; else null."
            " Finds words, not intentions; not validated as a measure of toxicity, see curate.signals.profanity"
        },
        types={"profanity": pa.string()},
    ),
)
