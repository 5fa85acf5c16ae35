"""The ``finetune`` command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from curate import console

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Fine-tune a vision-language model on a curated set: QLoRA, loss on answers only, exact resume.",
)
RecipePath = Annotated[Path, typer.Argument(help="Training recipe (YAML), e.g. finetune/recipes/demo.yaml.")]


@app.command()
def train(
    recipe: RecipePath,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete an earlier run of this name and start anew.")] = False,
) -> None:
    """Train RECIPE and leave adapter, losses, metrics and manifest in its run folder.

    Started again after a kill, the same command goes on from the last checkpoint and ends
    with the same adapter. A finished run returns at once.
    """
    # Read when torch starts its threads. By default they wait by spinning: next to any other busy
    # process on a small machine, a training step takes ten times as long. A short spin before they
    # sleep is as fast as spinning where nothing else runs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    from finetune.recipe import load
    from finetune.train import train as run

    run(load(recipe), fresh=fresh)


@app.command()
def preview(
    recipe: RecipePath,
    rows: Annotated[int, typer.Option(min=1, help="Conversations to show of each source.")] = 2,
    html: Annotated[Path | None, typer.Option(help="Also write a page to this file.")] = None,
) -> None:
    """Show the tokens that RECIPE would train, in colour, before any weight is loaded.

    Green tokens are trained. Says for every source which share of the tokens that is and
    whether answers end in a stop token.
    """
    import tempfile

    from finetune.preview import preview as show
    from finetune.recipe import load

    with tempfile.TemporaryDirectory() as folder:
        show(load(recipe), per_source=rows, page=html, rejects=Path(folder) / "rejects.jsonl")


@app.command()
def merge(
    run: Annotated[Path, typer.Argument(help="Run folder of `finetune train`.")],
    out: Annotated[Path, typer.Option(help="New folder for the merged checkpoint.")],
    rows: Annotated[int, typer.Option(min=1, help="Conversations on which both models are compared.")] = 16,
) -> None:
    """Merge the adapter of RUN into a full checkpoint that answers like the trained model.

    The 4-bit base is dequantised first, so the result is the function that was trained. Merged
    and adapter model are compared on rows of the training data; the figures go to OUT/merge.json.
    """
    from finetune.merge import merge as run_merge

    run_merge(run, out, count=rows)


@app.callback()
def root() -> None:
    """See the commands below."""


def main() -> None:
    """Console script."""
    console.run(app)
