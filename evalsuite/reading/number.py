"""The number in a reply, as a plain decimal: no thousands separators, units or currency."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from evalsuite.reading.statement import statements

_NAMES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety"""
_WORDS = {word: min(value, 20) + 10 * max(value - 20, 0) for value, word in enumerate(_NAMES.split())}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SHARES = {"half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "tenth": 10}
_PARTS = {name: round(Decimal(1) / share, 15) for name, share in _SHARES.items()}
_PARTS |= {name + "s": part for name, part in _PARTS.items()} | {
    "halves": Decimal("0.5"), "dozen": Decimal(12), "hundred": Decimal(100), "thousand": Decimal(1000),
    "million": Decimal(10**6),
}  # fmt: skip
_NAME = "|".join([*_WORDS, *_SCALES])
_DIGITS = (
    r"\d{1,3}(?:,\d{3}){1,9}(?:\.\d{1,30})?|\d{1,3}(?:\.\d{3}){1,9},\d{1,30}|\d{1,3}(?:\.\d{3}){2,9}"
    r"|\d{1,3}(?:[ \u00a0\u202f]\d{3}){1,9}(?!\d)(?:[.,]\d{1,30})?|\d{1,40}(?:[.,]\d{1,30})?|\.\d{1,30}"
)
_NUMBER = re.compile(
    rf"(?<![A-Za-z0-9_À-ɏ.,])(?P<sign>[-−–+]\s?|(?:minus|negative)\s+)?[$€£¥₹]?\s?(?:\\d?frac\s*\{{\s*(?P<top>-?[\d.]{{1,20}})\s*\}}\s*\{{\s*(?P<bottom>[\d.]{{1,20}})\s*\}}"
    rf"|(?P<whole>\d{{1,6}})\s+(?P<upper>\d{{1,3}})/(?P<lower>\d{{1,3}})(?![\d/])|(?P<digits>{_DIGITS})(?:[eE](?P<exponent>[+-]?\d{{1,3}})|\s*(?:×|x|\*|\\times)\s*10\s*(?:\^|\*\*)\s*\{{?(?P<power>[-−]?\d{{1,3}})\}}?)?"
    r"(?:\s*/\s*(?P<over>\d{1,20})(?![\d/]))?"
    r"(?:\s*(?P<scale>hundred|thousand|million|billion|trillion)\b)?"
    rf"|(?P<one>(?<![-\w])(?:(?:one[\s-]+|an?\s+)(?:half|third|quarter|fourth|fifth|tenth)|half|an?\s+(?:dozen|hundred|thousand|million)))"
    r"(?=\s+of\b|\W*$)"
    rf"|(?P<words>\b(?:{_NAME})(?:(?:[\s-]+(?:and\s+)?)(?:{_NAME})){{0,12}}\b)"
    r"(?:[\s-]+(?P<parts>halves|thirds|quarters|fourths|fifths|tenths|dozen)\b|\s+and\s+(?:a\s+|one\s+)(?P<more>half|third|quarter)\b)?)",
    re.IGNORECASE,
)
_IS = re.compile(
    r"(?:\b(?:is|are|was|were|be|equals?|gives?|get|approximately|about|around|roughly|exactly|only|est|ist|es|makes?|totals?|(?:value|total)\s+of)|[=≈:：是为])"
    r"(?:\s+(?:a|an|the|only|about|around|roughly|exactly|approximately|equal\s+to|estimated\s+at))*[\s*_\"'(]*$",
    re.IGNORECASE,
)
_NAMES_A_THING = re.compile(
    r"\b(?:than|below|above|over|under|in|during|since|until|by|years?|image|figure|bar|step|point|particle|question)"
    r"\s+[$€£]?$",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?。])\s+|\n+")
_FEW_WORDS = 4
_MOST = 60  # digits of a number that is given as an answer


def read_number(text: str) -> str | None:
    """The number that a reply gives, e.g. ``1234.5``; None if it gives none.

    An explicit statement decides, the last one. Else, in the last sentence that has a number, it is the one behind
    "is" or ``=``, else the first that is no bound, year or name of a thing ("more than 7", "in 2014", "bar 1").
    ``1,234.5``, ``1.234,5`` and ``1 234.5`` are 1234.5, ``0,5`` is 0.5, ``3/4`` is 0.75, "two hundred" is 200,
    "1.2 million" 1200000 and "three quarters" 0.75; a percent sign goes as units do.
    """
    for statement in reversed(statements(text)):
        if found := _first(statement.content):
            return found
    for sentence in reversed(_SENTENCE.split(text)):
        if found := _stated_in(sentence):
            return found
    return None


def _first(text: str) -> str | None:
    return next((value for match in _NUMBER.finditer(text) if (value := _value(match))), None)


def _stated_in(sentence: str) -> str | None:
    """The number that a sentence says something is, else its first that is no bound, year or name of a thing."""
    found = [(match, value) for match in _NUMBER.finditer(sentence) if (value := _value(match))]
    if len(sentence.split()) > _FEW_WORDS:  # "half of the towns" in prose counts nothing
        found = [(match, value) for match, value in found if not match["one"]]
    before = [sentence[max(0, match.start() - 40) : match.start()] for match, _ in found]
    for words, (_, value) in zip(reversed(before), reversed(found), strict=True):
        if _IS.search(words):
            return value
    # Digits go before words: "the two are 10 years apart".
    other = [entry for words, entry in zip(before, found, strict=True) if not _NAMES_A_THING.search(words)] or found
    digits = [value for match, value in other if not match["words"]] or [value for _, value in other]
    return digits[0] if digits else None


def _value(match: re.Match[str]) -> str | None:
    """The number of a match as text; None for one that is no number or too long to be an answer."""
    try:
        value = _unsigned(match)
    except (InvalidOperation, ZeroDivisionError, OverflowError):
        return None
    if value is None:
        return None
    if (match["sign"] or "+").strip().lower() in ("-", "−", "–", "minus", "negative"):
        value = -value
    written = format(value.normalize(), "f") if abs(value.adjusted()) < _MOST else None
    return "0" if written == "-0" else written


def _unsigned(match: re.Match[str]) -> Decimal | None:
    if match["one"]:
        return round(_PARTS[re.split(r"[\s-]", match["one"].lower())[-1]], 12)
    if match["words"]:
        value = _in_words(match["words"])
        if match["parts"]:
            return round(value * _PARTS[match["parts"].lower()], 12)
        return value + _PARTS[match["more"].lower()] if match["more"] else value
    if match["whole"]:
        return Decimal(match["whole"]) + round(Decimal(match["upper"]) / Decimal(match["lower"]), 12)
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


def _in_words(words: str) -> Decimal:
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
