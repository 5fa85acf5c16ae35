"""What a row asks and answers: a question, a multiple choice, a caption, a class, or a preference.

- A caption without a question is asked for with ``caption_prompt``, a class with ``What is shown in the image?``; only
  where the row has an image.
- Options are shown in the question; the answer is the letter or text of one of them.
- A hint or context precedes the question as ``Context: …``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from curate.readers.fields import LABEL_QUESTION, assumed_question
from curate.readers.tables.cells import is_empty, json_value, references, texts
from curate.readers.tables.options import Numbering, Options, as_number, named_option
from curate.readers.tables.turns import is_turns, with_input
from winnow.rows.records import majority

_ASSUMED_BASE = (
    "numbers that name options count from 0, although no row has the number 0;"
    " set `answer_base: 1` if they count from 1"
)
_ALL_RIGHT = (
    "a list of answers is read as references that are all right, of which the most frequent is trained;"
    " of a ranking, name the better and the worse one: `columns: {chosen: …}` and a column `rejected`"
)


class Asked(NamedTuple):
    """A row's question and answer.

    Attributes:
        question, answer: to be trained: text, or turns; '' for no answer.
        answers: every reference.
        roles: those that they were made of.
        kept: role → cell, where they do not restore it.
        meta, notes: as in a sample.
    """

    question: Any
    answer: Any = ""
    answers: tuple[str, ...] = ()
    roles: frozenset[str] = frozenset()
    kept: Mapping[str, Any] = {}
    meta: Mapping[str, Any] = {}
    notes: tuple[str, ...] = ()


def asked(
    cells: Mapping[str, Any],
    options: Options | None,
    numbers: Callable[[], Numbering],
    *,
    has_image: bool,
    prompt: str,
    bare: bool,
) -> Asked:
    """Read the question and answer of a row.

    Args:
        cells: the row's cells by role, those of ``curate.readers.tables.columns.COLUMN_NAMES``.
        options: of a multiple choice.
        numbers: how the table's numbers name options.
        prompt: the question for a caption.
        bare: an image with nothing else is an unanswered caption.

    Raises:
        ValueError: there is no question, an answer names no option, or a cell is of the wrong type.
    """
    question = with_input(cells.get("question"), cells.get("input"))
    answer_role = next((role for role in ("chosen", "answer") if not is_empty(cells.get(role))), "answer")
    answer = cells.get(answer_role)
    if is_turns(question) or is_turns(answer):
        return Asked(question, "" if is_empty(answer) else answer, roles=frozenset({"question", "input", answer_role}))
    if isinstance(question, str) and question.strip():
        if options is not None:
            return _chosen(question, answer_role, cells, options, numbers)
        return _answered(question, answer_role, cells)
    if is_empty(answer) and has_image:
        return _shown(cells, prompt, bare)
    if is_empty(answer) and not is_empty(cells.get("caption")):
        raise ValueError("text without an image or a question")
    raise ValueError("no question" if is_empty(question) or isinstance(question, str) else "the question is no text")


def _answered(question: str, role: str, cells: Mapping[str, Any]) -> Asked:
    """A question with its answer, references, or captions."""
    text, context = _with_context(question, cells)
    answer, answer_raw = texts(cells.get(role))
    listed, listed_raw = references(cells.get("answers"))
    captions = () if answer or listed else _captions(cells)
    kept = {}
    if answer_raw is not None:
        kept[role] = answer_raw
    if listed_raw is not None:
        kept["answers"] = listed_raw
    meta = {"original_question": question} if context else {}
    if not is_empty(cells.get("input")) and text != cells["input"]:
        kept["input"] = cells["input"]
    kept |= {name: cells[name] for name in context}
    return Asked(
        text, majority(answer or listed or captions), listed or answer or captions,
        frozenset(("question", "input", role, "answers", *context, *(("caption",) if captions else ()))), kept, meta,
        (_ALL_RIGHT,) if len(set(answer)) > 1 else (),
    )  # fmt: skip


def _with_context(question: str, cells: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    context = cells.get("context")
    if not isinstance(context, str) or not context.strip() or context.strip() in question:
        return question, ()
    return f"Context: {context}\n{question}", ("context",)


def _chosen(
    question: str, role: str, cells: Mapping[str, Any], options: Options, numbers: Callable[[], Numbering]
) -> Asked:
    """A multiple choice."""
    role = next((name for name in (role, "choice", "answers") if not is_empty(cells.get(name))), role)
    answer = cells.get(role)
    counted = as_number(answer) is not None and str(answer) not in options.labels
    count = numbers() if counted else Numbering()
    try:
        if role == "answers":
            named = tuple(named_option(options, text, numbers()) for text in references(answer)[0])
            named = named if len(set(named)) < len(named) else (", ".join(named),)  # votes repeat, several right do not
        else:
            named = () if is_empty(answer) else (named_option(options, answer, count),)
    except ValueError as error:
        raise ValueError(f"{error}; `columns: {{options: none}}` reads the table without options") from None
    text, context = _with_context(question, cells)
    text = options.shown_in(text)
    meta: dict[str, Any] = {"options": list(options.texts)}
    if text != question:
        meta["original_question"] = question
    if named and answer != majority(named):
        meta["original_answer"] = json_value(answer)
    notes = (_ASSUMED_BASE,) if counted and not count.proven and count.base is not None else ()
    named = tuple(name for name in named if name)
    kept = {name: cells[name] for name in context}
    return Asked(text, majority(named), named, frozenset({"question", "input", role, *context}), kept, meta, notes)


def _shown(cells: Mapping[str, Any], prompt: str, bare: bool) -> Asked:
    """What an image without a question shows: its caption, its class, or nothing that the row says."""
    captions = _captions(cells)
    if captions:
        raw = texts(cells["caption"])[1]
        kept = {} if raw is None else {"caption": raw}
        note = assumed_question(prompt, "captions")
        return Asked(prompt, majority(captions), captions, frozenset({"caption"}), kept, notes=(note,))
    role = next((role for role in ("label", "answers") if not is_empty(cells.get(role))), "")
    if role:
        classes, raw = references(cells[role])
        kept = {} if raw is None else {role: raw}
        numbers = all(as_number(name) is not None for name in classes)
        note = assumed_question(LABEL_QUESTION, "numbers of classes without names" if numbers else "classes")
        return Asked(LABEL_QUESTION, ", ".join(classes), (", ".join(classes),), frozenset({role}), kept, notes=(note,))
    if not bare:
        raise ValueError("no question, caption or label")
    return Asked(prompt, notes=(assumed_question(prompt, "images without a text"),))


def _captions(cells: Mapping[str, Any]) -> tuple[str, ...]:
    cell = cells.get("caption")
    return texts(cell)[0]
