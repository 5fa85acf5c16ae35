"""Scores with the reviewers' decisions about evaluation rows applied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from winnow.corrections import Resolved, read_corrections, resolve
from winnow.files import digest_of, sha256_file


@dataclass(frozen=True)
class RowCorrection:
    """What happens to one row: ``status`` and, where it was relabelled, the new references."""

    status: str
    references: tuple[str, ...] | None = None


def resolved_corrections(folder: Path | None) -> dict[str, Resolved]:
    """Agreed and conflicting corrections by sample id; empty without a folder.

    Raises:
        UserError: a line is no correction.
    """
    return resolve(read_corrections(folder)) if folder is not None else {}


def corrections_digest(folder: Path) -> str:
    """Digest of the files that ``read_corrections`` reads."""
    return digest_of({path.name: sha256_file(path) for path in sorted(folder.glob("*.jsonl"))})


def correction_of(row: Row, resolved: Resolved) -> RowCorrection:
    """What reviewers decided about a row.

    Its status is ``excluded``, ``relabelled``, ``question edited`` (left out, because the model was asked another
    question), ``stale`` (the row has changed since it was reviewed), ``conflict`` or ``none``.
    """
    relevant = [line for line in resolved.agreed if line.action in ("exclude_from_eval", "relabel", "edit_question")]
    fresh = [line for line in relevant if line.content_hash == row.get("content_hash")]
    actions = {line.action: line for line in fresh}
    if "exclude_from_eval" in actions:
        return RowCorrection("excluded")
    if "edit_question" in actions:
        return RowCorrection("question edited")
    if "relabel" in actions:
        new = actions["relabel"].new
        return RowCorrection("relabelled", tuple(new) if isinstance(new, list) else (new or "",))
    if relevant:
        return RowCorrection("stale")
    return RowCorrection("conflict" if resolved.conflicts else "none")


def reviewed_references(rows: Rows, resolved: Mapping[str, Resolved]) -> dict[int, list[str]]:
    """References of the rows that reviewers kept, or relabelled, by place; stale decisions are left out."""
    found: dict[int, list[str]] = {}
    for place, row in enumerate(rows.dicts(["sample_id", "repeat", "content_hash", "references"])):
        decided = resolved.get(base_id(row["sample_id"], row["repeat"]), Resolved())
        if correction := correction_of(row, decided).references:
            found[place] = list(correction)
        elif any(line.action == "keep" and line.content_hash == row["content_hash"] for line in decided.agreed):
            found[place] = list(row["references"])
    return found


def corrected_scores(result: TaskResult, resolved: Mapping[str, Resolved], seed: int) -> dict[str, Any] | None:
    """The scores of the task on corrected rows; None if no reviewer decided anything about its rows.

    A decision about a row holds for every time it was asked.
    Corpus metrics take their document frequencies from the corrected rows.
    """
    if not resolved:
        return None
    touched: dict[int, RowCorrection] = {}
    circular = result.spec.repeat == "circular"
    for place, row in enumerate(result.rows.dicts(["sample_id", "repeat", "content_hash", "choices"])):
        decided = resolved.get(base_id(row["sample_id"], row["repeat"]))
        if decided is not None:
            change = correction_of(row, decided)
            if circular and row["repeat"] and change.references:  # the letter stands for another option here
                change = RowCorrection(change.status, _rotated(change.references, len(row["choices"]), row["repeat"]))
            touched[place] = change
    counted = Counter(change.status for change in touched.values() if change.status != "none")
    if not counted:
        return None
    rows = _apply(result.rows, touched)
    entry: dict[str, Any] = {"n": len(rows), "coverage": None, "counts": dict(sorted(counted.items())), "metrics": {}}
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


def _rotated(references: Sequence[str], count: int, by: int) -> tuple[str, ...]:
    """Letters of options after their rotation; other texts stay."""
    known = LETTERS[:count]
    return tuple(
        rotated_letter(text.strip().upper(), count, by) if text.strip().upper() in [*known] else text
        for text in references
    )


def _apply(rows: Rows, touched: Mapping[int, RowCorrection]) -> Rows:
    """The rows that are left, with the references that reviewers gave them."""
    stays = np.ones(len(rows), dtype=bool)
    stays[[place for place, change in touched.items() if change.status in ("excluded", "question edited")]] = False
    places = np.cumsum(stays) - 1
    new = {int(places[place]): list(change.references) for place, change in touched.items() if change.references}
    left = rows.where(stays).with_changed("references", new)
    if "verdict" in left.added:  # the judge was asked with the former references
        verdicts = [None if place in new else text for place, text in enumerate(left.column("verdict"))]
        left = left.with_columns({"verdict": pa.array(verdicts, pa.string())})
    return left
