"""Kinds of rows on which a run makes more errors than elsewhere: by one property, or by two together.

Properties are named values of a row: from its slice columns, question, answer and image.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalsuite import statistics
from evalsuite.analysis.overlap import stored_signals
from evalsuite.analysis.results import TaskResult, load_evaluation, load_manifest, score_rows
from evalsuite.analysis.rows import Mask, Rows
from evalsuite.statistics import Floats, Property, RankedSlice
from evalsuite.store import SLICE
from winnow.errors import UserError

# Signals of a curated set that say something about the image's quality or shape.
SIGNALS = {
    "sharpness": "sharpness", "luminance_p50": "brightness", "contrast": "contrast", "entropy": "entropy",
    "aspect_ratio": "aspect ratio", "flat": "flat area", "pixels": "pixels",
}  # fmt: skip
_MOST_VALUES = 40  # a column with more is an id, not a property
_OPENING = 200  # characters in which a question's first two words are looked for
_NUMBER = re.compile(r"[-+]?[\d.,]+\s*%?")
_QUARTERS = ("lowest quarter", "second quarter", "third quarter", "highest quarter")


def properties(rows: Rows, curated: Path | None) -> dict[str, Property]:
    """Property → its value for every row, '' where it has none; only properties with 2 to 40 values.

    Args:
        curated: folder of a curated set whose signals describe the images, if there is one.
    """
    slices = sorted(name for name in rows.schema.names if name.startswith(SLICE))
    names = [name.removeprefix(SLICE).replace("_", " ") for name in slices]
    columns = {name: _Values() for name in (*names, *_OF_TEXT, "images")}
    lengths: list[NDArray[np.float64]] = []
    for table in rows.batches(["references", "question", "image_keys", *slices]):
        references, questions, images, *listed = (column.to_pylist() for column in table.columns)
        for name, values in zip(names, listed, strict=True):
            if name != "images":
                columns[name].add(value or "" for value in values)
        for name, values in zip(_OF_TEXT, zip(*map(_of_text, references, questions), strict=True), strict=True):
            columns[name].add(values)
        columns["images"].add(str(len(keys or ())) for keys in images)
        lengths.append(np.array([len(question.split()) for question in questions], dtype=np.float64))
    found: dict[str, Property | None] = {name: values.property() for name, values in columns.items()}
    found[_LENGTH] = quarters(np.concatenate(lengths)) if lengths else None
    ordered = {name: found[name] for name in (*names, *_OF_TEXT[:-1], _LENGTH, _OF_TEXT[-1], "images")}
    if curated is not None:
        ordered.update(_of_images(rows, curated))
    return {name: known for name, known in ordered.items() if known is not None and len(set(known.values) - {""}) >= 2}


_OF_TEXT = (
    "answer", "kind of answer", "words in answer", "question starts with", "question opens with",
    "agreement of references",
)  # fmt: skip
_LENGTH = "words in question"


def _of_text(references: Sequence[str] | None, question: str) -> tuple[str, ...]:
    """The values of ``_OF_TEXT``."""
    counted = Counter(references or ("",))
    answer = max(counted, key=counted.__getitem__)  # the first of equals
    return *_of_answer(answer), *_of_question(question), _agreement(counted[answer], len(references or ()))


@lru_cache(maxsize=1 << 14)
def _of_answer(answer: str) -> tuple[str, str, str]:
    return answer.strip().lower(), _kind(answer), _some(len(answer.split()), 4)


@lru_cache(maxsize=1 << 14)
def _of_question(question: str) -> tuple[str, str]:
    opening = question[:_OPENING].lower().split()[:2]
    return opening[0] if opening else "", " ".join(opening)


class _Values:
    """Collects a property; one with more than 40 values is dropped, and nothing more is kept of it."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._codes: list[NDArray[np.int64]] = []

    def add(self, values: Iterable[str]) -> None:
        if len(self._numbers) <= _MOST_VALUES + 1:
            numbers = self._numbers
            self._codes.append(np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64))

    def property(self) -> Property | None:
        names = sorted(self._numbers)
        if not names or len(self._numbers.keys() - {""}) > _MOST_VALUES:
            return None
        places = np.empty(len(names), dtype=np.int64)
        places[[self._numbers[name] for name in names]] = np.arange(len(names))
        return Property(tuple(names), places[np.concatenate(self._codes)])


def _of_images(rows: Rows, curated: Path) -> dict[str, Property]:
    """The signals of each row's first image, in quarters of the rows."""
    numbers: dict[str, int] = {"": 0}
    firsts = rows.lazy(["image_keys"], lambda listed: [keys[0] if keys else "" for keys in listed])
    codes = np.fromiter((numbers.setdefault(key, len(numbers)) for key in firsts), np.int64, len(rows))
    stored = stored_signals(curated, numbers, [*(name for name in SIGNALS if name != "pixels"), "width", "height"])
    of_image = np.full((len(numbers), len(SIGNALS)), np.nan)
    for key, signals in stored.items():
        pixels = (signals["width"] or 0) * (signals["height"] or 0) or None
        found = {**signals, "pixels": pixels}
        of_image[numbers[key]] = [np.nan if found[name] is None else found[name] for name in SIGNALS]
    return {label: quarters(of_image[codes, place]) for place, label in enumerate(SIGNALS.values())}


