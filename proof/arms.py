"""One arm: a training of the given budget on one set, scored on the test questions that all arms share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from curate.atomic import digest_of, sha256_file
from proof.sets import TrainingSet
from proof.settings import ProofSettings
from proof.stages import recipe_at, run_stage

TRAIN = Path("finetune/recipes/demo.yaml")
EVALUATE = Path("evalsuite/recipes/demo_tuned.yaml")
TEST = Path("data/raw/demo/test.jsonl")


@dataclass(frozen=True)
class Arm:
    """A finished arm.

    Attributes:
        ids, images: (n,) test rows and the pictures that they ask about, in the order of the test file.
        right: (n,) 1.0 or 0.0; an answer that could not be read counts as wrong.
        losses: loss per training row.
    """

    name: str
    ids: tuple[str, ...]
    images: tuple[str, ...]
    right: np.ndarray
    losses: Path


def run_arm(name: str, data: TrainingSet, seed: int, settings: ProofSettings, cache: Path) -> Arm:
    """Train and evaluate unless both are done; a killed arm goes on where it stopped."""
    trained = recipe_at(TRAIN) | {
        "data": str(data.data),
        "image_root": data.image_root and str(data.image_root),
        "seed": seed,
        "max_steps": settings.training.steps,
        "batch_size": settings.training.batch_size,
        "join_turns": settings.training.join_turns,
        "max_reject": 1.0,  # uncurated sets hold broken files; what cannot be read is left out, as any trainer must
        "save_steps": max(10, settings.training.steps // 4),
    }
    folder = cache / "arms" / f"{name.replace('/', '-')}-{digest_of([trained, data.digest])[:8]}"
    run, scored = folder / "run", folder / "eval"
    run_stage("finetune", "train", {**trained, "name": folder.name, "out": str(run)}, run, inputs=data.digest)
    evaluated = recipe_at(EVALUATE)
    evaluated["model"] |= {"adapter": str(run / "adapter")}
    unused = {"baseline", "training_set", "corrections", "check_batch"}
    evaluated = {key: value for key, value in evaluated.items() if key not in unused}
    evaluated |= {"name": folder.name, "out": str(scored), "tasks": ["easy_vqa"], "limit": settings.questions}
    run_stage("evalsuite", "run", evaluated, scored, inputs=[sha256_file(run / "manifest.json"), sha256_file(TEST)])
    return read_arm(name, scored, run / "losses.parquet")


def read_arm(name: str, scored: Path, losses: Path) -> Arm:
    """What the evaluation folder says."""
    table = pq.read_table(scored / "predictions.parquet", columns=["sample_id", "images", "accuracy"])
    ids, images, right = (table[column].to_pylist() for column in table.column_names)
    return Arm(
        name, tuple(ids), tuple(one[0] for one in images), np.array([one or 0.0 for one in right], np.float64), losses
    )
