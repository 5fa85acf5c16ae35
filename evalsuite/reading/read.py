"""How a task reads a reply: the answer that is scored, or the reason why there is no answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from evalsuite.metrics.multiple_choice import CHOICE_VARIANTS, parse_choice
from evalsuite.metrics.yes_no import YES_NO_VARIANTS, parse_yes_no
from evalsuite.reading.refusal import is_refusal, refuses
from winnow.recipe import StrictModel

Status = Literal["ok", "unparsed", "refused", "failed"]
STATUSES: tuple[Status, ...] = ("ok", "unparsed", "refused", "failed")

# A line break ends a sentence too, but not after a colon ("The answer is:\n\nred").
_SENTENCE_END = re.compile(r"(?<=[.!?])\s|(?<![:\s])\n|(?<![:\s])[ \t]+\n")
_ALTERNATIVE = re.compile(r"\s*(?:,?\s*(?:and|or)\b|/)", re.IGNORECASE)


class ReadAnswer(NamedTuple):
    """What was read from a reply.

    Attributes:
        answer: None unless the status is ``ok``.
        status: ``ok``; ``unparsed``: no answer that the task's rule can read; ``refused``: declined by the
            model or the server; ``failed``: no reply came.
        truncated: the reply was cut off at the token limit. What there is of it is read like any other.
    """

    answer: str | None
    status: Status
    truncated: bool


class Extraction(StrictModel):
    """How a task reads an answer.

    Attributes:
        kind: ``text`` takes the whole reply, ``line`` the first line, ``sentence`` the first
            sentence, ``choice`` the one answer out of ``choices`` that the reply names, ``yes_no`` yes
            or no, ``letter`` the letter of the row's option that the reply names (the whole reply where
            a row has no options).
        choices: the closed set of answers. A reply that starts with one means it, unless ``and``
            or ``or`` follows; else its first sentence must name exactly one. The rest is unparsed.
        rule: of ``letter`` (default ``mmmu``) and ``yes_no`` (default ``words``): a variant of
            ``evalsuite.metrics.parse_choice`` and ``parse_yes_no``.
    """

    kind: Literal["text", "line", "sentence", "choice", "yes_no", "letter"] = "text"
    choices: Annotated[list[str], Field(default_factory=list)]
    rule: str | None = None

    @model_validator(mode="after")
    def _choices_where_needed(self) -> Extraction:
        if (self.kind == "choice") != bool(self.choices):
            raise ValueError("choices belong to kind: choice, and only there")
        known = {"letter": CHOICE_VARIANTS, "yes_no": YES_NO_VARIANTS}.get(self.kind, ())
        if self.rule is not None and self.rule not in known:
            raise ValueError(f"kind {self.kind} has no rule {self.rule!r}; known: {', '.join(known) or 'none'}")
        return self


def read_answer(
    raw: str, finish_reason: str, extraction: Extraction, options: Sequence[str] = (), stop: Sequence[str] = ()
) -> ReadAnswer:
    """The answer in a reply, and what became of the question.

    A reply refuses only if it says so and nothing could be read from it; where any text is an answer
    (``text``, ``line``, ``sentence``), only if it is a refusal and no more.

    Args:
        finish_reason: ``stop``, ``length`` (cut off), ``content_filter`` (the server refused) or ``error``.
        options: texts of the row's options, for ``letter``.
        stop: texts that end an answer.
    """
    if finish_reason == "error":
        return ReadAnswer(None, "failed", False)
    if finish_reason == "content_filter":
        return ReadAnswer(None, "refused", False)
    text = cut_at_stop(raw, stop)
    truncated = finish_reason == "length" and text == raw  # a server that takes no stop texts writes on
    text = text.strip()
    answer = _read(text, extraction, options)
    if not answer:
        return ReadAnswer(None, "refused" if refuses(text) else "unparsed", truncated)
    any_text = extraction.kind in ("text", "line", "sentence") or (extraction.kind == "letter" and not options)
    if any_text and is_refusal(text):
        return ReadAnswer(None, "refused", truncated)
    return ReadAnswer(answer, "ok", truncated)


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """``text`` up to the first stop text that follows a word."""
    if not stop:
        return text
    begin = len(text) - len(text.lstrip())
    found = [place for place in (text.find(end, begin) for end in stop) if place >= 0]
    return text[: min(found)] if found else text


def _read(text: str, rule: Extraction, options: Sequence[str]) -> str | None:
    if rule.kind == "choice":
        return _choice(text, rule.choices)
    if rule.kind == "yes_no":
        return parse_yes_no(text, variant=rule.rule or "words")  # type: ignore[arg-type]
    if rule.kind == "letter" and options:
        return parse_choice(text, options, variant=rule.rule or "mmmu")  # type: ignore[arg-type]
    return _plain(text, rule.kind)


def _plain(text: str, kind: str) -> str:
    if kind == "line":
        return text.split("\n", 1)[0].strip()
    if kind == "sentence":
        return _SENTENCE_END.split(text, maxsplit=1)[0].strip()
    return text


def _choice(text: str, choices: list[str]) -> str | None:
    """The choice that ``text`` starts with, else the only one its first sentence names."""
    sentence = _plain(text, "sentence")
    longest_first = sorted(choices, key=len, reverse=True)
    pattern = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)", re.IGNORECASE)
    by_text = {choice.lower(): choice for choice in choices}
    opening = sentence.lstrip("\"'*([ ")
    first = pattern.match(opening)
    if first and not _ALTERNATIVE.match(opening, first.end()):
        return by_text[first.group().lower()]
    named = {by_text[match.lower()] for match in pattern.findall(sentence)}
    return named.pop() if len(named) == 1 else None
