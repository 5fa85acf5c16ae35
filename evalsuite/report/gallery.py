"""The rows that a report shows with their images, and those images as data URIs."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from evalsuite.analysis.results import TaskResult
from evalsuite.backends.images import MAX_BYTES, load_image
from evalsuite.report.numbers import number
from winnow.images import locate

_SIDE = 240
_REFERENCES = 3


@dataclass(frozen=True)
class Card:
    """One row as the report shows it.

    Attributes:
        image: data URI of the first image, or None with ``why_not``.
        shown_score: on the headline metric, '' for a metric that only tells right from wrong.
        before: the baseline's answer, where two runs are compared.
    """

    sample_id: str
    image: str | None
    why_not: str
    question: str
    references: list[str]
    raw: str
    extracted: str | None
    status: str
    shown_score: str
    more_references: int
    more_images: int
    before: str | None = None


def worst_rows(result: TaskResult, count: int) -> list[int]:
    """Indices of the lowest scores on the headline metric, at most one an image.

    Among equal scores the choice looks random but never changes: it goes by a digest of the id.
    """
    scores = result.headline.per_row
    applies = np.flatnonzero(np.isfinite(scores)).tolist()
    order = sorted(applies, key=lambda i: (scores[i], _mixed(result.rows[i]["sample_id"])))
    best_possible = result.headline.best_row
    chosen: list[int] = []
    images: set[int] = set()
    for index in order:
        if scores[index] >= best_possible or len(chosen) == count:
            break
        if int(result.clusters[index]) not in images:
            images.add(int(result.clusters[index]))
            chosen.append(index)
    return chosen


def cards(result: TaskResult, indices: Iterable[int], root: Path, before: dict[str, str] | None = None) -> list[Card]:
    """Cards of the given rows."""
    headline = result.headline
    shown = {i: "" if headline.binary else number(headline.unit, float(headline.per_row[i])) for i in indices}
    return [_card(result.rows[i], score, root, before) for i, score in shown.items()]


def _card(row: dict[str, Any], shown_score: str, root: Path, before: dict[str, str] | None) -> Card:
    image, why_not = data_uri(row["images"][0], root) if row["images"] else (None, "no image")
    references = distinct(row["references"])
    return Card(
        sample_id=row["sample_id"],
        image=image,
        why_not=why_not,
        question=row["question"],
        references=references[:_REFERENCES],
        raw=row["raw"] or "",
        extracted=row["extracted"],
        status=row["status"],
        shown_score=shown_score,
        more_references=max(0, len(references) - _REFERENCES),
        more_images=max(0, len(row["images"]) - 1),
        before=(before or {}).get(row["sample_id"]),
    )


def distinct(texts: Sequence[str]) -> list[str]:
    """Texts without repetition, in order of first occurrence."""
    return list(dict.fromkeys(texts))


def data_uri(path: str, root: Path) -> tuple[str | None, str]:
    """An image of at most 240 pixels a side as a PNG data URI, or None and why."""
    found = locate(path, str(root.resolve()), max_bytes=MAX_BYTES)
    if found.file is None:
        return None, found.error or "missing"
    image, error = load_image(found.file)
    if image is None:
        return None, (error or "unreadable").rpartition(": ")[2]
    image.thumbnail((_SIDE, _SIDE))
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode(), ""


def _mixed(sample_id: str) -> str:
    return hashlib.sha256(sample_id.encode("utf-8", "surrogatepass")).hexdigest()
