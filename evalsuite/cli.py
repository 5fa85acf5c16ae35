"""``evalsuite``: every command, in the order in which they are used."""

from __future__ import annotations

import signal
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from winnow import console


class Again(StrEnum):
    """What rows may be asked again for."""

    unparsed = "unparsed"
    refused = "refused"
    truncated = "truncated"
    failed = "failed"


Folder = Annotated[Path, typer.Argument(help="Evaluation folder, e.g. data/evals/demo-base.")]
AllowCode = Annotated[bool, typer.Option("--allow-code", help="Run metrics of your own that the tasks name.")]


def tasks() -> None:
    """List the tasks that ship and the metrics, and show how to write a task.

    Each says where it expects the benchmark as it is published. With the data elsewhere, or another prompt,
    write a file and name its path in a recipe; keys that it has replace those of its base:

    \b
    base: textvqa
    source: {location: my/TextVQA_0.5.1_val.json}

    A task of your own needs no base: a JSONL, CSV or Parquet with image, question and answers.

    \b
    name: receipts
    source: {location: my/receipts.jsonl, image_root: my/images}
    prompt: "{question} Answer with a few words."
    metrics: [anls, accuracy]
    slices: [shop]

    `remote: {}` fetches images behind web addresses.
    """
    from evalsuite.metrics import METRICS
    from evalsuite.report.console import print_metrics, print_tasks
    from evalsuite.tasks.spec import load_spec, shipped_tasks

    print_tasks({name: load_spec(name) for name in shipped_tasks()})
    print_metrics(METRICS)


