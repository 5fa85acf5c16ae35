"""The number in a reply, as a plain decimal: no thousands separators, units or currency."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from evalsuite.reading.statement import statements

_NAMES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety"""
_WORDS = {word: min(value, 20) + 10 * max(value - 20, 0) for value, word in enumerate(_NAMES.split())}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_NAME = "|".join([*_WORDS, *_SCALES])
_DIGITS = (
    r"\d{1,3}(?:,\d{3}){1,9}(?:\.\d{1,30})?|\d{1,3}(?:\.\d{3}){1,9},\d{1,30}|\d{1,3}(?:\.\d{3}){2,9}"
    r"|\d{1,3}(?:[ \u00a0\u202f]\d{3}){1,9}(?!\d)(?:[.,]\d{1,30})?|\d{1,40}(?:[.,]\d{1,30})?|\.\d{1,30}"
)
_NUMBER = re.compile(
    rf"(?<![\w.,])(?P<sign>[-−–+]\s?)?[$€£¥₹]?\s?(?:\\d?frac\s*\{{\s*(?P<top>-?[\d.]{{1,20}})\s*\}}\s*\{{\s*(?P<bottom>[\d.]{{1,20}})\s*\}}"
    rf"|(?P<digits>{_DIGITS})(?:[eE](?P<exponent>[+-]?\d{{1,3}})|\s*(?:×|x|\*|\\times)\s*10\s*(?:\^|\*\*)\s*\{{?(?P<power>[-−]?\d{{1,3}})\}}?)?"
    r"(?:\s*/\s*(?P<over>\d{1,20})(?![\d/]))?"
    r"(?:\s*(?P<scale>hundred|thousand|million|billion|trillion)\b)?"
    rf"|(?P<words>\b(?:{_NAME})(?:(?:[\s-]+(?:and\s+)?)(?:{_NAME})){{0,12}}\b))",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?。])\s+|\n+")
_MOST = 60  # digits of a number that is given as an answer


def read_number(text: str) -> str | None:
    """The number that a reply gives, e.g. ``1234.5``; None if it gives none.

    An explicit statement decides, the last one. Else it is the only number, else in the last sentence with a
    number the one behind the last ``=``, else the first one there. ``1,234.5``, ``1.234,5`` and ``1 234.5`` are
    1234.5, ``0,5`` is 0.5, ``3/4`` is 0.75, "two hundred" is 200 and "1.2 million" 1200000; a percent sign goes as
    units do.
    """
    for statement in reversed(statements(text)):
        if found := _first(statement.content):
            return found
    every = [match for match in _NUMBER.finditer(text) if _value(match)]
    if len(every) == 1:
        return _value(every[0])
    for sentence in reversed(_SENTENCE.split(text)):
        if found := _first(sentence.rpartition("=")[2]) or _first(sentence):
            return found
    return None


def _first(text: str) -> str | None:
    return next((value for match in _NUMBER.finditer(text) if (value := _value(match))), None)


def _value(match: re.Match[str]) -> str | None:
    """The number of a match as text; None for one that is no number or too long to be an answer."""
    try:
        value = _unsigned(match)
    except (InvalidOperation, ZeroDivisionError, OverflowError):
        return None
    if value is None:
        return None
    if (match["sign"] or "+").strip() in "-−–":
        value = -value
    written = format(value.normalize(), "f") if abs(value.adjusted()) < _MOST else None
    return "0" if written == "-0" else written


def _unsigned(match: re.Match[str]) -> Decimal | None:
    if match["words"]:
        return _in_words(match["words"])
    if match["top"]:
        return round(Decimal(match["top"]) / Decimal(match["bottom"]), 12)
    value = _decimal(match["digits"])
    if match["exponent"] or match["power"]:
        value = value.scaleb(int((match["exponent"] or match["power"]).replace("−", "-")))
    if match["over"]:
        value = round(value / Decimal(match["over"]), 12)
    return value * _SCALES[match["scale"].lower()] if match["scale"] else value


def _decimal(digits: str) -> Decimal:
    digits = re.sub(r"\s", "", digits)
    point, comma = digits.rfind("."), digits.rfind(",")
    if point >= 0 and comma >= 0:  # the later one is the decimal mark
        digits = digits.replace("," if point > comma else ".", "").replace(",", ".")
    elif comma >= 0:
        groups = re.fullmatch(r"[1-9]\d{0,2}(?:,\d{3})+", digits)
        digits = digits.replace(",", "" if groups else ".")
    elif digits.count(".") > 1:
        digits = digits.replace(".", "")
    return Decimal(digits)


def _in_words(words: str) -> Decimal | None:
    total = part = 0
    for word in re.findall(r"[a-z]+", words.lower()):
        if word == "and":
            continue
        if word in _WORDS:
            part += _WORDS[word]
        elif word == "hundred":
            part = (part or 1) * 100
        else:
            total += (part or 1) * _SCALES[word]
            part = 0
    return Decimal(total + part)
