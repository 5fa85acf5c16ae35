"""The stages that can be started: their recipe, its reader, the recipes that ship, and what is most often set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import curate.recipe
import evalsuite.recipe
import finetune.recipe
from dashboards.data.catalog import Kind
from dashboards.jobs.commands import MergeOptions, Option, Stage
from winnow.recipe import StrictModel, load_recipe


@dataclass(frozen=True)
class StageForm:
    """A stage as the page offers it.

    Attributes:
        title: what it does, in two or three words.
        kind: of the results that it makes and whose manifests hold its recipes; None for a checkpoint.
        model: of its recipe.
        read: reads and checks a recipe's file.
        shipped: folder of the recipes that ship; None if there are none.
        first: the keys that are set most often, in this order; the others are folded.
        checked_by: the command that checks a recipe before it is run.
        options: of its command, each with what it does.
    """

    title: str
    kind: Kind | None
    model: type[StrictModel]
    read: Callable[[Path], StrictModel]
    shipped: Path | None
    first: tuple[str, ...]
    checked_by: str
    options: dict[Option, str]


_OFFLINE: dict[Option, str] = {"offline": "Download nothing"}


def _shipped(module: str | None) -> Path:
    return Path(module or "").with_name("recipes")


STAGES: dict[Stage, StageForm] = {
    "curate": StageForm(
        "Curate data", "curated", curate.recipe.CurateRecipe, curate.recipe.read_recipe,
        _shipped(curate.recipe.__file__),
        ("name", "sources", "rules", "signals", "duplicates", "contamination", "corrections"),
        "winnow doctor", {},
    ),
    "finetune": StageForm(
        "Fine-tune", "runs", finetune.recipe.TrainRecipe, finetune.recipe.load, _shipped(finetune.recipe.__file__),
        (
            "name", "model", "data", "method", "quantization", "epochs", "max_steps", "learning_rate", "batch_size",
            "gradient_accumulation", "max_length", "lora_rank", "evaluate",
        ),
        "finetune plan",
        {
            "fresh": "Delete an earlier run of this name", **_OFFLINE, "ddp": "All GPUs (ddp)",
            "fsdp2": "All GPUs (fsdp2)", "zero2": "All GPUs (zero2)", "zero3": "All GPUs (zero3)",
        },
    ),
    "evalsuite": StageForm(
        "Evaluate", "evals", evalsuite.recipe.EvalRecipe,
        lambda path: load_recipe(path, evalsuite.recipe.EvalRecipe), _shipped(evalsuite.recipe.__file__),
        ("name", "tasks", "model", "server", "limit", "baseline", "training_set", "corrections"),
        "evalsuite check --sample 0", _OFFLINE,
    ),
    "merge": StageForm(
        "Merge an adapter", None, MergeOptions, lambda path: load_recipe(path, MergeOptions), None,
        ("run", "out", "into", "lora_only", "rows"),
        "winnow doctor", _OFFLINE,
    ),
}  # fmt: skip
