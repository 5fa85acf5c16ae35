"""Arms compared on the same test rows: accuracy, paired differences and the share of the gap that is won back.

Intervals are bootstrapped over both things that would be drawn anew in another proof: the images asked about, the
same for all arms, and the trainings, which differ by their seed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from evalsuite.statistics.resampling import (
    LEVEL,
    REPLICATES,
    Floats,
    cluster_codes,
    per_cluster_sums,
    percentiles,
    resample,
)
from evalsuite.statistics.significance import mcnemar
from studies.curation_pays.arms import Arm
from winnow.errors import UserError


class Group:
    """The arms of one training set, one for each seed.

    Attributes:
        right: (seeds, n) outcomes on the rows that are compared.
        clusters: (n,) codes of the images asked about: questions about one image are not independent.
    """

    def __init__(self, arms: Sequence[Arm], without: Collection[str] = ()) -> None:
        """Take the rows of all arms but those about the images ``without``.

        Raises:
            UserError: the arms answered different rows.
        """
        if any(arm.ids != arms[0].ids for arm in arms):
            raise UserError(f"{arms[0].name}: its arms answered different test rows; delete their folders")
        used = np.array([image not in without for image in arms[0].images])
        self.name = arms[0].name
        self.right: Floats = np.stack([arm.right[used] for arm in arms])
        self.clusters = cluster_codes([image for image, kept in zip(arms[0].images, used, strict=True) if kept])


def accuracy(group: Group) -> dict[str, Any]:
    """Mean over trainings with its interval, and each training's own."""
    low, high = _bounds(np.clip(_drawn([group], lambda means: means[0]), 0, 1))
    seeds = group.right.mean(1)
    spread = float(seeds.std(ddof=1)) if len(seeds) > 1 else None
    return {
        "accuracy": float(seeds.mean()), "low": low, "high": high,
        "n": group.right.shape[1], "images": int(group.clusters.max()) + 1,
        "seeds": [float(one) for one in seeds], "seed_std": spread,
    }  # fmt: skip


def difference(one: Group, other: Group) -> dict[str, Any]:
    """``other`` minus ``one``, and McNemar's exact test for the first training of each, on the same rows."""
    found = _drawn([one, other], lambda means: means[1] - means[0])
    low, high = _bounds(found)
    test = mcnemar(one.right[0], other.right[0])
    return {
        "difference": float(other.right.mean() - one.right.mean()), "low": low, "high": high, "p": _p_value(found),
        "mcnemar_p_first_seed": test.p_exact, "wins": test.only_b, "losses": test.only_a,
    }  # fmt: skip


def won_back(dirty: Group, curated: Group, clean: Group) -> dict[str, Any]:
    """(curated - dirty) / (clean - dirty), with the interval of the resampled ratio.

    The ratio means nothing where the gap itself cannot be told from zero; ``gap_is_real`` says whether it can.
    """

    def ratio(means: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((means[1] - means[0]) / (means[2] - means[0]))

    groups = [dirty, curated, clean]
    low, high = _bounds(_drawn(groups, ratio))
    gap = difference(dirty, clean)
    value = float(ratio(np.array([[group.right.mean()] for group in groups]))[0])
    return {
        "share": value if np.isfinite(value) else None, "low": low, "high": high,
        "gap": gap["difference"], "gap_is_real": gap["low"] is not None and gap["low"] > 0,
    }  # fmt: skip


def _drawn(groups: Sequence[Group], estimate: Callable[[Floats], Floats]) -> Floats:
    """(replicates,) estimates on images and trainings drawn anew; empty below two images.

    Means of k trainings drawn from k vary by too little, by sqrt((k-1)/k); that is put right.

    Args:
        estimate: (groups, m) mean accuracies → (m,).
    """
    counts = np.array([len(group.right) for group in groups])
    columns = np.concatenate([group.right for group in groups]).T
    sums = per_cluster_sums(np.column_stack([columns, np.ones(len(columns))]), groups[0].clusters)
    generator = np.random.default_rng(1)

    def of_resample(totals: Floats) -> Floats:
        each = np.split(totals[:, :-1] / totals[:, -1:], np.cumsum(counts)[:-1], axis=1)
        return estimate(np.array([_trainings_drawn(one, generator) for one in each]))

    return resample(sums, of_resample, 0, REPLICATES)


def _trainings_drawn(accuracies: Floats, generator: np.random.Generator) -> Floats:
    """(m, k) accuracies of k trainings → (m,) means of k drawn with repetition."""
    count, mean = accuracies.shape[1], accuracies.mean(1)
    if count == 1:
        return np.asarray(mean)
    drawn = np.take_along_axis(accuracies, generator.integers(0, count, accuracies.shape), axis=1).mean(1)
    return np.asarray(mean + np.sqrt(count / (count - 1)) * (drawn - mean))


def _bounds(drawn: Floats) -> tuple[float | None, float | None]:
    return percentiles(drawn, LEVEL)


def _p_value(drawn: Floats) -> float | None:
    """Two-sided, from the share of resamples on either side of zero."""
    if not len(drawn):
        return None
    side = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return float(min(1.0, 2 * (side + 1) / (len(drawn) + 1)))
