"""Commands that look for differences: ``compare`` between runs, ``slices`` within one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def compare(
    a: Annotated[Path, typer.Argument(help="Evaluation folder A, the one to compare with.")],
    others: Annotated[list[Path], typer.Argument(help="Evaluation folder B, and more.", metavar="B [C]...")],
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write it to a .md, .json or .tex file as well.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Compare evaluations row by row.

    Each is compared with A, only on rows that all of them hold. Right/wrong metrics have McNemar's exact
    test and its mid-p, every metric a paired bootstrap that draws whole images. p-values are adjusted over
    tasks (Holm) and over slices (Benjamini-Hochberg).

    Example: evalsuite compare data/evals/demo-base data/evals/demo-tuned --out difference.md
    """
    from evalsuite.analysis.compare import compare_folders
    from evalsuite.report.compared import write_comparison
    from evalsuite.report.console import print_comparison

    found = compare_folders(a, others, seed)
    if out is not None:
        write_comparison(found, out)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print_comparison(found)


def slices(
    folder: Annotated[Path, typer.Argument(help="Evaluation folder, e.g. data/evals/demo-base.")],
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    curated: Annotated[
        Path | None,
        typer.Option(help="Curated folder whose signals describe the pictures; default: the recipe's training_set."),
    ] = None,
    min_rows: Annotated[int, typer.Option(min=2, help="Leave out slices with fewer rows.")] = 30,
    top: Annotated[int, typer.Option(min=1, help="Show so many slices of a task.")] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of them as JSON.")] = False,
) -> None:
    """Find the kinds of rows that fail most.

    A kind is one property, or two together. Properties are the task's slice columns, question, answer and
    picture. Slices are ranked by excess errors: those beyond what the task's overall error rate would give,
    with an interval that respects shared images.

    Example: evalsuite slices data/evals/demo-tuned --curated data/curated/demo
    """
    from evalsuite.analysis.slices import find_slices
    from evalsuite.report.console import print_slices

    found = find_slices(folder, only=task, curated=curated, min_rows=min_rows)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print_slices(found, top)
