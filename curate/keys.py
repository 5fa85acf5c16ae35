"""When two questions, or two answers, count as the same text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from curate.sample import IMAGE_MARKER, majority

_PUNCTUATION = re.compile(r"[^\w\s]|_")


def normalized(text: str) -> str:
    """NFKC, case folded, punctuation to blanks, blanks collapsed; of text that is only punctuation, the text."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_PUNCTUATION.sub(" ", folded).split()) or folded.strip()


def question_key(record: Mapping[str, Any]) -> str:
    """All user turns of a record (Winnow's form), normalised, one a line."""
    return "\n".join(
        normalized(turn["value"].replace(IMAGE_MARKER, " "))
        for turn in record.get("conversations", [])
        if turn["from"] == "user"
    )


def answer_key(record: Mapping[str, Any]) -> str:
    """All assistant turns, normalised, one a line; without any, the most frequent reference."""
    turns = [turn["value"] for turn in record.get("conversations", []) if turn["from"] == "assistant"]
    return "\n".join(normalized(turn) for turn in turns or [majority(record.get("answers", []))])
