"""Explicit statements of an answer: ``Answer: B``, ``\\boxed{B}``, ``<answer>B</answer>``, 答案：B."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

_TAGS = r"answer|final_answer|finalanswer|ans|conclusion|solution"
_OPENING = re.compile(rf"<(?:{_TAGS})>|<\|begin_of_box\|>|\[BEGIN FINAL RESPONSE\]|\[ANSWER\]", re.IGNORECASE)
_CLOSING = re.compile(rf"</(?:{_TAGS})>|<\|end_of_box\|>|\[END FINAL RESPONSE\]|\[/ANSWER\]", re.IGNORECASE)
_BOXED = re.compile(r"(?:\\f?box(?:ed)?|\x08oxed|(?<!\w)boxed)\s*\{")  # \b of careless JSON is a backspace
_BOX_READ = 400  # characters of a box

_ADJECTIVES = r"(?:final|correct|right|best|most\s+likely|likely|only|closest|appropriate|suitable|accurate|short|full)"
_NOUN = r"(?:answer|ans|option|choice|solution|response|result|conclusion)(?:\s+(?:choice|option|letter))?"
_IS = (
    r"(?:\s+(?:for|to|of|in|among|from|given|that|which|based)\b[^.\n:!?]{1,100}?)?"
    r"(?:\s+(?:here|then|therefore|thus|should|would|must|will|could|may|might))*"
    r"\s+(?:is|be|was|are)\b(?:\s+(?:therefore|thus|then|likely|most\s+likely|probably|clearly|definitely|indeed|still"
    r"|simply|just|that|as\s+follows))*[ \t]*[:：]?"
)
_LABEL = re.compile(
    rf"(?<![\w])(?:(?:the|my|your|its|so|thus|therefore|hence)\s+){{0,2}}(?:{_ADJECTIVES}[\s-]+){{0,3}}{_NOUN}"
    rf"(?:\s*\([^()\n]{{1,40}}\))?(?:[*_`\"”']*\s*(?:[:：=]|->|→|⇒|[-–—](?=\s))|[*_`]*{_IS}|[*_`]*[ \t]*\n)[*_`\"“'\s]*"
    r"|(?:正确|正確|最终|最終|最佳|参考|參考)?(?:的)?(?:答案|选项|選項|正解|答え|解答|回答)[*_`]*\s*(?:应该|應該|应|應)?"
    r"(?:是|为|為|選|选|は|：|:)[：:]?[*_`\s]*"
    r"|(?:故|因此|所以|应|應|应该)?(?:選擇|选择|選|选)(?:项|項)?[：:]?[*_`\s]*(?=[(（]?[A-Za-z]\b)"
    r"|(?<!\w)(?:la\s+|le\s+|die\s+|a\s+|o\s+|il\s+)?(?:bonne\s+|richtige\s+|korrekte\s+|mejor\s+)?"
    r"(?:réponse|reponse|antwort|respuesta|resposta|risposta|ответ|odpowiedź|antwoord|svar|jawaban|đáp\s+án|cevap)"
    r"(?:\s+(?:correcte|finale?|correcta|exacta|corretta|correta|est|ist|es|é|è|lautet|adalah|là|is|är|er|jest"
    r"|(?:la|l'|die|the)\s*(?:option|opción|opção)?))*\s*[:：]?[*_`\s]*"
    r"|(?:정답|답)(?:은|:|：)\s*",
    re.IGNORECASE,
)
_LABEL_HINT = re.compile(
    r"answer|ans\b|option|choice|solution|response|result|conclusion|答|选|選|正解|réponse|reponse|antwort|respuesta"
    r"|resposta|risposta|ответ|odpowied|antwoord|svar|jawaban|đáp|cevap|정답|답",
    re.IGNORECASE,
)
_OTHER_NOUN = re.compile(r"option|choice|solution|response|result|conclusion|选项|选|選", re.IGNORECASE)
_DENIAL = re.compile(r"(?:not|unclear|unknown|that|because)\b", re.IGNORECASE)
_OPENS = re.compile(r"(?:^|[\n.!?。：:])[\s*_#>\"“-]*$")
_LAST = 50  # statements of one form that are looked at
_CONTENT_READ = 300  # characters behind a label


class Statement(NamedTuple):
    """An explicit statement.

    Attributes:
        begin: where it begins in the text.
        content: what it states: of a tag or box what is inside, of a label the rest of the line.
        label: the words that introduce it; '' of a tag or box.
    """

    begin: int
    content: str
    label: str


def statements(text: str) -> list[Statement]:
    """The statements in a text, in their order; of many of one form the last ones."""
    found = list(_boxes(text)) if "ox" in text else []
    if "<" in text or "[" in text:
        found += _tags(text)
    if _LABEL_HINT.search(text):
        found += _labels(text)
    found.sort()
    return found


def stated_text(text: str) -> str | None:
    """The words of the last statement of a short answer: in a tag or box, or behind "Answer:" or "the answer is".

    Only what opens a line or a sentence counts, and a denial ("the answer is not visible") states nothing.
    """
    for statement in reversed(statements(text)):
        words = statement.content.removesuffix(".").strip('*`"“” ')
        if not words or (statement.label and (_OTHER_NOUN.search(statement.label) or _DENIAL.match(words))):
            continue
        if not statement.label or _OPENS.search(text[max(0, statement.begin - 40) : statement.begin]):
            return words
    return None


def _labels(text: str) -> Iterator[Statement]:
    for label in deque(_LABEL.finditer(text), _LAST):
        line = text[label.end() : label.end() + _CONTENT_READ].partition("\n")[0]
        yield Statement(label.start(), line.strip(), label[0])


def _tags(text: str) -> Iterator[Statement]:
    for opening in deque(_OPENING.finditer(text), _LAST):
        closing = _CLOSING.search(text, opening.end())
        yield Statement(opening.start(), text[opening.end() : closing.start() if closing else None].strip(), "")


def _boxes(text: str) -> Iterator[Statement]:
    r"""What is inside ``\boxed{…}``, inner braces counted; one that never closes holds the rest of its line."""
    for box in deque(_BOXED.finditer(text), _LAST):
        inside = text[box.end() : box.end() + _BOX_READ]
        depth = 1
        for place, mark in enumerate(inside):
            depth += (mark == "{") - (mark == "}")
            if depth == 0:
                inside = inside[:place]
                break
        else:
            inside = inside.partition("\n")[0]
        yield Statement(box.start(), inside.strip(), "")
