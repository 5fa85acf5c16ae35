"""From a judge's reply to its verdict, strictly: what has another form than the rubric asks for is no verdict."""

from __future__ import annotations

import re
from dataclasses import dataclass

from evalsuite.judge.rubric import Reader
from evalsuite.reading.read import Extraction, read_answer

_WORDS = Extraction(choices=[], rule="verbatim", strip=["thinking", "special_tokens", "markdown"])
_NUMBER = r"[-+]?[0-9]{1,6}(?:\.[0-9]{1,6})?"
_EMPHASIS = " \t*_`\"'“”|"  # with the border of a table, which a judge that completes a row writes
_AROUND = _EMPHASIS + "[]()"  # what may stand around a verdict
_LONGEST = 1000  # characters of a line that can be a verdict


@dataclass(frozen=True)
class Verdict:
    """What a judge decided about one reply, or about two.

    Attributes:
        score: 0 to 1, of the first reply; None for an ``answer``.
        numbers: the two numbers of ``two_numbers``, as given.
        answer: the answer that the judge found in the reply.
    """

    score: float | None = None
    numbers: tuple[float, float] | None = None
    answer: str | None = None


def read_verdict(raw: str, finish_reason: str, reader: Reader) -> Verdict | None:
    """The verdict in a judge's reply, or None.

    Thinking is left out before. A verdict in the last line of a reply that was cut off is none: more could follow.
    """
    if finish_reason in ("error", "content_filter"):
        return None
    text = read_answer(raw, "stop", _WORDS).answer or ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or (reader.line == "only" and len(lines) > 1):
        return None
    place = len(lines) - 1 if reader.line == "last" else 0
    complete = finish_reason != "length" or place < len(lines) - 1
    line = lines[place].strip(_EMPHASIS)
    if not complete or len(line) > _LONGEST:
        return None
    if reader.after:
        if not line.casefold().startswith(reader.after.casefold()):
            return None
        line = line[len(reader.after) :].strip(_EMPHASIS)
    return _parse(line, reader)


def _parse(line: str, reader: Reader) -> Verdict | None:
    if reader.kind == "answer":
        return Verdict(answer=line) if line else None
    bare = line.removesuffix(".").strip(_AROUND)
    if reader.kind == "word":
        score = reader.words.get(bare.casefold())
        return None if score is None else Verdict(score=score)
    scale = rf"(?:\s*/\s*{reader.high:g}(?:\.0+)?)?"
    if reader.kind == "number":
        found = re.fullmatch(rf"({_NUMBER}){scale}", bare)
        return None if found is None else _on_scale(reader, (float(found[1]),))
    found = re.fullmatch(rf"({_NUMBER}){scale}(?:\s*[,;]\s*|\s+)({_NUMBER}){scale}", bare)
    return None if found is None else _on_scale(reader, (float(found[1]), float(found[2])))


def _on_scale(reader: Reader, numbers: tuple[float, ...]) -> Verdict | None:
    if not all(reader.low <= number <= reader.high for number in numbers):
        return None
    if len(numbers) == 1:
        return Verdict(score=(numbers[0] - reader.low) / (reader.high - reader.low))
    first, second = numbers
    return Verdict(score=0.5 if first == second else float(first > second), numbers=(first, second))
