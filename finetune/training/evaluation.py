"""How good the model is on sets and tasks: before training, between steps and after each stage; the best step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from evalsuite.runs.sample import TaskSample, ask_sample, draw_sample, score_sample
from finetune.data.collate import Collator
from finetune.data.preflight import check_rows
from finetune.data.rows import open_sets
from finetune.data.schedule import RowPool, Schedule
from finetune.processes import sharded, start_processes, world_size
from finetune.recipe import TrainRecipe
from winnow.errors import UserError
from winnow.files import write_text

if TYPE_CHECKING:
    from finetune.training.trainer import SampleLossTrainer, Watched

EVALUATIONS = "evaluations.jsonl"
MOST_ROWS = 200


@dataclass(frozen=True)
class EvaluationSet:
    """The conversations of an evaluation set and the collator for their images."""

    name: str
    schedule: Schedule
    collator: Collator


@dataclass(frozen=True)
class Evaluation:
    """What is measured: losses of sets, scores of tasks by the name that the recipe gives them."""

    sets: list[EvaluationSet]
    tasks: dict[str, TaskSample]


@dataclass(frozen=True, slots=True)
class EvaluationLoss:
    """The loss of an evaluation set at a step.

    Attributes:
        stage: the stage it was measured in, from 0; -1: before training.
        step: optimiser steps of the stage so far.
        loss: mean nats per answer token.
        forgetting: loss minus the lowest earlier loss, positive if something was forgotten; None for
            the first measurement.
    """

    stage: int
    step: int
    name: str
    loss: float
    tokens: int
    rows: int
    forgetting: float | None

    @property
    def goodness(self) -> float:
        """Higher is better."""
        return -self.loss

    @property
    def text(self) -> str:
        """The figure for people."""
        return f"loss {self.loss:.4f}"


@dataclass(frozen=True, slots=True)
class TaskScore:
    """The score of a task at a step.

    ``stage`` and ``step`` are as in ``EvaluationLoss``, ``metric`` and what follows as in ``SampleScore``.
    """

    stage: int
    step: int
    name: str
    metric: str
    lower_is_better: bool
    value: float | None
    low: float | None
    high: float | None
    rows: int

    @property
    def goodness(self) -> float:
        """Higher is better."""
        if self.value is None:
            return -np.inf
        return -self.value if self.lower_is_better else self.value

    @property
    def text(self) -> str:
        """The figure for people."""
        value = "no row judged" if self.value is None else f"{self.value:.3f}"
        bounds = "" if self.low is None or self.high is None else f" [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.metric} {value}{bounds}"


Measured = EvaluationLoss | TaskScore


def prepare_evaluation(recipe: TrainRecipe, processor: Any, collator: Collator, folder: Path) -> Evaluation:
    """Draw 200 rows of every set and the rows of every task, and check them.

    Rejected rows of a set go to ``rejects-<name>.jsonl`` in ``folder``.

    Raises:
        UserError: a set or task does not exist, none of its rows can be used, or a task cannot be asked while the
            model is sharded.
    """
    sets = []
    for name, path in recipe.evaluate.items():
        rows = open_sets({name: path}, None)
        drawn = np.random.default_rng(recipe.seed).permutation(len(rows))[:MOST_ROWS]
        checked = check_rows(
            rows, processor, chosen=sorted(drawn.tolist()), settings=recipe.input_settings,
            max_length=recipe.max_length, max_reject=1.0, sample_answers=False, workers=recipe.num_workers,
            rejects=folder / f"rejects-{name}.jsonl",
        )  # fmt: skip
        schedule = Schedule(
            rows, [RowPool(checked.accepted)], seed=recipe.seed, stage=0, questions_per_image=1,
            batch_size=recipe.batch_size, max_length=recipe.max_length, sample_answers=False,
        )  # fmt: skip
        own = Collator(processor, rows.image_root, recipe.input_settings, collator.always_image)
        sets.append(EvaluationSet(name, schedule, own))
    if recipe.eval_tasks and sharded():
        raise UserError("eval_tasks: a model that is sharded (FSDP, ZeRO) is not asked while it trains; leave them out")
    tasks = {
        name: draw_sample(name, rows, seed=recipe.seed, processor=processor, inputs=recipe.input_settings)
        for name, rows in recipe.eval_tasks.items()
    }  # fmt: skip
    return Evaluation(sets, tasks)


def evaluate(
    trainer: SampleLossTrainer, recipe: TrainRecipe, evaluation: Evaluation, *, stage: int, step: int
) -> list[Measured]:
    """Measure every set and task; write the lines to ``evaluations.jsonl``, in place of later ones of a killed run.

    Training goes on as if nothing had been measured: random numbers are put back.

    Returns:
        All lines up to now, the same in every process.
    """
    import torch

    path, state = recipe.folder / EVALUATIONS, start_processes()
    earlier = [entry for entry in read_evaluations(path) if (entry.stage, entry.step) < (stage, step)]
    measured: list[Measured] = []
    with torch.random.fork_rng([state.device] if state.device.type == "cuda" else []):
        for part in evaluation.sets:
            rows, loss, tokens = trainer.measure(part.schedule, part.collator)
            before = [entry.loss for entry in earlier if isinstance(entry, EvaluationLoss) and entry.name == part.name]
            change = loss - min(before) if before else None
            measured.append(EvaluationLoss(stage, step, part.name, loss, tokens, rows, change))
        for name, sample in evaluation.tasks.items():
            measured.append(_task_score(trainer, recipe, name, sample, stage, step))
    lines = [*earlier, *measured]
    if measured and state.is_main_process:
        write_text(path, "".join(json.dumps(asdict(entry)) + "\n" for entry in lines))
        console = Console(stderr=True, highlight=False)
        moment = "before training" if stage < 0 else f"{recipe.resolved_stages()[stage].name}, step {step:,}"
        for entry in measured:
            change = getattr(entry, "forgetting", None)
            more = "" if change is None else f", {change:+.4f} against its best so far"
            console.print(f"{moment}: {entry.name}: {entry.text} on {entry.rows:,} rows{more}")
    return lines


def _task_score(
    trainer: SampleLossTrainer, recipe: TrainRecipe, name: str, sample: TaskSample, stage: int, step: int
) -> TaskScore:
    from accelerate.utils import gather_object

    model, state = trainer.learner.model.eval(), start_processes()
    with trainer.accelerator.autocast():
        part = ask_sample(sample, model, batch_size=recipe.batch_size, part=state.process_index, parts=world_size())
    replies = {key: reply for answered in gather_object([part]) for key, reply in answered.items()}
    score = score_sample(sample, replies, seed=recipe.seed)
    return TaskScore(stage, step, name, **asdict(score))


def best_step(lines: Sequence[Measured], best: str, stage: int) -> int | None:
    """The step of a stage at which the set or task ``best`` did best, the earliest of equals; None if none has it."""
    found = [entry for entry in lines if entry.stage == stage and entry.name == best]
    return max(found, key=lambda entry: entry.goodness).step if found else None


def out_of_patience(lines: Sequence[Measured], recipe: TrainRecipe, stage: int) -> bool:
    """Whether the last ``patience`` evaluations of the stage brought no better one."""
    if recipe.best is None or recipe.patience is None:
        return False
    best = best_step(lines, recipe.best, stage)
    since = [
        entry for entry in lines if entry.stage == stage and entry.name == recipe.best and entry.step > (best or 0)
    ]
    return best is not None and len(since) >= recipe.patience


def watched(lines: Sequence[Measured], recipe: TrainRecipe, stage: int, step: int) -> Watched:
    """What the lines up to ``step`` of a stage mean for its training."""
    from finetune.training.trainer import Watched

    figures: dict[str, float] = {}
    for entry in lines:
        if (entry.stage, entry.step) == (stage, step):
            if isinstance(entry, EvaluationLoss):
                figures[f"eval_{entry.name}_loss"] = entry.loss
            elif entry.value is not None:
                figures[f"eval_{entry.name}_{entry.metric}"] = entry.value
    best = recipe.best is not None and best_step(lines, recipe.best, stage) == step
    return Watched(figures, best, out_of_patience(lines, recipe, stage))


def kept_lines(lines: Sequence[Measured], recipe: TrainRecipe) -> dict[tuple[int, str], Measured]:
    """(stage, name) → its line at the step whose weights the stage ended with."""
    ended: dict[tuple[int, str], Measured] = {}
    for entry in lines:
        best = best_step(lines, recipe.best, entry.stage) if recipe.best and entry.stage >= 0 else None
        if best is None or entry.step == best:
            ended[entry.stage, entry.name] = entry
    return ended


def report_rows(lines: Sequence[Measured], recipe: TrainRecipe) -> list[list[str]]:
    """The kept lines as cells: set or task, when, result, forgetting, rows; those of a set or task together."""
    cells = []
    for line in sorted(kept_lines(lines, recipe).values(), key=lambda line: (line.name, line.stage)):
        when = "before training" if line.stage < 0 else f"after {recipe.resolved_stages()[line.stage].name}"
        if line.stage >= 0 and recipe.best:
            when += f", step {line.step:,}"
        forgetting = line.forgetting if isinstance(line, EvaluationLoss) else None
        change = "" if forgetting is None else f"{forgetting:+.4f}"
        cells.append([line.name, when, line.text, change, f"{line.rows:,}"])
    return cells


def read_evaluations(path: Path) -> list[Measured]:
    """The lines of an ``evaluations.jsonl``; empty if there is no such file.

    Raises:
        UserError: a line has other fields.
    """
    if not path.is_file():
        return []
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [TaskScore(**line) if "metric" in line else EvaluationLoss(**line) for line in lines]
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: not written by `finetune train` ({error}); start again with --fresh") from error
