"""A model that replies with a reference, word for word, must be read and score in full.

Where it does not, reference, extraction and metric do not fit. Nothing here knows a metric or an extraction.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evalsuite.check.findings import shown
from evalsuite.metrics.base import Answers, MetricColumn
from evalsuite.reading.read import read_answer
from evalsuite.tasks.load import TaskRow
from evalsuite.tasks.spec import TaskSpec, score

_MOST = 10  # references of a row that are tried
_EQUAL = 1e-9


@dataclass(frozen=True, slots=True)
class Misfit:
    """A row that no reference of its own answers in full.

    Attributes:
        kind: ``unread``: no reference is read; ``wrong``: the reply is wrong; ``part``: it is right, and scores
            less than the best; ``mapped``: a letter, yes or no scores in full, and no reference does.
        seen: the first reference, and what became of it.
        share: of the best score that it reaches, 0 to 1.
    """

    sample_id: str
    kind: str
    seen: str
    share: float = 0.0


def misfits(rows: Sequence[TaskRow], spec: TaskSpec) -> Iterator[Misfit]:
    """Every row whose references do not score in full as replies.

    Raises:
        UserError: as scoring would, because a row lacks what a metric needs.
    """
    judging = _judging(spec)
    if not judging.metrics:
        return
    given = [_references(row) for row in rows]
    replies = [_first_read(spec, row, texts) for row, texts in zip(rows, given, strict=True)]
    columns = _scored(judging, rows, replies)
    full = _full(columns)
    for place, (row, texts, reply) in enumerate(zip(rows, given, replies, strict=True)):
        if not (full[place] and reply is not None):
            yield from _misfit(row, spec, judging, texts, reply, columns, place)


def _misfit(
    row: TaskRow, spec: TaskSpec, judging: TaskSpec, texts: list[str], reply: str | None,
    columns: Sequence[MetricColumn], place: int,
) -> Iterator[Misfit]:  # fmt: skip
    """Why a row's first reference is not enough, unless another reference is."""
    forms = [chr(ord("A") + number) for number in range(len(row.choices))] or ["yes", "no"]
    tried = [(text, read) for text in [*texts, *forms] if (read := _read(spec, row, text)) is not None]
    copies = [replace(row, sample_id=f"{row.sample_id}#{number}") for number in range(len(tried))]
    enough = _full(_scored(judging, copies, [read for _, read in tried])).tolist() if tried else []
    winner = next((text for (text, _), full in zip(tried, enough, strict=True) if full), None)
    first = shown(texts[0]) if texts else ""
    if winner is not None:
        if winner not in texts:
            yield Misfit(row.sample_id, "mapped", f"“{first}” counts as {winner}")
    elif reply is None:
        yield Misfit(row.sample_id, "unread", first)
    else:
        short = [column for column in columns if column.per_row[place] < column.best_row - _EQUAL]
        for column in short[:1]:
            value = float(column.per_row[place])
            kind = "part" if value >= (column.right_from or 0.0) else "wrong"
            seen = f"“{first}” scores {value:.2g} on {column.title}"
            yield Misfit(row.sample_id, kind, seen, value / column.best_row)


def _judging(spec: TaskSpec) -> TaskSpec:
    """The task with those metrics alone that tell a right row from a wrong one by its text: the others have no full
    score."""
    kept = {
        key: settings
        for key, settings in spec.metrics.items()
        if any(number.right_from is not None for number in settings.definition.numbers.values())
        and "confidences" not in settings.definition.needs
    }
    return spec.model_copy(update={"metrics": kept})


def _scored(judging: TaskSpec, rows: Sequence[TaskRow], texts: Sequence[str | None]) -> list[MetricColumn]:
    return [column for column in score(answers_of(rows, texts), judging.metrics) if column.right_from is not None]


def answers_of(rows: Sequence[TaskRow], texts: Sequence[str | None]) -> Answers:
    """What metrics are given of rows with these answers."""
    return Answers(
        ids=[row.sample_id for row in rows],
        texts=texts,
        references=[row.references for row in rows],
        raws=texts,
        choices=[row.choices for row in rows],
        slices=[row.slices for row in rows],
        images=[" ".join(row.images) for row in rows],
        groups=[row.group or row.sample_id for row in rows],
        repeats=[row.repeat for row in rows],
        confidences=[None] * len(rows),
        facts=[json.loads(row.facts) if row.facts else {} for row in rows],
    )


def _full(columns: Sequence[MetricColumn]) -> NDArray[np.bool_]:
    """(rows,) whether every metric that applies gives the best score."""
    enough = [~(column.per_row < column.best_row - _EQUAL) for column in columns]
    whole: NDArray[np.bool_] = np.logical_and.reduce(enough)
    return whole


def _references(row: TaskRow) -> list[str]:
    """Different references, the most frequent first."""
    return [text for text, _ in Counter(filter(str.strip, row.references)).most_common(_MOST)]


def _first_read(spec: TaskSpec, row: TaskRow, texts: Sequence[str]) -> str | None:
    return next((read for text in texts if (read := _read(spec, row, text)) is not None), None)


def _read(spec: TaskSpec, row: TaskRow, text: str) -> str | None:
    return read_answer(text, "stop", spec.extraction, row.choices, spec.generation.stop).answer
