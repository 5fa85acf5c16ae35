"""Labels that others have corrected, such as RePOPE's, as corrections of an evaluation's rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from curate.readers import open_source
from curate.settings.sources import SourceSettings
from evalsuite.analysis.results import load_evaluation
from evalsuite.metrics.base import Row
from evalsuite.store import SLICE
from winnow.corrections import Correction
from winnow.errors import UserError
from winnow.files import digest_of, write_text
from winnow.rows.records import BadRow

_CATEGORY = "category"
_Question = tuple[str, str, str]  # category, file name of the image, question


@dataclass(frozen=True)
class Relabelled:
    """What became of the rows of an evaluation.

    Attributes:
        path: the file of corrections.
        same: rows whose label stands.
        changed: rows with another label.
        excluded: rows that the corrected labels leave out.
    """

    path: Path
    same: int
    changed: int
    excluded: int


def relabel(folder: Path, labels: Sequence[Path], out: Path, reviewer: str) -> Relabelled:
    """Write ``out/REVIEWER.jsonl``: the corrections that make an evaluation's rows agree with corrected labels.

    Rows are matched by the file name of their image and the question, and by ``category`` where both have one. A row
    with another label is relabelled; one that the labels do not have, though they have its category, is excluded.

    Args:
        labels: files or folders that ``curate`` reads, such as RePOPE's three files.

    Raises:
        UserError: no finished evaluation, labels that cannot be read or have no answer, or more than half of the rows
            are not among them: they are about another benchmark then.
    """
    known = _read(labels)
    categories = {category for category, _, _ in known}
    lines: list[str] = []
    counts = {"same": 0, "changed": 0, "excluded": 0}
    for row in _rows(folder):
        asked = _question(row)
        if asked[0] not in categories:
            continue
        wanted, given = known.get(asked), tuple(row["references"])
        if wanted == given:
            counts["same"] += 1
            continue
        counts["excluded" if wanted is None else "changed"] += 1
        lines.append(_correction(row, wanted, reviewer).model_dump_json())
    if 2 * counts["excluded"] >= sum(counts.values()):
        raise UserError(
            f"{folder}: {counts['excluded']:,} of {sum(counts.values()):,} rows are not among the labels of "
            f"{labels[0]}; they must be about the same images and questions"
        )
    path = out / f"{reviewer.lower()}.jsonl"
    write_text(path, "".join(line + "\n" for line in lines))
    return Relabelled(path, **counts)


def _read(labels: Sequence[Path]) -> dict[_Question, tuple[str, ...]]:
    """Question → its corrected answers."""
    known: dict[_Question, tuple[str, ...]] = {}
    for path in labels:
        for sample in open_source(SourceSettings(location=str(path))).rows():
            if isinstance(sample, BadRow):
                raise UserError(f"{path}: {sample.where}: {sample.reason}")
            answers = sample.answers or ((sample.answer,) if sample.answer else ())
            if not answers:
                raise UserError(f"{path}: {sample.id}: has no label")
            category = str(sample.meta.get(_CATEGORY) or "")
            asked = (category, *_about(sample.image, sample.question))
            if known.setdefault(asked, tuple(answers)) != tuple(answers):
                raise UserError(f"{path}: {sample.id}: has another label than the same question before")
    if not known:
        raise UserError(f"{labels[0]}: holds no label")
    return known


def _rows(folder: Path) -> Iterator[Row]:
    """The rows of an evaluation, each question once."""
    _, by_task = load_evaluation(folder)
    for rows in by_task.values():
        names = ["sample_id", "images", "question", "references", "content_hash", "repeat"]
        slices = [SLICE + _CATEGORY] if SLICE + _CATEGORY in rows.schema.names else []
        yield from (row for row in rows.dicts([*names, *slices]) if not row["repeat"])


def _question(row: Mapping[str, Any]) -> _Question:
    return row.get(SLICE + _CATEGORY) or "", *_about(row["images"], row["question"])


def _about(images: Sequence[str], question: str) -> tuple[str, str]:
    return PurePosixPath(images[0]).name if images else "", " ".join(question.split())


def _correction(row: Row, answers: tuple[str, ...] | None, reviewer: str) -> Correction:
    action, new = ("exclude_from_eval", None) if answers is None else ("relabel", list(answers))
    return Correction.model_validate(
        {
            "correction_id": digest_of([reviewer, row["sample_id"], row["content_hash"], new])[:32],
            "sample_id": row["sample_id"],
            "content_hash": row["content_hash"],
            "field": "decision" if answers is None else "answers",
            "old": list(row["references"]),
            "new": new,
            "action": action,
            "reviewer": reviewer,
            "at": datetime.now(UTC).replace(microsecond=0),
        }
    )
