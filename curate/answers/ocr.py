"""Whether the text in a picture supports or contradicts an answer that should be read off it.

The answer is sought in the text as what it is: a date in any format, a number in any format, or words. Digits have to
agree; letters may differ a little, as readers of text confuse them. A number that stands in the picture but not beside
the words that the question asks for ("TOTAL") is contradicted by half, and so is one that stands there but for what
readers confuse (the decimal separator, 8 and 6). Where an answer cannot be expected in the text
(yes and no, counts, colours, no text), nothing is said.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from typing import Literal

import numpy as np
import pyarrow as pa

from curate.views import create_views
from curate.workspace import Workspace
from winnow.parquet.tables import database, query_batches, write_parquet

VERSION = 1  # raise it when the same text and answer are judged otherwise
READ_ANSWERS = pa.schema(
    [
        ("position", pa.int64()),
        ("ocr_support", pa.float64()),
        ("ocr_contradiction", pa.float64()),
        ("ocr_against", pa.float64()),
    ]
)

# What questions ask for whose answer is no text of the picture.
_NOT_READ = re.compile(
    r"(?i)\b(how many|count|colou?rs?|difference|average|sum of|more than|less than|ratio|percentage of)\b"
)
_ASKS_TO_READ = re.compile(
    r"(?i)\b(read|says?|said|written|writes?|text|words?|letters?|titles?|names?|named|called|labels?|labell?ed|brands?|"
    r"compan(?:y|ies)|address|dates?|numbers?|prices?|totals?|amounts?|signs?|logos?|heading|headline|author|email|"
    r"phone|website|url|code|plate|invoice|receipt|store|shop|menu|displayed|printed|spell(?:ed)?|when|year|time)\b"
)
_SAYS_NOTHING = {
    "yes", "no", "none", "true", "false", "unknown", "unanswerable", "n/a", "left", "right", "red", "green", "blue",
    "yellow", "black", "white", "grey", "gray", "brown", "orange", "pink", "purple",
}  # fmt: skip
_NO_KEYS = {
    "what", "when", "where", "which", "does", "this", "that", "these", "those", "from", "with", "have", "about", "much",
    "many", "there", "their", "they", "picture", "image", "photo", "shown", "show", "please", "tell", "value",
}  # fmt: skip
_SEPARATORS = "-/.,"
_LIKE_SEPARATORS = str.maketrans("\t\n~_–—", "  ----")  # as readers of text confuse them
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH = rf"({'|'.join(_MONTHS)})[a-z]{{0,6}}"
# The first looks ahead, so that matches may overlap: "#19- 18/01/2018" holds a date.
_DATES = (
    ("dmy", re.compile(r"(?<!\d)(?=(\d{1,2})\s?(?P<s>[-/.,])\s?(\d{1,2})\s?(?P=s)\s?(20\d\d|19\d\d|\d\d))")),
    ("ymd", re.compile(r"(?<!\d)(20\d\d|19\d\d)\s?[-/.,]?\s?(\d{1,2})\s?[-/.,]?\s?(\d{1,2})(?!\d)")),
    ("dMy", re.compile(rf"(?<!\d)(\d{{1,2}})(?:st|nd|rd|th)?[\s\-/.,']*{_MONTH}[\s\-/.,']*(20\d\d|19\d\d|\d\d)")),
    ("Mdy", re.compile(rf"{_MONTH}[\s\-/.,']*(\d{{1,2}})(?:st|nd|rd|th)?[\s\-/.,']+(20\d\d|19\d\d|\d\d)")),
    ("dmy", re.compile(r"(?<!\d)([0-3]\d)([01]\d)(20\d\d)(?!\d)")),
)
_NUMBER = re.compile(r"[\dOoIl|SB](?:[\dOoIl|SB]|[.,'](?=[\dOoIl|SB]))*")
_LIKE_DIGITS = "OoIl|SB"
_CONFUSED = str.maketrans(_LIKE_DIGITS, "0011158")
_ALIKE = str.maketrans("01|i58", "olllsb")
_LONGEST_TEXT, _LONGEST_ANSWER = 20_000, 200  # characters that are compared
_SURE, _STRANGE = 0.85, 0.5  # similarity of words that are there, and of words that are not
_MISREAD = 0.5  # support and contradiction of a number that the text has but for what readers confuse
_LEAST_DIGITS = 5  # of a number with one other digit: below 100.00, sums are one digit apart by chance
_CONFUSED_DIGITS = {frozenset(pair) for pair in ("06", "08", "17", "38", "56", "68", "49", "09", "35")}
# Contradiction → nats against the answer, of totals and dates in docs/results/receipts.md. No right answer of 100 was
# contradicted, so at most 3% are (95% bound): log(0.973 / 0.03). Of support, log(0.003 / 0.97) is cut to -3: chosen.
_EVIDENCE = ([0.0, 0.5, 1.0], [-3.0, 0.0, 3.5])
_ROWS = 10_000  # that are written at once
# One row for each picture of a row, in order.
_READ = """
    SELECT r.position, r.question, r.answer, r.images, o.ocr_text, o.ocr_boxes
    FROM (
        SELECT position, question, answer, len(image_keys) AS images, unnest(image_keys) AS image_key,
               generate_subscripts(image_keys, 1) AS place
        FROM rows WHERE bad_row IS NULL
    ) r JOIN ocr o USING (image_key) ORDER BY r.position, r.place
