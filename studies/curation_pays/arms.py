"""One arm: a training of the given budget on one set, scored on the test questions that all arms share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from studies.curation_pays.lab import Lab
from studies.curation_pays.sets import TrainingSet
from studies.curation_pays.stages import recipe_at, run_stage
from winnow.files import digest_of, sha256_file

TRAIN = Path("finetune/recipes/demo.yaml")
EVALUATE = Path("evalsuite/recipes/demo_tuned.yaml")


@dataclass(frozen=True)
class Plan:
    """An arm to be run."""

    name: str
    data: TrainingSet
    seed: int


@dataclass(frozen=True)
class Arm:
    """A finished arm.

    Attributes:
        ids, images: (n,) test rows and the images that they ask about, in the order of the test file.
        right: (n,) 1.0 or 0.0; an answer that could not be read counts as wrong.
        losses: loss per training row.
    """

    name: str
    ids: tuple[str, ...]
    images: tuple[str, ...]
    right: np.ndarray
    losses: Path


def run_arms(plans: Sequence[Plan], lab: Lab) -> list[Arm]:
    """All of them, in this order; finished ones are read from the cache."""
    return lab.all("arms", lambda plan: _run_arm(plan, lab), plans)


def _run_arm(plan: Plan, lab: Lab) -> Arm:
    """Train and evaluate unless both are done; a killed arm goes on where it stopped."""
    data, settings = plan.data, lab.settings
    trained = recipe_at(TRAIN) | {
        "data": str(data.data),
        "image_root": data.image_root and str(data.image_root),
        "seed": plan.seed,
        "max_steps": settings.training.steps,
        "batch_size": settings.training.batch_size,
        "questions_per_image": settings.training.questions_per_image,
        "max_reject": 1.0,  # uncurated sets hold broken files; what cannot be read is left out, as any trainer must
        "save_steps": max(10, settings.training.steps // 4),
    }
    folder = lab.cache / "arms" / f"{plan.name.replace('/', '-')}-{digest_of([trained, data.digest])[:8]}"
    run, scored = folder / "run", folder / "eval"
    recipe = {**trained, "name": folder.name, "out": str(run)}
    run_stage("finetune", "train", recipe, run, inputs=data.digest, threads=lab.threads)
    evaluated = recipe_at(EVALUATE)
    evaluated["model"] |= {"adapter": str(run / "adapter")}
    unused = {"baseline", "training_set", "corrections", "check_batch"}
    evaluated = {key: value for key, value in evaluated.items() if key not in unused}
    evaluated |= {"name": folder.name, "out": str(scored), "tasks": [str(lab.exam / "task.yaml")]}
    inputs = [sha256_file(run / "manifest.json"), *map(sha256_file, sorted(lab.exam.iterdir()))]
    run_stage("evalsuite", "run", evaluated, scored, inputs=inputs, threads=lab.threads)
    return read_arm(plan.name, scored, run / "losses.parquet")


def read_arm(name: str, scored: Path, losses: Path) -> Arm:
    """What the evaluation folder says."""
    table = pq.read_table(scored / "predictions.parquet", columns=["sample_id", "images", "accuracy"])
    ids, images, right = (table[column].to_pylist() for column in table.column_names)
    return Arm(
        name, tuple(ids), tuple(one[0] for one in images), np.array([one or 0.0 for one in right], np.float64), losses
    )
