"""Arms compared on the same test rows: accuracy, paired differences and the share of the gap that is won back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from curate.errors import UserError
from evalsuite.statistics.paired import mcnemar, paired_difference
from evalsuite.statistics.resampling import (
    LEVEL,
    REPLICATES,
    Floats,
    cluster_codes,
    mean_interval,
    mean_sums,
    per_cluster_sums,
    percentiles,
    resample,
)
from proof.arms import Arm


class Group:
    """The arms of one training set, one for each seed.

    Attributes:
        right: (seeds, n) outcomes on the rows that are compared.
        clusters: (n,) codes of the pictures asked about: questions about one picture are not independent.
    """

    def __init__(self, arms: Sequence[Arm], without: Collection[str] = ()) -> None:
        """Take the rows of all arms but those about the pictures ``without``.

        Raises:
            UserError: the arms answered different rows.
        """
        if any(arm.ids != arms[0].ids for arm in arms):
            raise UserError(f"{arms[0].name}: its arms answered different test rows; delete their folders")
        used = np.array([image not in without for image in arms[0].images])
        self.name = arms[0].name
        self.right: Floats = np.stack([arm.right[used] for arm in arms])
        self.clusters = cluster_codes([image for image, kept in zip(arms[0].images, used, strict=True) if kept])

    @property
    def mean(self) -> Floats:
        """(n,) share of the seeds that got each row right."""
        return np.asarray(self.right.mean(0))


def accuracy(group: Group) -> dict[str, Any]:
    """Mean over seeds with its interval over pictures, and each seed's own."""
    found = mean_interval(group.mean, group.clusters)
    seeds = group.right.mean(1)
    spread = float(seeds.std(ddof=1)) if len(seeds) > 1 else None
    return {
        "accuracy": found.value, "low": found.low, "high": found.high, "n": found.n, "pictures": found.clusters,
        "seeds": [float(one) for one in seeds], "seed_std": spread,
    }  # fmt: skip


def difference(one: Group, other: Group) -> dict[str, Any]:
    """``other`` minus ``one``: paired by row, resampled by picture; McNemar's exact test for the first seed of each."""
    found = paired_difference(mean_sums(one.mean), mean_sums(other.mean), one.clusters)
    test = mcnemar(one.right[0], other.right[0])
    return {
        "difference": found.value, "low": found.low, "high": found.high, "p": found.p,
        "mcnemar_p_first_seed": test.p_exact, "wins": test.only_b, "losses": test.only_a,
    }  # fmt: skip


def won_back(dirty: Group, curated: Group, clean: Group) -> dict[str, Any]:
    """(curated - dirty) / (clean - dirty), with the interval of the resampled ratio.

    The ratio means nothing where the gap itself cannot be told from zero; ``gap_is_real`` says whether it can.
    """
    sums = np.stack([dirty.mean, curated.mean, clean.mean], axis=1)
    per_cluster = per_cluster_sums(sums, dirty.clusters)

    def ratio(totals: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return (totals[:, 1] - totals[:, 0]) / (totals[:, 2] - totals[:, 0])

    low, high = percentiles(resample(per_cluster, ratio, 0, REPLICATES), LEVEL)
    gap = difference(dirty, clean)
    value = float(ratio(per_cluster.sum(0, keepdims=True))[0])
    return {
        "share": value if np.isfinite(value) else None, "low": low, "high": high,
        "gap": gap["difference"], "gap_is_real": gap["low"] is not None and gap["low"] > 0,
    }  # fmt: skip
