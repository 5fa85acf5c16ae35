"""The loss of evaluation sets before the first stage and after each stage, and how much was forgotten."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from finetune.data.collate import Collator
from finetune.data.preflight import check_rows
from finetune.data.rows import open_sets
from finetune.data.schedule import RowPool, Schedule
from finetune.processes import start_processes
from finetune.recipe import TrainRecipe
from winnow.errors import UserError
from winnow.files import write_text

if TYPE_CHECKING:
    from finetune.training.trainer import SampleLossTrainer

EVALUATIONS = "evaluations.jsonl"
MOST_ROWS = 200


@dataclass(frozen=True)
class EvaluationSet:
    """The conversations of an evaluation set and the collator for their images."""

    name: str
    schedule: Schedule
    collator: Collator


@dataclass(frozen=True, slots=True)
class EvaluationLoss:
    """The loss of an evaluation set before training or after a stage.

    Attributes:
        stage: the stage it was measured after, from 0; -1: before training.
        loss: mean nats per answer token.
        forgetting: loss minus the lowest earlier loss, positive if something was forgotten; None for
            the first measurement.
    """

    stage: int
    name: str
    loss: float
    tokens: int
    rows: int
    forgetting: float | None


def evaluation_sets(recipe: TrainRecipe, processor: Any, collator: Collator, folder: Path) -> list[EvaluationSet]:
    """Draw 200 rows of every set and check them; rejected rows go to ``rejects-<name>.jsonl`` in ``folder``.

    Raises:
        UserError: a set does not exist, or none of its rows can be used.
    """
    sets = []
    for name, path in recipe.evaluate.items():
        rows = open_sets({name: path}, None)
        drawn = np.random.default_rng(recipe.seed).permutation(len(rows))[:MOST_ROWS]
        checked = check_rows(
            rows, processor, chosen=sorted(drawn.tolist()), max_length=recipe.max_length,
            max_pixels=recipe.max_pixels, max_reject=1.0, sample_answers=False, workers=recipe.num_workers,
            rejects=folder / f"rejects-{name}.jsonl",
        )  # fmt: skip
        schedule = Schedule(
            rows, [RowPool(checked.accepted)], seed=recipe.seed, stage=0, questions_per_image=1,
            batch_size=recipe.batch_size, max_length=recipe.max_length, sample_answers=False,
        )  # fmt: skip
        own = Collator(processor, rows.image_root, recipe.max_pixels, collator.always_image)
        sets.append(EvaluationSet(name, schedule, own))
    return sets


def evaluate_sets(trainer: SampleLossTrainer, recipe: TrainRecipe, sets: list[EvaluationSet], stage: int) -> None:
    """Measure every set and write its line to ``evaluations.jsonl``, replacing lines of this or a later stage."""
    path, state = recipe.folder / EVALUATIONS, start_processes()
    earlier = [entry for entry in read_evaluations(path) if entry.stage < stage]
    measured = []
    for part in sets:
        rows, loss, tokens = trainer.measure(part.schedule, part.collator)
        before = [entry.loss for entry in earlier if entry.name == part.name]
        measured.append(EvaluationLoss(stage, part.name, loss, tokens, rows, loss - min(before) if before else None))
    if not measured or not state.is_main_process:
        return
    write_text(path, "".join(json.dumps(asdict(entry)) + "\n" for entry in [*earlier, *measured]))
    console = Console(stderr=True, highlight=False)
    moment = "before training" if stage < 0 else f"after {recipe.resolved_stages()[stage].name}"
    for entry in measured:
        change = "" if entry.forgetting is None else f", {entry.forgetting:+.4f} against its best so far"
        console.print(f"{moment}: {entry.name}: loss {entry.loss:.4f} on {entry.rows:,} rows{change}")


def read_evaluations(path: Path) -> list[EvaluationLoss]:
    """The lines of an ``evaluations.jsonl``; empty if there is no such file.

    Raises:
        UserError: a line has other fields.
    """
    if not path.is_file():
        return []
    try:
        return [EvaluationLoss(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: not written by `finetune train` ({error}); start again with --fresh") from error
