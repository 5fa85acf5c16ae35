"""Metrics of a whole task that are no mean of rows: POPE, MME, VizWiz' unanswerable."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from evalsuite.metrics.mme import COGNITION, PERCEPTION, QUESTIONS_PER_IMAGE
from evalsuite.metrics.vizwiz import is_unanswerable, says_unanswerable
from evalsuite.metrics.yes_no import parse_yes_no
from evalsuite.scoring.columns import Answered, Column
from evalsuite.scoring.settings import MetricSettings
from evalsuite.statistics import Estimate, Floats, mean_of_sums, mean_sums
from winnow.errors import UserError

CATEGORY = "category"


def _said(answered: Answered, settings: MetricSettings) -> list[str | None]:
    """``yes``, ``no`` or None of every row."""
    if settings.variant is None:
        return [text.lower() if text else None for text in answered.texts]
    return [None if raw is None else parse_yes_no(raw, variant=settings.variant) for raw in answered.raws]  # type: ignore[arg-type]


def _truth(answered: Answered, metric: str) -> list[str]:
    truth = [references[0].strip().lower() for references in answered.references]
    for key, one in zip(answered.ids, truth, strict=True):
        if one not in ("yes", "no"):
            raise UserError(f"{key}: {metric} needs the answer yes or no, not {one!r}")
    return truth


def _reading(settings: MetricSettings) -> str:
    return f"read by the rule {settings.variant}" if settings.variant else "read by the task's extraction"


def _confusion(name: str, called: Floats, true: Floats, variant: str) -> list[Column]:
    """Precision, recall and F1 of the positive class from (rows,) masks; NaN where a row has no say."""
    sums = np.stack([called * true, called, true], axis=1)
    precision = Column(
        f"{name}_precision", np.where(called > 0, true, np.nan), sums, _ratio(0, 1), f"precision, {variant}"
    )
    recall = Column(f"{name}_recall", np.where(true > 0, called, np.nan), sums, _ratio(0, 2), f"recall, {variant}")
    f1 = Column(f"{name}_f1", (called == true).astype(np.float64), sums, _f1, f"F1, {variant}")
    return [precision, recall, f1]


def _ratio(numerator: int, denominator: int) -> Estimate:
    def estimate(sums: Floats) -> Floats:
        return _divide(sums[:, numerator], sums[:, denominator])

    return estimate


def _divide(a: Floats, b: Floats) -> Floats:
    """a / b, 0 where b is 0."""
    result: Floats = np.divide(a, b, out=np.zeros_like(a, dtype=np.float64), where=b > 0)
    return result


def _f1(sums: Floats) -> Floats:
    return _divide(2 * sums[:, 0], sums[:, 1] + sums[:, 2])


def _pope(name: str, answered: Answered, settings: MetricSettings) -> list[Column]:
    said, truth = _said(answered, settings), _truth(answered, "pope")
    right = np.array([float(one == other) for one, other in zip(said, truth, strict=True)])
    called = np.array([float(one == "yes") for one in said])
    true = np.array([float(one == "yes") for one in truth])
    variant = f"yes is positive, {_reading(settings)}, rows that say neither are wrong"
    confusion = _confusion(name, called, true, variant)
    columns = [
        Column(f"{name}_accuracy", right, mean_sums(right), mean_of_sums, f"accuracy, {variant}", binary=True),
        *confusion,
        Column(f"{name}_yes_ratio", called, mean_sums(called), mean_of_sums, "share of questions answered yes"),
    ]
    categories = [slices.get(CATEGORY, "") for slices in answered.slices]
    known = sorted(set(categories))
    if len(known) > 1:
        columns.append(_mean_f1(f"{name}_f1_mean", confusion[2], categories, known))
    return columns


def _mean_f1(name: str, f1: Column, categories: Sequence[str], known: Sequence[str]) -> Column:
    """F1 of every subset, then their mean, as POPE is usually quoted."""
    place = np.array([known.index(one) for one in categories])
    sums = np.zeros((len(place), len(known) * 3))
    for part in range(3):
        sums[np.arange(len(place)), place * 3 + part] = f1.sums[:, part]

    def estimate(totals: Floats) -> Floats:
        parts = totals.reshape(len(totals), len(known), 3)
        present = parts.any(axis=2)
        each = _divide(2 * parts[:, :, 0], parts[:, :, 1] + parts[:, :, 2])
        return _divide((each * present).sum(axis=1), present.sum(axis=1).astype(np.float64))

    return Column(name, f1.per_row, sums, estimate, f"mean of the F1 of {', '.join(known)}")


def _mme(name: str, answered: Answered, settings: MetricSettings) -> list[Column]:
    said, truth = _said(answered, settings), _truth(answered, "mme")
    right = np.array([float(one == other) for one, other in zip(said, truth, strict=True)])
    subtasks = (*PERCEPTION, *COGNITION)
    place = np.array([_subtask(answered, row, subtasks) for row in range(len(right))])
    sums = np.zeros((len(right), len(subtasks), 4))
    rows = np.arange(len(right))
    sums[rows, place, 0], sums[rows, place, 1] = right, 1.0
    pairs: dict[tuple[int, str], list[int]] = defaultdict(list)
    for row, image in enumerate(answered.images):
        pairs[int(place[row]), image].append(row)
    complete = [members for members in pairs.values() if len(members) == QUESTIONS_PER_IMAGE]
    for members in complete:  # a pair counts where its first question stands; both share their image
        sums[members[0], place[members[0]], 2:] = right[members].min(), 1.0
    lost = len(pairs) - len(complete)
    variant = f"sum of 100 × (accuracy + accuracy+), {_reading(settings)}"
    variant += f"; {lost:,} images without exactly two questions count for accuracy only" if lost else ""
    flat = sums.reshape(len(right), -1)
    columns = []
    for kind, names in (("perception", PERCEPTION), ("cognition", COGNITION)):
        inside = np.isin(place, [subtasks.index(one) for one in names])
        if inside.any():
            wanted = [subtasks.index(one) for one in names]
            per_row = np.where(inside, right, np.nan)
            columns.append(Column(f"{name}_{kind}", per_row, flat, _mme_estimate(wanted, len(subtasks)), variant))
    return columns


def _mme_estimate(wanted: Sequence[int], subtasks: int) -> Estimate:
    def estimate(totals: Floats) -> Floats:
        parts = totals.reshape(len(totals), subtasks, 4)[:, list(wanted)]
        scores: Floats = 100 * (_divide(parts[:, :, 0], parts[:, :, 1]) + _divide(parts[:, :, 2], parts[:, :, 3]))
        return scores.sum(axis=1)

    return estimate


def _subtask(answered: Answered, row: int, known: Sequence[str]) -> int:
    given = answered.slices[row].get(CATEGORY, "")
    if given not in known:
        raise UserError(
            f"{answered.ids[row]}: mme needs the slice {CATEGORY!r}, one of {', '.join(known)}; found {given!r}"
        )
    return known.index(given)


def _unanswerable(name: str, answered: Answered, settings: MetricSettings) -> list[Column]:
    called = np.array([float(text is not None and says_unanswerable(text)) for text in answered.texts])
    true = np.array([float(is_unanswerable(references)) for references in answered.references])
    return _confusion(name, called, true, 'answers "unanswerable" where most people did')


BY_TASK: dict[str, Callable[[str, Answered, MetricSettings], list[Column]]] = {
    "pope": _pope,
    "mme": _mme,
    "unanswerable": _unanswerable,
}
