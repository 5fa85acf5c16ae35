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

from evalsuite.metrics.base import Answers, MetricColumn
from evalsuite.metrics.own import is_own
from evalsuite.reading.read import read_answer
from evalsuite.tasks.rows import TaskRow
from evalsuite.tasks.spec import MetricSettings, TaskSpec, score
from winnow.text import one_line

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
    full = _full(columns, len(rows))
    short = [place for place, reply in enumerate(replies) if reply is None or not full[place]]
    better = _better_replies(spec, judging, [(rows[place], given[place]) for place in short])
    for place, winner in zip(short, better, strict=True):
        row, texts = rows[place], given[place]
        first = one_line(texts[0]) if texts else ""
        if winner is not None:
            if winner not in texts:
                yield Misfit(row.sample_id, "mapped", f"“{first}” counts as {winner}")
        elif replies[place] is None:
            yield Misfit(row.sample_id, "unread", first)
        else:
            column = next(column for column in columns if column.per_row[place] < column.best_row - _EQUAL)
            value = float(column.per_row[place])
            kind = "part" if value >= (column.right_from or 0.0) else "wrong"
            yield Misfit(
                row.sample_id, kind, f"“{first}” scores {value:.2g} on {column.title}", value / column.best_row
            )


def _better_replies(spec: TaskSpec, judging: TaskSpec, rows: Sequence[tuple[TaskRow, list[str]]]) -> list[str | None]:
    """For each row the first of its references, then of the letters or yes and no, that scores in full as a reply."""
    tried: list[tuple[int, str, TaskRow, str]] = []
    for place, (row, texts) in enumerate(rows):
        forms = [chr(ord("A") + number) for number in range(len(row.choices))]
        if spec.extraction.kind == "yes_no":
            forms = ["yes", "no"]
        for number, text in enumerate([*texts, *forms]):
            if (read := _read(spec, row, text)) is not None:
                copy = replace(row, sample_id=f"{row.sample_id}#{number}")
                tried.append((place, text, copy, read))
    found: list[str | None] = [None] * len(rows)
    if tried:
        columns = _scored(judging, [copy for *_, copy, _ in tried], [read for *_, read in tried])
        enough = _full(columns, len(tried))
        for (place, text, *_), full in zip(tried, enough.tolist(), strict=True):
            if full and found[place] is None:
                found[place] = text
    return found


def _judging(spec: TaskSpec) -> TaskSpec:
    """The task with those metrics alone that tell a right row from a wrong one by its text: the others have no full
    score."""
    kept = {
        key: settings.model_copy(update=_in_the_form_of_references(settings))
        for key, settings in spec.metrics.items()
        if any(number.right_from is not None for number in settings.definition.numbers.values())
        and "confidences" not in settings.definition.needs
        and not is_own(settings.metric or "")  # how it judges references is its own business
    }
    return spec.model_copy(update={"metrics": kept})


def _in_the_form_of_references(settings: MetricSettings) -> dict[str, str]:
    """What makes a metric of boxes take a reference as a reply, whose form or scale may be another."""
    return {"predicted_box": settings.reference_box, "predicted_scale": settings.reference_scale}


def _scored(judging: TaskSpec, rows: Sequence[TaskRow], texts: Sequence[str | None]) -> list[MetricColumn]:
    answers = answers_of(rows, texts)
    metrics = {  # a piece of the rows may be without what others have
        key: settings for key, settings in judging.metrics.items() if settings.definition.lacking(answers) is None
    }
    return [column for column in score(answers, metrics) if column.right_from is not None]


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


def _full(columns: Sequence[MetricColumn], rows: int) -> NDArray[np.bool_]:
    """(rows,) whether every metric that applies gives the best score."""
    whole = np.ones(rows, dtype=bool)
    for column in columns:
        whole &= ~(column.per_row < column.best_row - _EQUAL)
    return whole


def _references(row: TaskRow) -> list[str]:
    """Different references, the most frequent first."""
    return [text for text, _ in Counter(filter(str.strip, row.references)).most_common(_MOST)]


def _first_read(spec: TaskSpec, row: TaskRow, texts: Sequence[str]) -> str | None:
    return next((read for text in texts if (read := _read(spec, row, text)) is not None), None)


def _read(spec: TaskSpec, row: TaskRow, text: str) -> str | None:
    return read_answer(text, "stop", spec.extraction, row.choices, spec.generation.stop).answer
