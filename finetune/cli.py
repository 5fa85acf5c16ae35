"""The ``finetune`` command."""

from __future__ import annotations

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
    from finetune.recipe import load
    from finetune.train import train as run

    run(load(recipe), fresh=fresh)


@app.callback()
def root() -> None:
    """See the commands below."""


def main() -> None:
    """Console script."""
    console.run(app)