"""
_ELSEWHERE = 0.5  # contradiction of a number that stands in the picture, but not where the question asks


@dataclass(frozen=True)
class OcrJudgement:
    """What the text of a picture says of an answer.

    Attributes:
        support: 0–1: how well the answer is found in the text; None if it cannot be expected there.
        contradiction: 0–1: how strongly the text speaks against it; None likewise.
        applies: whether it can be expected there.
        kind: what the answer was sought as; None likewise.
    """

    support: float | None = None
    contradiction: float | None = None
    applies: bool = False
    kind: Literal["date", "number", "words"] | None = None


def contradiction(question: str, answer: str, text: str, boxes: Sequence[int] = ()) -> OcrJudgement:
    """Judge one answer by the text of its picture.

    Args:
        text: ``ocr_text``: rows of text separated by line breaks, pieces of a row by tabs.
        boxes: ``ocr_boxes``; text that was read with little confidence contradicts less.
    """
    text, answer = text[:_LONGEST_TEXT], answer[:_LONGEST_ANSWER]
    if not _can_be_read(question, answer) or not any(each.isalnum() for each in text):
        return OcrJudgement()
    kind: Literal["date", "number", "words"]
    if dates := dates_in(answer):
        kind, support = "date", float(bool(dates & dates_in(text)))
        speaks = 1 - support
    elif numbers := _plain_number(answer):
        kind, support = "number", float(any(numbers & found for found in numbers_in(text)))
        beside = _beside_keys(question, text) if support else []
        speaks = 1 - support if not beside or any(numbers & found for found in beside) else _ELSEWHERE
        if not support and _is_misread(answer, text):
            support = speaks = _MISREAD
    else:
        kind, support = "words", _similarity(answer, text)
        speaks = min(max((_SURE - support) / (_SURE - _STRANGE), 0.0), 1.0)
    sure = sum(boxes[4::5]) / (len(boxes) // 5 * 10_000) if boxes else 1.0
    return OcrJudgement(support, speaks * sure, True, kind)


def against(judged: OcrJudgement) -> float | None:
    """Nats: how much likelier the judgement is for a wrong answer than for a right one.

    None for words, whose reliability was measured on receipts alone, and there for names and addresses only.
    """
    if judged.contradiction is None or judged.kind == "words":
        return None
    return float(np.interp(judged.contradiction, *_EVIDENCE))


def write_read_answers(workspace: Workspace) -> None:
    """Write ``workspace.read_answers`` (schema ``READ_ANSWERS``): the rows that the text of their pictures speaks of.

    It is empty without ``signals: ocr``. A row one of whose pictures was not read is left out.
    """
    with database(workspace.work) as connection:
        create_views(connection, workspace)
        write_parquet(workspace.read_answers, _judged(query_batches(connection, _READ)), READ_ANSWERS)


def _judged(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    pictures = (row for batch in batches for row in batch.to_pylist())
    rows: list[tuple[int, float | None, float | None, float | None]] = []
    for position, group in groupby(pictures, key=lambda row: row["position"]):
        own = list(group)
        if len(own) < own[0]["images"]:
            continue
        text, boxes = "\n".join(row["ocr_text"] for row in own), [box for row in own for box in row["ocr_boxes"]]
        found = contradiction(own[0]["question"] or "", own[0]["answer"] or "", text, boxes)
        if found.applies:
            rows.append((position, found.support, found.contradiction, against(found)))
        if len(rows) == _ROWS:
            yield _batch(rows)
            rows = []
    yield _batch(rows)


def _batch(rows: Sequence[tuple[int, float | None, float | None, float | None]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([dict(zip(READ_ANSWERS.names, row, strict=True)) for row in rows], READ_ANSWERS)


def dates_in(text: str) -> set[tuple[int, int, int]]:
    """(year, month, day) of every date in a text; one that can be read in two ways gives both."""
    lower = text.translate(_LIKE_SEPARATORS).lower()
    found: set[tuple[int, int, int]] = set()
    for kind, pattern in _DATES:
        for match in pattern.finditer(lower):
            first, second, third = (part for part in match.groups() if part not in _SEPARATORS)
            if kind == "ymd":
                readings = [(first, second, third)]
            elif kind == "dMy":
                readings = [(third, str(_MONTHS.index(second) + 1), first)]
            elif kind == "Mdy":
                readings = [(third, str(_MONTHS.index(first) + 1), second)]
            else:
                readings = [(third, second, first), (third, first, second)]
            for reading in readings:
                year, month, day = (int(part) for part in reading)
                if 1 <= month <= 12 and 1 <= day <= 31:
                    found.add((year + 2000 if year < 100 else year, month, day))
    return found


def numbers_in(text: str) -> Iterator[set[Decimal]]:
    """The readings of each number in a text: with and without its spaces, letters like digits as digits or left out."""
    joined = re.sub(r"(?<=\d) ?([.,]) ?(?=\d\d(?!\d))", r"\1", text)
    grouped = re.sub(r"(?<=\d) (?=\d{3}(?:[.,]\d\d)?(?!\d))", "", joined)
    for spelled in dict.fromkeys((joined, grouped)):
        for match in _NUMBER.finditer(spelled):
            token, digits = match.group(), match.group().strip(_LIKE_DIGITS + ".,'")
            if digits and 2 * sum(each.isdigit() for each in token) >= sum(each.isalnum() for each in token):
                yield readings(token.translate(_CONFUSED)) | readings(digits.translate(_CONFUSED))


def readings(token: str) -> set[Decimal]:
    """The values that digits with separators can stand for: ``1,234`` is 1234 and 1.234, ``1.234,50`` is 1234.5."""
    parts = re.split(r"[.,']", token)
    found = set()
    if len(parts) == 1 or (len(parts[0]) <= 3 and all(len(part) == 3 for part in parts[1:])):
        found.add(Decimal("".join(parts)))
    if len(parts) > 1:
        found.add(Decimal("".join(parts[:-1]) + "." + parts[-1]))
    return found


def _can_be_read(question: str, answer: str) -> bool:
    said = answer.strip().strip(".!").casefold()
    if said in _SAYS_NOTHING or not any(each.isalnum() for each in said) or _NOT_READ.search(question):
        return False
    digits = sum(each.isdigit() for each in said)
    return bool(digits >= 3 or _ASKS_TO_READ.search(question))


def _plain_number(answer: str) -> set[Decimal]:
    """The readings of an answer that is one number with a unit or currency; empty for other answers."""
    tokens = re.findall(r"\d(?:\d|[.,'](?=\d))*", answer.replace(" ", ""))
    letters = sum(each.isalpha() for each in answer)
    return readings(tokens[0]) if len(tokens) == 1 and letters <= 4 else set()


def _is_misread(answer: str, text: str) -> bool:
    """Whether the text has the answer's number without its decimal separator, or with one digit that looks alike."""
    (sought,) = re.findall(r"\d(?:\d|[.,'](?=\d))*", answer.replace(" ", ""))
    whole, _, cents = sought.rpartition(".")
    if whole and re.search(rf"(?<![\d.,]){re.escape(whole)}[ \t]?{cents}(?![\d.,])", text):
        return True
    if sum(each.isdigit() for each in sought) < _LEAST_DIGITS:
        return False
    for match in _NUMBER.finditer(text):
        found = match.group().translate(_CONFUSED)
        if len(found) == len(sought):
            apart = [{one, other} for one, other in zip(found, sought, strict=True) if one != other]
            if len(apart) == 1 and frozenset(apart[0]) in _CONFUSED_DIGITS:
                return True
    return False


def _beside_keys(question: str, text: str) -> list[set[Decimal]]:
    """Numbers in rows that hold a word of the question, or below such a row that has none; "sub" words do not count."""
    from rapidfuzz import fuzz

    keys = [word for word in re.findall(r"[a-z]{4,}", question.lower()) if word not in _NO_KEYS]
    rows = text.split("\n")
    found: list[set[Decimal]] = []
    for row, below in zip(rows, [*rows[1:], ""], strict=True):
        words = re.findall(r"[a-z]+", row.lower().translate(str.maketrans("015", "ols")))
        if "sub" in words or not any(fuzz.ratio(key, word) >= 80 for key in keys for word in words):
            continue
        found += list(numbers_in(row)) or list(numbers_in(below))
    return found


def _similarity(answer: str, text: str) -> float:
    """0–1: of the answer and the stretch of the text that is most like it; letters and digits alone count."""
    from rapidfuzz import fuzz

    sought, there = _letters(answer), _letters(text)
    return 1.0 if sought in there else fuzz.partial_ratio(sought, there) / 100


def _letters(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text).casefold().translate(_ALIKE)
    return "".join(each for each in folded if each.isalnum())
