"""Arms of the study: train on one set, evaluate on the test questions that all arms share, and compare.

Intervals are bootstrapped over the two things that another run of the study would draw again: the test images,
the same for all arms, and the seeds, of each of which every training set has an arm.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from evalsuite.statistics.resampling import LEVEL, REPLICATES, Floats, cluster_codes, percentiles, resample, sums_by
from studies.demo.lab import Lab, run_stage
from winnow.errors import UserError
from winnow.files import digest_of, sha256_file, write_text
from winnow.rows.records import Sample, to_line
from winnow.strict_yaml import read_mapping

TRAIN = Path("finetune/recipes/demo.yaml")
EVALUATE = Path("evalsuite/recipes/demo_tuned.yaml")


@dataclass(frozen=True)
class Plan:
    """An arm to run: these rows, in this order."""

    name: str
    rows: Sequence[Sample]
    image_root: Path
    seed: int


@dataclass(frozen=True)
class Arm:
    """A finished arm.

    Attributes:
        ids, images: (n,) test rows and the images that they ask about, in the order of the test file.
        right: (n,) 1.0 or 0.0; an answer that could not be read counts as wrong.
    """

    name: str
    ids: tuple[str, ...]
    images: tuple[str, ...]
    right: np.ndarray


def run_arms(plans: Sequence[Plan], lab: Lab) -> list[Arm]:
    """Run all arms and return them in this order; finished ones come from the cache."""
    return lab.map("arms", lambda plan: _run_arm(plan, lab), plans)


def _run_arm(plan: Plan, lab: Lab) -> Arm:
    """Train and evaluate unless both are done; a killed arm resumes where it stopped."""
    training = lab.settings.training
    trained = read_mapping(TRAIN) | {
        "image_root": str(plan.image_root),
        "seed": plan.seed,
        "quantization": "none",  # on a CPU, 4-bit weights take half as much time again
        "max_steps": training.steps,
        "batch_size": training.batch_size,
        "questions_per_image": 1,
        "shuffle": False,
        "balance_answers": False,
        "max_reject": 0.0,
        "num_workers": 0,
        "save_steps": 1000,
    }
    lines = "".join(to_line(row) + "\n" for row in plan.rows)
    folder = lab.cache / "arms" / f"{plan.name.replace('/', '-')}-{digest_of([trained, lines])[:8]}"
    run, scored, rows = folder / "run", folder / "eval", folder / "rows.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(rows, lines)
    recipe = {**trained, "name": folder.name, "data": str(rows), "out": str(run)}
    run_stage("finetune", "train", recipe, run, inputs=sha256_file(rows), threads=lab.threads)
    evaluated = read_mapping(EVALUATE)
    evaluated["model"] |= {"adapter": str(run / "adapter"), "quantization": "none"}
    unused = {"baseline", "training_set", "corrections", "check_batch"}
    evaluated = {key: value for key, value in evaluated.items() if key not in unused}
    evaluated |= {"name": folder.name, "out": str(scored), "tasks": [str(lab.exam / "task.yaml")]}
    inputs = [sha256_file(run / "manifest.json"), *map(sha256_file, sorted(lab.exam.iterdir()))]
    run_stage("evalsuite", "run", evaluated, scored, inputs=inputs, threads=lab.threads)
    return read_arm(plan.name, scored)


def read_arm(name: str, scored: Path) -> Arm:
    """Read an arm from its evaluation folder."""
    table = pq.read_table(scored / "predictions.parquet", columns=["sample_id", "images", "accuracy"])
    ids, images, accuracies = (table[column].to_pylist() for column in table.column_names)
    right = np.array([value or 0.0 for value in accuracies], np.float64)
    return Arm(name, tuple(ids), tuple(paths[0] for paths in images), right)


class Group:
    """The arms of one training set, one for each seed.

    Attributes:
        right: (seeds, n) 1.0 or 0.0 on the rows that are compared.
        clusters: (n,) code of each row's image: questions about one image are not independent.
    """

    def __init__(self, arms: Sequence[Arm], without: Collection[str] = ()) -> None:
        """Take the rows of all arms except those about the images ``without``.

        Raises:
            UserError: the arms answered different rows.
        """
        if any(arm.ids != arms[0].ids for arm in arms):
            raise UserError(f"{arms[0].name}: its arms answered different test rows; delete their folders")
        used = np.array([image not in without for image in arms[0].images])
        self.name = arms[0].name
        self.right: Floats = np.stack([arm.right[used] for arm in arms])
        self.clusters = cluster_codes([image for image, kept in zip(arms[0].images, used, strict=True) if kept])

    def first(self, seeds: int) -> Group:
        """The same group with its first seeds only."""
        short = copy(self)
        short.right = self.right[:seeds]
        return short


def accuracy(group: Group) -> dict[str, Any]:
    """Mean accuracy over the trainings with its interval, and the accuracy of each training."""
    low, high = _bounds(np.clip(_drawn([group], lambda means: means[0]), 0, 1))
    seeds = group.right.mean(1)
    spread = float(seeds.std(ddof=1)) if len(seeds) > 1 else None
    return {
        "accuracy": float(seeds.mean()), "low": low, "high": high,
        "n": group.right.shape[1], "images": int(group.clusters.max()) + 1,
        "seeds": [float(value) for value in seeds], "seed_std": spread,
    }  # fmt: skip


def difference(one: Group, other: Group) -> dict[str, Any]:
    """``other`` minus ``one``, paired by seed and test row, and what it is for each seed."""
    found = _drawn([one, other], lambda means: means[1] - means[0])
    low, high = _bounds(found)
    seeds = other.right.mean(1) - one.right.mean(1)
    return {
        "difference": float(seeds.mean()), "low": low, "high": high, "p": _p_value(found),
        "seeds": [float(value) for value in seeds],
        "seed_std": float(seeds.std(ddof=1)) if len(seeds) > 1 else None,
    }  # fmt: skip


def won_back(dirty: Group, curated: Group, clean: Group) -> dict[str, Any]:
    """(curated - dirty) / (clean - dirty), with the interval of the resampled ratio.

    The ratio is only meaningful where the gap differs from zero; ``gap_is_real`` says whether it does.
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
    """(replicates,) estimates on resampled images and seeds, the same for all groups; empty with fewer than two images.

    Seeds and images are drawn each on its own, so that what only one image in one training does counts more than
    once: the intervals are rather too wide. The mean of k trainings drawn from k varies too little, by a factor of
    sqrt((k-1)/k); this is corrected.

    Args:
        estimate: (groups, m) mean accuracies → (m,).

    Raises:
        UserError: the groups differ in their number of seeds.
    """
    seeds = {len(group.right) for group in groups}
    if len(seeds) > 1:
        raise UserError(f"{groups[0].name}: compared with arms of other seeds")
    columns = np.concatenate([group.right for group in groups]).T
    clusters = groups[0].clusters
    sums = sums_by(clusters, int(clusters.max()) + 1, np.column_stack([columns, np.ones(len(columns))]))
    generator = np.random.default_rng(1)

    def of_resample(totals: Floats) -> Floats:
        each = (totals[:, :-1] / totals[:, -1:]).reshape(len(totals), len(groups), -1)
        return estimate(_seeds_drawn(each, generator).T)

    return resample(sums, of_resample, 0, REPLICATES)


def _seeds_drawn(accuracies: Floats, generator: np.random.Generator) -> Floats:
    """(m, groups, k) accuracies → (m, groups) means of k seeds that are drawn with replacement."""
    count, mean = accuracies.shape[2], accuracies.mean(2)
    if count == 1:
        return np.asarray(mean)
    seeds = generator.integers(0, count, (len(accuracies), 1, count))
    drawn = np.take_along_axis(accuracies, seeds, axis=2).mean(2)
    return np.asarray(mean + np.sqrt(count / (count - 1)) * (drawn - mean))


def _bounds(drawn: Floats) -> tuple[float | None, float | None]:
    return percentiles(drawn, LEVEL)


def _p_value(drawn: Floats) -> float | None:
    """Two-sided, from the share of resamples on either side of zero."""
    if not len(drawn):
        return None
    side = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return float(min(1.0, 2 * (side + 1) / (len(drawn) + 1)))
