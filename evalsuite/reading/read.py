"""How a task reads a reply: the answer that is scored, or the reason why there is no answer.

What a reply has around its answer is taken off first: thinking, special tokens, what follows a stop text, Markdown.
Then the reader of the task's kind reads what is left. Nothing here changes what is stored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from evalsuite.reading.box import Scale, read_box
from evalsuite.reading.choice import read_choice
from evalsuite.reading.choice_rules import CHOICE_VARIANTS, parse_choice
from evalsuite.reading.json_answer import read_json
from evalsuite.reading.number import read_number
from evalsuite.reading.refusal import is_refusal, refuses
from evalsuite.reading.statement import stated_text, statements
from evalsuite.reading.strip import cut_at_stop, plain_words, without_special_tokens, without_thinking
from evalsuite.reading.yes_no import YES_NO_VARIANTS, parse_yes_no
from winnow.recipe import StrictModel

Status = Literal["ok", "unparsed", "refused", "failed"]
STATUSES: tuple[Status, ...] = ("ok", "unparsed", "refused", "failed")
Part = Literal["thinking", "special_tokens", "markdown"]
EVERYTHING: tuple[Part, ...] = ("thinking", "special_tokens", "markdown")

VERBATIM = "verbatim"
_RULES: dict[str, tuple[str, ...]] = {
    "letter": CHOICE_VARIANTS,
    "yes_no": YES_NO_VARIANTS,
    "text": (VERBATIM,),
    "line": (VERBATIM,),
    "sentence": (VERBATIM,),
}
_OWN_RULES = (None, "lenient", "words", VERBATIM)  # the others are other people's code and see the whole reply
_PLAIN_KINDS = ("text", "line", "sentence")
_READ = 50_000  # characters at either end of a reply that are read …
_SEARCHED = 1_000_000  # … once thinking is taken out of these
# A line break ends a sentence too, but not after a colon ("The answer is:\n\nred").
_SENTENCE_END = re.compile(r"(?<=[.!?])\s|(?<![:\s])\n|(?<![:\s])[ \t]+\n")
# Blanks, control characters, marks without width, and U+FFFD, which stands for half a character: no part of an answer.
_UNSEEN = "".join(map(chr, range(33))) + "\x7f\u00a0\u00ad\u200b\u200c\u200e\u200f\u2028\u2029\u2060\u3000\ufeff\ufffd"
_NEGATED = re.compile(
    r"(?:\bnot|n['’]t|\bnever|\bneither|\bnor|\brather\s+than|\binstead\s+of|不是)(?:\s+(?:a|the))?\s*$", re.IGNORECASE
)
_ALTERNATIVE = re.compile(r"\s*(?:,?\s*(?:and|or)\b|/)", re.IGNORECASE)


class Extraction(StrictModel):
    """How a task reads an answer.

    Attributes:
        kind: ``text`` takes the whole reply, ``line`` the first line, ``sentence`` the first
            sentence; where the reply states a short answer ("Answer: red", ``\\boxed{red}``,
            ``<answer>red</answer>``), all three take that. ``choice`` takes the one answer out of ``choices`` that
            the reply names, ``yes_no`` yes or no, ``letter`` the letter of the row's option that the reply names
            (the whole reply where a row has no options), ``number`` a number, ``box`` a box as ``[x1, y1, x2,
            y2]``, ``json`` the value under ``key`` of a JSON object.
        choices: the closed set of answers. An explicit statement of one decides; a reply that starts with one means
            it, unless ``and`` or ``or`` follows; else its first sentence must name exactly one. The rest is
            unparsed.
        rule: of ``letter`` (default ``lenient``) and ``yes_no`` (default ``words``): a variant of
            ``evalsuite.metrics.parse_choice`` and ``parse_yes_no``; of ``text``, ``line`` and ``sentence``:
            ``verbatim`` looks for no stated answer, for captions.
        strip: what is taken off first; null: everything, but nothing for a rule that is a benchmark's or a tool's
            code.
        key: of ``json``: the key.
        scale: of ``box``: what the model's numbers are, see ``evalsuite.reading.box.read_box``.
    """

    kind: Literal["text", "line", "sentence", "choice", "yes_no", "letter", "number", "box", "json"] = "text"
    choices: Annotated[list[str], Field(default_factory=list)]
    rule: str | None = None
    strip: list[Part] | None = None
    key: str | None = None
    scale: Scale | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Extraction:
        if (self.kind == "choice") != bool(self.choices):
            raise ValueError("choices belong to kind: choice, and only there")
        if (self.kind == "json") != bool(self.key):
            raise ValueError("key belongs to kind: json, and only there")
        if self.scale and self.kind != "box":
            raise ValueError("scale belongs to kind: box, and only there")
        known = _RULES.get(self.kind, ())
        if self.rule is not None and self.rule not in known:
            raise ValueError(f"kind {self.kind} has no rule {self.rule!r}; known: {', '.join(known) or 'none'}")
        return self

    @property
    def stripped(self) -> Sequence[Part]:
        """What is taken off before reading."""
        if self.strip is not None:
            return self.strip
        return EVERYTHING if self.rule in _OWN_RULES else ()


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


class Step(NamedTuple):
    """One step from the stored reply to the answer: its name and the text behind it."""

    name: str
    text: str


def read_answer(
    raw: str, finish_reason: str, extraction: Extraction, options: Sequence[str] = (), stop: Sequence[str] = ()
) -> ReadAnswer:
    """The answer in a reply, and what became of the question.

    A reply refuses only if it says so and nothing could be read from it; where any text or number would be an
    answer, only if it is a refusal and no more. Of a reply of more than 100,000 characters, behind its thinking, both
    ends are read.

    Args:
        finish_reason: ``stop``, ``length`` (cut off), ``content_filter`` (the server refused) or ``error``.
        options: texts of the row's options, for ``letter``.
        stop: texts that end an answer.
    """
    if finish_reason == "error":
        return ReadAnswer(None, "failed", False)
    if finish_reason == "content_filter":
        return ReadAnswer(None, "refused", False)
    marked_up, ended = _without_marks(raw, extraction, stop)
    truncated = finish_reason == "length" and not ended  # a server that takes no stop texts writes on behind one
    text = plain_words(marked_up).strip() if "markdown" in extraction.stripped else marked_up
    answer = _read(text, extraction, options, marked_up)
    if not answer:
        return ReadAnswer(None, "refused" if refuses(text) else "unparsed", truncated)
    anything = extraction.kind in (*_PLAIN_KINDS, "number") or (extraction.kind == "letter" and not options)
    if anything and is_refusal(text):
        return ReadAnswer(None, "refused", truncated)
    return ReadAnswer(answer, "ok", truncated)


def reading_steps(
    raw: str, extraction: Extraction, options: Sequence[str] = (), stop: Sequence[str] = ()
) -> list[Step]:
    """What ``read_answer`` makes of a reply, step by step; steps that change nothing are left out."""
    found = [Step("reply", raw)]

    def add(name: str, text: str) -> str:
        if text != found[-1].text:
            found.append(Step(name, text))
        return text

    text = raw
    if "thinking" in extraction.stripped:
        text = add("without thinking", without_thinking(text))
    if "special_tokens" in extraction.stripped:
        text = add("without special tokens", without_special_tokens(text))
    if stop:
        text = add("up to the stop text", cut_at_stop(text, stop))
    text = marked_up = _without_marks(raw, extraction, stop)[0]
    if "markdown" in extraction.stripped:
        text = add("without Markdown", plain_words(text).strip())
    if extraction.rule in (None, "lenient", "words") and (stated := statements(text)):
        add("stated", " | ".join(statement.content for statement in stated))
    answer = _read(text, extraction, options, marked_up)
    return [*found, Step("answer", answer or "")]


def _without_marks(raw: str, extraction: Extraction, stop: Sequence[str]) -> tuple[str, bool]:
    """The reply, of a long one both ends, without thinking and special tokens, and whether a stop text ends it."""
    parts = extraction.stripped
    text = _both_ends(raw, _SEARCHED)
    text = _both_ends(without_thinking(text) if "thinking" in parts else text, _READ)
    if "special_tokens" in parts:
        text = without_special_tokens(text)
    whole = text
    text = cut_at_stop(text, stop) if stop else text
    return text.strip(_UNSEEN), len(text) < len(whole)


def _both_ends(text: str, each: int) -> str:
    return text if len(text) <= 2 * each else f"{text[:each]}\n{text[-each:]}"


def _read(text: str, extraction: Extraction, options: Sequence[str], marked_up: str) -> str | None:
    rule: Any = extraction.rule
    kind = extraction.kind
    if kind == "choice":
        return _choice(text, extraction.choices)
    if kind == "yes_no":
        return parse_yes_no(text, variant=rule or "words")
    if kind == "letter" and options:
        return (
            read_choice(text, options, marked_up)
            if rule in _OWN_RULES
            else parse_choice(text, options, variant=rule, key=text)  # draws differ from reply to reply
        )
    if kind == "number":
        return read_number(text)
    if kind == "box":
        return read_box(text, extraction.scale)
    if kind == "json":
        return _encodable(read_json(text, extraction.key or "") or "")
    if kind == "letter" or rule == VERBATIM:
        return _encodable(_plain(text, kind))
    return _encodable(_plain(stated_text(text) or text, kind))


def _encodable(text: str) -> str:
    """Text that can be stored: lone surrogates, which are half a character, become U+FFFD."""
    if text.isascii():
        return text.strip(_UNSEEN)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").strip(_UNSEEN)


def _plain(text: str, kind: str) -> str:
    if kind == "line":
        return text.split("\n", 1)[0].strip()
    if kind == "sentence":
        return _SENTENCE_END.split(text, maxsplit=1)[0].strip()
    return text


def _choice(text: str, choices: list[str]) -> str | None:
    """The choice that the last statement names, else the one that the reply starts with or its first sentence names."""
    for statement in reversed(statements(text)):
        if found := _named_choice(statement.content, choices):
            return found
    return _named_choice(_plain(text, "sentence"), choices)


def _named_choice(sentence: str, choices: list[str]) -> str | None:
    """The choice that a sentence starts with, else the only one that it names."""
    longest_first = sorted(choices, key=len, reverse=True)
    pattern = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)", re.IGNORECASE)
    by_text = {choice.lower(): choice for choice in choices}
    opening = sentence.lstrip("\"'*([ ")
    first = pattern.match(opening)
    if first and not _ALTERNATIVE.match(opening, first.end()):
        return by_text[first.group().lower()]
    named = {
        by_text[match[0].lower()]
        for match in pattern.finditer(sentence)
        if not _NEGATED.search(sentence[max(0, match.start() - 30) : match.start()])
    }
    return named.pop() if len(named) == 1 else None
