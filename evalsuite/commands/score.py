"""Commands on one finished evaluation: ``score``, ``report`` and ``explain``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Argument(help="Evaluation folder, e.g. data/evals/demo-base.")]


def score(
    folder: Folder,
    task: Annotated[
        list[str] | None,
        typer.Option(help="Task name or YAML file whose extraction, metrics and slices are used instead. Repeatable."),
    ] = None,
    corrections: Annotated[
        Path | None, typer.Option(help="Folder of reviewers' decisions, in place of the recipe's.")
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="METRIC=VARIANT, shown beside the metric as it is, e.g. vqa_accuracy=evalai. Repeatable."),
    ] = None,
) -> None:
    """Score an evaluation anew, without a model.

    Variants: normalizer official, evalai, none; unanimous raw, normalize; those of relaxed_accuracy, gqa,
    multiple_choice, mmmu, pope and mme; tokenizers zh, char, ja-mecab … of bleu, rouge_l and cider.

    Example: evalsuite score data/evals/demo-base --variant vqa_accuracy=evalai
    """
    from evalsuite.report.console import print_scores
    from evalsuite.rescore import rescore

    print_scores(folder, rescore(folder, task or [], corrections, variant or []))


def report(
    folder: Folder,
    latex: Annotated[bool, typer.Option("--latex", help="Print a LaTeX table of the scores instead.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON instead.")] = False,
) -> None:
    """Write a finished evaluation's reports again, or print its scores.

    Example: evalsuite report data/evals/demo-tuned --latex > table.tex
    """
    from evalsuite.finished import load_manifest
    from evalsuite.report.latex import latex_table
    from evalsuite.rescore import read_scores, rescore

    load_manifest(folder)
    if latex or as_json:
        scores = read_scores(folder)
        print(latex_table(scores) if latex else json.dumps(scores, indent=2, ensure_ascii=False))
        return
    rescore(folder, [])
    print(f"{folder / 'report.md'}\n{folder / 'report.html'}")


def explain(
    folder: Annotated[Path, typer.Argument(help="Evaluation folder.")],
    sample_id: Annotated[str, typer.Argument(help="Id of a row, as in predictions.parquet.")],
    task: Annotated[str | None, typer.Option(help="Only in this task.")] = None,
) -> None:
    """Show why a row scored as it did.

    From the raw reply to what was extracted, normalised and matched: every metric by the task's own rule,
    by its other variants, and by what the benchmark's own code, lmms-eval and VLMEvalKit would have said.

    Example: evalsuite explain data/evals/demo-base easy_vqa/test/0
    """
    from evalsuite.explain import explain as explained
    from evalsuite.explain_console import print_explanations

    print_explanations(explained(folder, sample_id, task))
