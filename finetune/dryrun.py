"""``finetune plan``: everything that a run prints at its start, without a weight."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from finetune.data.rows import open_rows
from finetune.forecast import as_table as forecast_table
from finetune.forecast import read_forecast
from finetune.identity import input_digests
from finetune.model.adapter import build_learner
from finetune.model.load import empty_model, load_processor
from finetune.modules import Group, as_table, module_groups
from finetune.recipe import TrainRecipe
from finetune.training.plan import checked_plan, print_plan
from winnow.models import prepare_libraries


def dry_run(recipe: TrainRecipe, folder: Path) -> list[Group]:
    """Check data and model and print what would train; returns the module groups.

    Args:
        folder: for the files that a run keeps; nothing is written to the run folder itself.

    Raises:
        UserError: bad recipe, data or model.
    """
    prepare_libraries()  # before anything imports bitsandbytes
    from finetune.training.monitor import check_reporters

    console = Console(highlight=False)
    check_reporters(recipe.report_to)
    rows = open_rows(recipe)
    inputs = input_digests(recipe, rows)
    processor = load_processor(recipe.model, recipe.chat_template, recipe.max_pixels)
    plan = checked_plan(recipe.model_copy(update={"out": folder}), rows, processor, resume=False)
    print_plan(console, recipe, plan, inputs)
    learner = build_learner(empty_model(recipe.model), recipe)
    groups = module_groups(learner, quantization=recipe.quantization)
    console.print(as_table(recipe.model, groups))
    console.print(forecast_table(read_forecast(folder / "forecast.json"), recipe.batch_size))
    return groups
