"""``evalsuite``: run, score, compare, tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from curate import console

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Ask a vision-language model, score its answers, and show why each row scored as it did.\n\n"
    "A recipe names a model and tasks; answers, scores and reports land in data/evals/<name>/.",
)


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="YAML file: name, model, tasks; see evalsuite/recipes/.")],
    limit: Annotated[
        int | None, typer.Option(min=1, help="Ask at most so many rows of each task, in place of the recipe's limit.")
    ] = None,
) -> None:
    """Evaluate a model. Killed or repeated, it asks only what is missing.

    Writes predictions.parquet, scores.json, report.md, report.html and, last, manifest.json.

    Example: evalsuite run evalsuite/recipes/demo_base.yaml
    """
    from evalsuite.console import print_scores
    from evalsuite.run import run_recipe

    folder, scores, worked = run_recipe(recipe, limit=limit)
    print_scores(folder, scores)
    if not worked:
        print("Everything is up to date; nothing was asked.")


@app.command()
def score(
    folder: Annotated[Path, typer.Argument(help="Evaluation folder, e.g. data/evals/demo-base.")],
    task: Annotated[
        list[str] | None,
        typer.Option(help="Task name or YAML file whose extraction, metrics and slices are used instead. Repeatable."),
    ] = None,
) -> None:
    """Score an evaluation anew from its predictions, without a model.

    Example: evalsuite score data/evals/demo-base --task my_easy_vqa.yaml
    """
    from evalsuite.console import print_scores
    from evalsuite.run import rescore

    print_scores(folder, rescore(folder, task or []))


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="Evaluation folder A, the earlier one.")],
    b: Annotated[Path, typer.Argument(help="Evaluation folder B.")],
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Compare two evaluations row by row, on the rows that both hold.

    Differences have paired bootstrap intervals, clustered by image; right/wrong metrics also
    McNemar's exact test.

    Example: evalsuite compare data/evals/demo-base data/evals/demo-tuned
    """
    from evalsuite.compare import compare_folders
    from evalsuite.console import print_comparison

    found = compare_folders(a, b, seed)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print_comparison(found)


@app.command()
def tasks() -> None:
    """List the tasks that come with the package.

    A task of your own is a YAML file like them: a JSONL, CSV or Parquet with image, question and
    answers, a prompt, and metrics. Name its path in a recipe.
    """
    from evalsuite.console import print_tasks
    from evalsuite.task import load_spec, shipped_tasks

    print_tasks({name: load_spec(name) for name in shipped_tasks()})


def main() -> None:
    """Entry point of the console script."""
    console.run(app)


if __name__ == "__main__":
    main()