def quarters(values: Floats) -> Property:
    """Each value's quarter by rank, named with its bounds; the values themselves where there are at most four."""
    known = values[np.isfinite(values)]
    distinct = np.unique(known)
    if len(distinct) <= len(_QUARTERS):
        names, places = [f"{value:g}" for value in distinct], np.searchsorted(distinct, values)
    else:
        edges = np.quantile(known, [0.25, 0.5, 0.75])
        bounds = [f"≤ {edges[0]:.4g}", f"≤ {edges[1]:.4g}", f"≤ {edges[2]:.4g}", f"> {edges[2]:.4g}"]
        names = [f"{name} ({bound})" for name, bound in zip(_QUARTERS, bounds, strict=True)]
        places = np.searchsorted(edges, values, side="left")
    places = np.where(np.isfinite(values), places, len(names))
    named = [*names, ""]
    used = sorted(set(np.array(named, dtype=object)[np.unique(places)]))
    order = np.array([used.index(name) if name in used else 0 for name in named])
    return Property(tuple(used), order[places])


def _kind(answer: str) -> str:
    text = answer.strip().lower().rstrip(".")
    if text in ("yes", "no"):
        return "yes or no"
    return "number" if _NUMBER.fullmatch(text) else "other"


def _some(count: int, most: int) -> str:
    return str(count) if count < most else f"{most} or more"


def _agreement(most: int, count: int) -> str:
    if count < 2:
        return ""
    return "all agree" if most == count else "most agree" if most / count > 0.5 else "half or fewer agree"


MIN_IMAGES = 10
MIN_ROWS = 30
NOTED_Q = 0.05


def find_slices(folder: Path, *, only: str | None, curated: Path | None, min_rows: int) -> dict[str, Any]:
    """Slices of a finished run, those with most excess errors first.

    An error is 1 − the row's score on the headline metric; rows that a request failed for are left
    out. Slices of two properties are kept where both halves gain: the pair must have more errors
    than each property alone would give, with an interval above zero. q is Benjamini-Hochberg's over all
    slices that were tried.

    Args:
        only: one task; None takes all.
        curated: curated folder with signals of the images; None takes the recipe's training set.
        min_rows: smaller slices are left out, as are those with fewer than 10 images.

    Raises:
        UserError: no finished evaluation, no such task, or no such curated folder.
    """
    specs, rows = load_evaluation(folder)
    if only is not None and only not in specs:
        raise UserError(f"{folder}: holds no task {only!r}; it has {', '.join(specs)}")
    trained = load_manifest(folder)["recipe"].get("training_set")
    signals = curated or (Path(trained) if trained else None)
    if signals is not None and not (signals / "signals").is_dir():
        raise UserError(f"{signals}: holds no signals; give the folder that `curate run` wrote")
    found = {}
    for name, spec in specs.items():
        if len(rows[name]) and only in (None, name):
            found[name] = rank_slices(score_rows(spec, rows[name]), signals, min_rows)
    return {"run": str(folder), "tasks": found}


def rank_slices(result: TaskResult, curated: Path | None, min_rows: int) -> dict[str, Any]:
    """The slices of one task, ranked."""
    asked = ~result.failed & np.isfinite(result.headline.per_row)
    known = properties(result.rows.where(asked), curated)
    ranking = statistics.rank_slices(
        errors_of(result)[asked], result.clusters[asked], known, min_rows=min_rows, min_clusters=MIN_IMAGES
    )
    return {
        "headline": result.headline.name, "title": result.headline.title,
        "n": ranking.rows, "error": ranking.rate, "tried": ranking.tried,
        "min_rows": min_rows, "min_images": MIN_IMAGES, "columns": list(known),
        "slices": [_entry(ranked, known, result.answered[asked]) for ranked in ranking.slices],
    }  # fmt: skip


def errors_of(result: TaskResult) -> Floats:
    """(rows,) 1 − score on the headline metric, from 0 to 1."""
    return 1.0 - np.clip(result.headline.per_row / result.headline.best_row, 0.0, 1.0)


def _entry(ranked: RankedSlice, known: Mapping[str, Property], answered: Mask) -> dict[str, Any]:
    found = ranked.excess
    mask = np.logical_and.reduce([known[name].codes == known[name].values.index(value) for name, value in ranked.where])
    return {
        "name": " and ".join(f"{name} = {value}" for name, value in ranked.where), "where": dict(ranked.where),
        "n": found.n, "images": found.clusters, "coverage": float(answered[mask].mean()), "rate": found.rate,
        "excess": found.excess, "low": found.low, "high": found.high, "p": found.p, "q": ranked.q,
    }  # fmt: skip
