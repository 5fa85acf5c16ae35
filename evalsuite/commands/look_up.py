"""Commands that need no evaluation: ``tasks`` and ``verify-java``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def tasks() -> None:
    """List the tasks that ship, and show how to write one.

    Each says where it expects the benchmark as it is published. With the data elsewhere, or another prompt,
    write a file and name its path in a recipe; keys that it has replace those of its base:

    \b
    base: textvqa
    source: {location: my/TextVQA_0.5.1_val.json}

    A task of your own needs no base: a JSONL, CSV or Parquet with image, question and answers.

    \b
    name: receipts
    source: {location: my/receipts.jsonl, image_root: my/pictures}
    prompt: "{question} Answer with a few words."
    metrics: [anls, accuracy]
    slices: [shop]

    Metrics: accuracy, vqa_accuracy, anls, relaxed_accuracy, gqa, multiple_choice, mmmu, pope, mme,
    unanswerable, bleu, rouge_l, cider. `remote: {}` fetches images behind web addresses.
    """
    from evalsuite.report.console import print_tasks
    from evalsuite.tasks.spec import load_spec, shipped_tasks

    print_tasks({name: load_spec(name) for name in shipped_tasks()})


def verify_java(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Texts (.txt, a caption a line) or any data that curate reads.", metavar="[FILE]..."),
    ] = None,
    generated: Annotated[int, typer.Option(min=0, help="Check so many generated hard captions as well.")] = 2000,
    show: Annotated[int, typer.Option(min=0, help="Print at most so many differences.")] = 20,
) -> None:
    """Check our tokeniser against the Java one.

    Runs the one of pycocoevalcap beside ours and prints where they differ. Needs Java and the package
    pycocoevalcap. Exits 1 if any caption differs.

    Example: evalsuite verify-java data/raw/demo/test_captions.jsonl
    """
    from evalsuite.java import verify

    raise typer.Exit(verify(files or [], generated, show))
