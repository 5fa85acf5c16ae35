"""Rows of an evaluation for the review panel: what was asked and answered, what it is worth, what other runs said."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dashboards.data.answers import Answer, answers_at, answers_to, said_to
from dashboards.data.catalog import Catalog, Folder
from dashboards.data.curated import json_object
from dashboards.data.scores import tasks_of
from dashboards.review.boxes import boxes_in_tokens, boxes_of_task
from dashboards.review.diff import nearest_reference, word_diff
from dashboards.review.picture_size import size_of
from dashboards.review.row import Reader, ReviewRow, counted, pictures_of, shortened
from dashboards.review.why import why_of
from winnow.errors import UserError

if TYPE_CHECKING:
    from evalsuite.tasks.spec import TaskSpec

_MOST_RUNS = 8  # whose answers stand beside a row's
_LONGEST_OTHER = 2_000  # characters of another run's answer
_MOST_TURNS = 100
LETTERS = string.ascii_uppercase


def evaluated_rows(
    catalog: Catalog, folder: Folder, rows: Sequence[int], reader: Reader, around: Sequence[int] = ()
) -> dict[int, ReviewRow]:
    """Number of a row in ``predictions.parquet`` → the row; numbers without a row are left out.

    Args:
        around: rows that will be asked for soon, ``rows`` among them: they are read with these.
    """
    wanted = set(rows)
    answers = [answer for answer in answers_at(folder, None, tuple(around or rows)) if answer.row in wanted]
    specs, others = _specs(folder), len(_others(catalog, folder, reader.base))
    earlier = _earlier(folder, answers, specs)
    decided = reader.decisions_of([answer.sample_id for answer in answers])
    return {
        answer.row: _row(folder, answer, specs.get(answer.task), others, earlier.get(answer.row, ()), decided)
        for answer in answers
    }


def _specs(folder: Folder) -> Mapping[str, TaskSpec]:
    try:
        return tasks_of(folder)
    except UserError:
        return {}


def _row(
    folder: Folder, answer: Answer, spec: TaskSpec | None, others: int, earlier: Sequence[Answer],
    decided: Mapping[str, list[dict[str, Any]]],
) -> ReviewRow:  # fmt: skip
    text = answer.raw if answer.extracted is None else answer.extracted
    nearest = nearest_reference(text, answer.references)
    diff = word_diff(text, nearest) if answer.references and text else None
    return ReviewRow(
        place=None,
        kind="evals",
        folder=folder.name,
        row=answer.row,
        sample_id=answer.sample_id,
        task=answer.task,
        content_hash=answer.content_hash,
        pictures=pictures_of(folder, answer.sample_id, answer.image_keys),
        question=answer.question,
        references=counted(answer.references),
        system=spec.system or "" if spec else "",
        turns=_turns(answer, earlier) or None,
        prompt=shortened(answer.prompt),
        options=_options(answer),
        answer={
            "text": None if answer.extracted is None else shortened(answer.extracted),
            "raw": shortened(answer.raw),
            "status": answer.status,
            "correct": answer.correct,
            "truncated": answer.truncated,
            "near": answer.near,
            "error": answer.error,
            "finish_reason": answer.finish_reason,
            "reasoning": shortened(answer.reasoning),
            "confidence": answer.confidence,
        },
        nearest=shortened(nearest),
        diff=[(mark, shortened(words)) for mark, words in diff.segments] if diff else None,
        diff_cut=bool(diff and diff.cut),
        why=why_of(folder, answer),
        others=others,
        facts=list(answer.slices.items()),
        boxes=[asdict(box) for box in _boxes(folder, answer, spec)],
        decisions=decided[answer.sample_id],
    )


def _turns(answer: Answer, earlier: Sequence[Answer]) -> list[dict[str, str]]:
    """The conversation before the question, which the model answered itself, and the question."""
    if not earlier:
        return []
    said = [(one.question, one.raw) for one in earlier]
    turns = [(role, text) for pair in said for role, text in zip(("user", "assistant"), pair, strict=True)]
    return [{"role": role, "text": shortened(text)} for role, text in (*turns, ("user", answer.question))]


def _earlier(folder: Folder, answers: Sequence[Answer], specs: Mapping[str, TaskSpec]) -> dict[int, list[Answer]]:
    """Row → the answers to the turns before it, for turns of a conversation.

    Rows that are asked several times are numbered alike; only the task says which of the two they are.
    """
    wanted: dict[int, list[str]] = {}
    for answer in answers:
        spec = specs.get(answer.task)
        if answer.repeat and spec and not spec.repeat and spec.samples == 1:
            first = answer.sample_id.removesuffix(f"#{answer.repeat}")
            numbers = range(max(answer.repeat - _MOST_TURNS, 0), answer.repeat)
            wanted[answer.row] = [f"{first}#{number}" if number else first for number in numbers]
    if not wanted:
        return {}
    found = {
        (one.task, one.sample_id): one
        for one in answers_to(folder, tuple(key for keys in wanted.values() for key in keys))
    }
    task_of = {answer.row: answer.task for answer in answers}
    return {
        row: [found[task_of[row], key] for key in keys if (task_of[row], key) in found] for row, keys in wanted.items()
    }


def _options(answer: Answer) -> list[dict[str, Any]]:
    """The options with what marks them; references and answers name options by letter, or by text."""
    texts = [text.strip().casefold() for text in answer.choices]
    right = {reference.strip().casefold() for reference in answer.references}
    chosen = (answer.extracted or "").strip().casefold()
    letters = [LETTERS[number].casefold() if number < len(LETTERS) else "" for number in range(len(texts))]
    by_letter = right <= set(letters) and not right <= set(texts)
    names = letters if by_letter or (right <= set(letters) and chosen in letters) else texts
    return [
        {"text": text, "reference": name in right, "chosen": bool(chosen) and name == chosen}
        for text, name in zip(answer.choices, names, strict=True)
    ]


def _boxes(folder: Folder, answer: Answer, spec: TaskSpec | None) -> list[Any]:
    facts = json_object(answer.facts)

    def size() -> tuple[float, float] | None:
        width, height = facts.get("width"), facts.get("height")
        if isinstance(width, int | float) and isinstance(height, int | float) and width > 0 and height > 0:
            return float(width), float(height)
        return size_of(folder, answer.task, answer.images, answer.image_keys, 0)

    if spec and (found := boxes_of_task(spec, answer.references, answer.extracted, size)):
        return found
    references = dict.fromkeys(answer.references)
    return [
        *(box for text in references for box in boxes_in_tokens(text, "reference")),
        *boxes_in_tokens(answer.raw, "answer"),
    ]


def other_answers(catalog: Catalog, folder: Folder, row: int, base: str) -> list[dict[str, Any]]:
    """What other runs answered to a row: the run that is compared with, then the newest.

    Args:
        row: its number in ``predictions.parquet``.
        base: name of the run that is compared with, '' for none.

    Raises:
        UserError: the table of ``folder`` is broken.
    """
    found = []
    for own in answers_at(folder, None, (row,)):
        for run in _others(catalog, folder, base):
            try:
                said = said_to(run, ((own.row, own.task, own.sample_id),))
            except UserError:
                continue  # the pages name a run that cannot be read; a row is still worth showing
            found += [
                {
                    "run": run.name,
                    "text": shortened(other.text, _LONGEST_OTHER),
                    "correct": other.correct,
                    "status": other.status,
                    "base": run.name == base,
                    "changed": other.asked != (own.question, own.references),
                }
                for other in said.values()
            ]
    return found


def _others(catalog: Catalog, folder: Folder, base: str) -> list[Folder]:
    runs = [run for run in catalog.finished("evals") if run.name != folder.name]
    return sorted(runs, key=lambda run: run.name != base)[:_MOST_RUNS]