def run(
    recipe: Annotated[Path, typer.Argument(help="YAML file: name, model, tasks; see evalsuite/recipes/.")],
    limit: Annotated[
        int | None, typer.Option(min=1, help="Rows to ask of each task at most, in place of the recipe's limit.")
    ] = None,
    again: Annotated[
        list[Again] | None,
        typer.Option(help="Ask a server once more for rows of this status; the report says so. Repeatable."),
    ] = None,
    offline: console.Offline = False,
) -> None:
    """Ask a model, score its answers, write the report.

    Killed or repeated, it asks only what is missing: rows that never reached the model. Writes
    predictions.parquet, timings.parquet, scores.json, report.md, report.html and, last, manifest.json; where a
    judge scores replies also judgements.parquet. Ctrl-C scores what was answered so far, marked partial, and ends
    with exit code 130.

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
    folder, scores, worked = run_recipe(recipe, limit=limit, again=[status.value for status in again or []])
    print_scores(folder, scores)
    if partial := scores["partial"]:
        print(f"Stopped: these are scores of {partial['rows']:,} of {partial['of']:,} rows. Run again to finish.")
        raise typer.Exit(130)
    if not worked:
        print("Everything is up to date; nothing was asked.")


def check(
    recipe: Annotated[Path, typer.Argument(help="YAML file of an evaluation.")],
    sample: Annotated[int, typer.Option(min=0, help="Rows of each task to ask; 0 asks nothing.")] = 8,
    offline: console.Offline = False,
) -> None:
    """Check a recipe before it costs anything.

    Compares every reference with the extraction and the metrics, looks for every image, shows the prompt of three
    rows of each task as the model will see it, asks a few rows, and estimates requests, tokens and time. Writes
    nothing. Exit code 1 if there is an error. `evalsuite run` does the same first, without asking.

    Example: evalsuite check mine.yaml --sample 20
    """
    from evalsuite.report.checked import print_check
    from evalsuite.runs.check import check_recipe

    report = check_recipe(recipe, sample)
    print_check(report)
    raise typer.Exit(1 if any(finding.level == "error" for finding in report.findings) else 0)


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
    allow_code: AllowCode = False,
) -> None:
    """Score an evaluation again, without a model.

    `evalsuite tasks` lists the metrics with their variants.

    Example: evalsuite score data/evals/demo-base --variant accuracy=evalai
    """
    from evalsuite.metrics.own import allowing_code
    from evalsuite.report.console import print_scores
    from evalsuite.runs.finish import rescore

    with allowing_code(allow_code):
        print_scores(folder, rescore(folder, task or [], corrections, variant or []))


def corrections(
    folder: Folder,
    labels: Annotated[list[Path], typer.Argument(help="Corrected labels: files or folders that curate reads.")],
    out: Annotated[Path, typer.Option(help="Folder of corrections to write into.")],
    reviewer: Annotated[str, typer.Option(help="Whose corrections they are; names the file.")] = "published",
) -> None:
    """Turn labels that others have corrected into corrections of an evaluation.

    Rows are matched by image and question; one with another label is relabelled, one that the corrected labels
    leave out is excluded. `corrections:` in a recipe, or `evalsuite score --corrections`, then gives the corrected
    scores beside the others. For POPE, RePOPE publishes such labels (github.com/YanNeu/RePOPE).

    Example: evalsuite corrections data/evals/pope RePOPE/annotations/coco_repope_random.json --out data/repope
    """
    from evalsuite.analysis.relabel import relabel

    found = relabel(folder, labels, out, reviewer)
    print(f"Labels changed: {found.changed:,}, rows excluded: {found.excluded:,}, as they are: {found.same:,}")
    print(found.path)


def report(
    folder: Folder,
    latex: Annotated[bool, typer.Option("--latex", help="Print a LaTeX table of the scores instead.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON instead.")] = False,
    allow_code: AllowCode = False,
) -> None:
    """Write a finished evaluation's reports again, or print its scores.

    Example: evalsuite report data/evals/demo-tuned --latex > table.tex
    """
    from evalsuite.analysis.results import load_manifest
    from evalsuite.metrics.own import allowing_code
    from evalsuite.report.numbers import latex_table
    from evalsuite.runs.finish import read_scores, rescore
    from winnow.files import strict_json

    load_manifest(folder)
    if latex or as_json:
        scores = read_scores(folder)
        print(latex_table(scores) if latex else strict_json(scores, indent=2))
        return
    with allowing_code(allow_code):
        rescore(folder, [])
    print(f"{folder / 'report.md'}\n{folder / 'report.html'}")


def explain(
    folder: Annotated[Path, typer.Argument(help="Evaluation folder.")],
    sample_id: Annotated[str, typer.Argument(help="Id of a row, as in predictions.parquet.")],
    task: Annotated[str | None, typer.Option(help="Only in this task.")] = None,
) -> None:
    """Show why a row scored as it did.

    From the raw reply to what was extracted, normalised and matched: every metric by the task's own rule,
    by its other variants, and as the benchmark's own code, lmms-eval and VLMEvalKit would read the reply.

    Example: evalsuite explain data/evals/demo-base easy_vqa/test/0
    """
    from evalsuite.analysis.explain import explain as explained
    from evalsuite.report.console import print_explanations

    print_explanations(explained(folder, sample_id, task))


def compare(
    a: Annotated[Path, typer.Argument(help="Evaluation folder A, the one to compare with.")],
    others: Annotated[list[Path], typer.Argument(help="Evaluation folder B, and more.", metavar="B [C]...")],
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write it to a .md, .json or .tex file as well.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    allow_code: AllowCode = False,
) -> None:
    """Compare evaluations row by row.

    Each is compared with A, only on rows that all of them hold. Right/wrong metrics have McNemar's exact
    test and its mid-p, every metric a paired bootstrap that draws whole images. p-values are adjusted over
    tasks (Holm) and over slices (Benjamini-Hochberg).

    Example: evalsuite compare data/evals/demo-base data/evals/demo-tuned --out difference.md
    """
    from evalsuite.analysis.compare import compare_folders
    from evalsuite.metrics.own import allowing_code
    from evalsuite.report.compared import write_comparison
    from evalsuite.report.console import print_comparison
    from winnow.files import strict_json

    with allowing_code(allow_code):
        found = compare_folders(a, others, seed)
    if out is not None:
        write_comparison(found, out)
    if as_json:
        print(strict_json(found, indent=2))
    else:
        print_comparison(found)


def chosen(
    evaluations: Annotated[
        list[Path],
        typer.Argument(
            metavar="EVAL...", help="Evaluations of models trained on a selection and on its random rows, in any order."
        ),
    ],
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of sentences.")] = False,
    allow_code: AllowCode = False,
) -> None:
    """Say whether rows chosen by `curate select` train better than as many random ones.

    Give the evaluations of both models, or of several seeds of both. Prints chosen minus random for the first metric of
    each task, row by row, with an interval that draws whole images, and keeps it beside the curated set, where the next
    `curate select` repeats it.

    Example: evalsuite chosen data/evals/coverage data/evals/coverage-random
    """
    from evalsuite.analysis.chosen import chosen_minus_random, keep_proofs
    from evalsuite.metrics.own import allowing_code
    from winnow.files import strict_json

    with allowing_code(allow_code):
        found = chosen_minus_random(evaluations, seed)
    keep_proofs(found)
    print(strict_json(found, indent=2) if as_json else "\n".join(one["sentence"] for one in found))


def forgetting(
    before: Annotated[Path, typer.Argument(help="Evaluation folder of the model before training.", metavar="BEFORE")],
    after: Annotated[list[Path], typer.Argument(help="Folders of trained models.", metavar="AFTER...")],
    vertical: Annotated[list[str], typer.Option(metavar="TASK", help="Task that was trained for; may be repeated.")],
    general: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK", help="Task to watch for losses; may be repeated. [default: all other shared ones]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write it to a .md or .json file as well.")] = None,
    allow_code: AllowCode = False,
) -> None:
    """Show what training taught and what it made the model forget.

    Compares the first metric of each task before and after, on the same rows, with intervals that respect shared
    images. "forgotten" and "learned" need p < 0.05 after Holm's correction over tasks and runs.

    Example: evalsuite forgetting data/evals/demo-base data/evals/demo-tuned --vertical easy_vqa
    """
    from evalsuite.analysis.forgetting import forgetting as found_between
    from evalsuite.metrics.own import allowing_code
    from evalsuite.report.forgotten import print_forgetting, write_forgetting

    with allowing_code(allow_code):
        found = found_between(before, after, vertical, general or (), seed)
    if out is not None:
        write_forgetting(found, out)
    print_forgetting(found)


def slices(
    folder: Annotated[Path, typer.Argument(help="Evaluation folder, e.g. data/evals/demo-base.")],
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    curated: Annotated[
        Path | None,
        typer.Option(help="Curated folder whose signals describe the images; default: the recipe's training_set."),
    ] = None,
    min_rows: Annotated[int, typer.Option(min=2, help="Leave out slices with fewer rows.")] = 30,
    top: Annotated[int, typer.Option(min=1, help="Number of slices of a task to show.")] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of them as JSON.")] = False,
    allow_code: AllowCode = False,
) -> None:
    """Find the kinds of rows that fail most.

    A kind is one property, or two together. Properties are the task's slice columns, question, answer and
    image. Slices are ranked by excess errors: those beyond what the task's overall error rate would give,
    with an interval that respects shared images.

    Example: evalsuite slices data/evals/demo-tuned --curated data/curated/demo
    """
    from evalsuite.analysis.slices import find_slices
    from evalsuite.metrics.own import allowing_code
    from evalsuite.report.console import print_slices
    from winnow.files import strict_json

    with allowing_code(allow_code):
        found = find_slices(folder, only=task, curated=curated, min_rows=min_rows)
    if as_json:
        print(strict_json(found, indent=2))
    else:
        print_slices(found, top)


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
    from evalsuite.report.sentences import batch_sentence
    from evalsuite.runs.batch_check import check_batches

    found = check_batches(recipe, samples)
    for example in found["examples"]:
        print(f"{example['sample_id']}: alone {example['alone']!r}, in a batch {example['in_batch']!r}")
    print(batch_sentence(found))
    raise typer.Exit(1 if found["differ"] else 0)


def verify_java(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Texts (.txt, a caption a line) or any data that curate reads.", metavar="[FILE]..."),
    ] = None,
    generated: Annotated[int, typer.Option(min=0, help="Number of generated hard captions to check as well.")] = 2000,
    show: Annotated[int, typer.Option(min=0, help="Number of differences to print.")] = 20,
) -> None:
    """Check our tokeniser against the Java one.

    Runs the one of pycocoevalcap beside ours and prints where they differ. Needs Java and the package
    pycocoevalcap. Exits 1 if any caption differs.

    Example: evalsuite verify-java data/raw/demo/test_captions.jsonl
    """
    from evalsuite.verify_java import verify

    raise typer.Exit(verify(files or [], generated, show))


app = console.new_app(
    """Ask a vision-language model, score its answers, and show why each row scored as it did.

    A recipe names a model and tasks; answers, scores and reports go to data/evals/<name>/. `evalsuite run --help`
    shows a recipe, `evalsuite tasks` lists the tasks.

    Example: evalsuite run my.yaml
    """
)
for command in (
    tasks,
    check,
    run,
    score,
    corrections,
    report,
    explain,
    compare,
    chosen,
    forgetting,
    slices,
    check_batch,
    verify_java,
):
    app.command(command.__name__.replace("_", "-"))(command)


def main() -> None:
    """Entry point of the console script."""
    console.run(app)


if __name__ == "__main__":
    main()
