"""Scores with the reviewers' decisions about evaluation rows applied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from evalsuite.analysis.results import TaskResult, score_rows
from evalsuite.analysis.rows import Rows
from evalsuite.metrics.base import Row
from evalsuite.reading.choice import LETTERS
from evalsuite.statistics import bounds, exact_when_unanimous, intervals
from evalsuite.store import base_id
from evalsuite.tasks.options import rotated_letter
from winnow.corrections import MEANING, Action, Correction, Resolved, line_statuses, outcomes
from winnow.files import digest_of, sha256_file

_NOTED: tuple[Action, ...] = ("drop", "tag", "note")  # change nothing in an evaluation
_STATUSES: dict[str, str] = {
    "keep": "confirmed", "relabel": "relabelled", "ambiguous": "ambiguous", "exclude_from_eval": "excluded",
    "edit_question": "question edited",
}  # fmt: skip
_LEFT_OUT = ("excluded", "ambiguous", "question edited")  # the last: the model was asked another question
_ORDER = ("stale", "conflict", "settled", "noted", "applied")  # of a line about several rows the last word counts


@dataclass(frozen=True)
class RowCorrection:
    """What happens to one row.

    Attributes:
        status: ``excluded``, ``ambiguous`` or ``question edited``, which leave it out; ``relabelled``; ``confirmed``
            (right as it stands); ``stale`` (the row has changed since it was reviewed); ``conflict``; or ``none``.
        references: the new ones of a relabelled row.
        lines: correction_id → what became of each line about the row, see ``winnow.corrections.Applied``.
    """

    status: str
    references: tuple[str, ...] | None = None
    lines: Mapping[str, str] = field(default_factory=dict)


def corrections_digest(folder: Path) -> str:
    """Digest of the files that ``read_corrections`` reads, and of what their lines mean."""
    return digest_of([MEANING, {path.name: sha256_file(path) for path in sorted(folder.glob("*.jsonl"))}])


def correction_of(row: Row, resolved: Resolved) -> RowCorrection:
    """What reviewers decided about a row."""
    now = row.get("content_hash")
    lines = line_statuses(now, resolved, _NOTED)
    relevant = [line for line in resolved.agreed if line.action in _STATUSES]
    fresh = [line for line in relevant if line.content_hash == now]
    found = {_STATUSES[line.action]: line for line in fresh}
    for status in (*_LEFT_OUT, "relabelled", "confirmed"):
        if status in found:
            new = found[status].new
            texts = tuple(new) if isinstance(new, list) else (new or "",)
            return RowCorrection(status, texts if status == "relabelled" else None, lines)
    if any(line.content_hash == now for line in resolved.conflicts):
        return RowCorrection("conflict", None, lines)
    return RowCorrection("stale" if relevant else "none", None, lines)


def decided_rows(result: TaskResult, resolved: Mapping[str, Resolved]) -> dict[int, RowCorrection]:
    """Place → what reviewers decided, for the rows of a task that any line is about.

    A decision about a row holds for every time it was asked.
    """
    if not resolved:
        return {}
    found: dict[int, RowCorrection] = {}
    circular = result.spec.repeat == "circular"
    for place, row in enumerate(result.rows.dicts(["sample_id", "repeat", "content_hash", "choices"])):
        decided = resolved.get(base_id(row["sample_id"], row["repeat"]))
        if decided is not None:
            change = correction_of(row, decided)
            if circular and row["repeat"] and change.references:  # the letter stands for another option here
                turned = _rotated(change.references, len(row["choices"]), row["repeat"])
                change = replace(change, references=turned)
            found[place] = change
    return found


def what_became(
    lines: Sequence[Correction], resolved: Mapping[str, Resolved], rows: Iterable[RowCorrection]
) -> dict[str, Any]:
    """The content of an evaluation's ``corrections.json``: the status of each line, see ``outcomes``."""
    status: dict[str, str] = {}
    for row in rows:
        for line, became in row.lines.items():
            status[line] = max(became, status.get(line, became), key=_ORDER.index)
    return outcomes(lines, resolved, status)


def reviewed_references(rows: Rows, resolved: Mapping[str, Resolved]) -> dict[int, list[str]]:
    """References of the rows that reviewers kept, or relabelled, by place; stale decisions are left out."""
    found: dict[int, list[str]] = {}
    for place, row in enumerate(rows.dicts(["sample_id", "repeat", "content_hash", "references"])):
        decided = resolved.get(base_id(row["sample_id"], row["repeat"]), Resolved())
        change = correction_of(row, decided)
        if change.references or change.status == "confirmed":
            found[place] = list(change.references or row["references"])
    return found


def corrected_scores(result: TaskResult, decided: Mapping[int, RowCorrection], seed: int) -> dict[str, Any] | None:
    """The scores of the task on corrected rows; None if no reviewer decided anything about its rows.

    ``counts`` has the rows of each status. ``answers`` says how many of the rows that were decided on were ``right``
    and ``wrong`` answers by the first metric, None where that tells no row right from wrong: corrections of wrong
    answers alone can only improve a score.
    Corpus metrics take their document frequencies from the corrected rows.

    Args:
        decided: of ``decided_rows``.
    """
    counted = Counter(change.status for change in decided.values() if change.status != "none")
    if not counted:
        return None
    rows = _apply(result.rows, decided)
    entry: dict[str, Any] = {
        "n": len(rows), "coverage": None, "counts": dict(sorted(counted.items())),
        "answers": _right_and_wrong(result, decided), "metrics": {},
    }  # fmt: skip
    if not len(rows):
        return entry
    rescored = score_rows(result.spec, rows, result.image_root)
    entry["coverage"] = float(rescored.answered.mean())
    found = intervals(
        [(column.sums, column.estimate, None) for column in rescored.columns], rescored.clusters, seed=seed
    )
    for column, interval in zip(rescored.columns, found, strict=True):
        entry["metrics"][column.name] = bounds(exact_when_unanimous(interval) if column.binary else interval)
    return entry


def _right_and_wrong(result: TaskResult, decided: Mapping[int, RowCorrection]) -> dict[str, int] | None:
    right = result.headline.right
    if not np.isfinite(right).any():
        return None
    places = [place for place, change in decided.items() if change.status in _STATUSES.values()]
    count = int((right[places] > 0).sum())  # NaN, a row without an answer, is wrong
    return {"right": count, "wrong": len(places) - count}


def _rotated(references: Sequence[str], count: int, by: int) -> tuple[str, ...]:
    """Letters of options after their rotation; other texts stay."""
    known = LETTERS[:count]
    return tuple(
        rotated_letter(text.strip().upper(), count, by) if text.strip().upper() in [*known] else text
        for text in references
    )


def _apply(rows: Rows, decided: Mapping[int, RowCorrection]) -> Rows:
    """The rows that are left, with the references that reviewers gave them."""
    stays = np.ones(len(rows), dtype=bool)
    stays[[place for place, change in decided.items() if change.status in _LEFT_OUT]] = False
    places = np.cumsum(stays) - 1
    new = {int(places[place]): list(change.references) for place, change in decided.items() if change.references}
    left = rows.where(stays).with_changed("references", new)
    if "verdict" in left.added:  # the judge was asked with the former references
        verdicts = [None if place in new else text for place, text in enumerate(left.column("verdict"))]
        left = left.with_columns({"verdict": pa.array(verdicts, pa.string())})
    return left
