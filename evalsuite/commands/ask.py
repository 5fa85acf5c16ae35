"""Commands that ask a model: ``run`` and ``check-batch``."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer


def run(
    recipe: Annotated[Path, typer.Argument(help="YAML file: name, model, tasks; see evalsuite/recipes/.")],
    limit: Annotated[
        int | None, typer.Option(min=1, help="Ask at most so many rows of each task, in place of the recipe's limit.")
    ] = None,
) -> None:
    """Ask a model, score its answers, write the report.

    Killed or repeated, it asks only what is missing; of a server also what it gave no answer to. Writes
    predictions.parquet, timings.parquet, scores.json, report.md, report.html and, last, manifest.json.
    Ctrl-C scores what was answered so far, marked partial, and ends with exit code 130.

    A recipe, whole (`server: {url: http://127.0.0.1:8000/v1}` in place of `model` asks vLLM and its like):

    \b
    name: mine
    model: {path: Qwen/Qwen2.5-VL-3B-Instruct}
    tasks: [textvqa, my-task.yaml]

    Example: evalsuite run mine.yaml --limit 100
    """
    from evalsuite.report.console import print_scores
    from evalsuite.runs.run import run_recipe

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # schedulers stop a job politely too
    folder, scores, worked = run_recipe(recipe, limit=limit)
    print_scores(folder, scores)
    if partial := scores["partial"]:
        print(f"Stopped: these are scores of {partial['rows']:,} of {partial['of']:,} rows. Run again to finish.")
        raise typer.Exit(130)
    if not worked:
        print("Everything is up to date; nothing was asked.")


def check_batch(
    recipe: Annotated[Path, typer.Argument(help="YAML file of an evaluation.")],
    samples: Annotated[int, typer.Option(min=1, help="Rows to ask twice.")] = 64,
) -> None:
    """Check that the size of a batch changes no answer.

    Asks some rows one at a time and in the recipe's batches, and says whose answers differ. Padding and the
    order of sums can change an answer. Exit code 1 if one differs. `check_batch: 64` in a recipe does the
    same in a run and puts it into the report.

    Example: evalsuite check-batch evalsuite/recipes/demo_base.yaml --samples 32
    """
    from evalsuite.report.words import batch_sentence
    from evalsuite.runs.batch_check import check_batches

    found = check_batches(recipe, samples)
    for example in found["examples"]:
        print(f"{example['sample_id']}: alone {example['alone']!r}, in a batch {example['in_batch']!r}")
    print(batch_sentence(found))
    raise typer.Exit(1 if found["differ"] else 0)
