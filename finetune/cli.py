"""The ``finetune`` command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from winnow import errors

if TYPE_CHECKING:
    from finetune.recipe import TrainRecipe

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Fine-tune a vision-language model on a curated set: QLoRA, loss on answers only, exact resume.\n\n"
    "In this order: `finetune plan my.yaml` checks data and model, `finetune preview my.yaml` shows what is trained, "
    "`finetune train my.yaml` trains, `finetune merge data/runs/my --out data/models/my` makes one checkpoint. "
    "Copy a recipe from finetune/recipes to start with.",
)
RecipePath = Annotated[Path, typer.Argument(help="Training recipe (YAML), e.g. finetune/recipes/demo.yaml.")]


MaxReject = Annotated[
    float | None, typer.Option(min=0, max=1, help="Largest share of rows that may be rejected; overrides the recipe.")
]


def _load(path: Path, max_reject: float | None) -> TrainRecipe:
    from finetune.recipe import load

    recipe = load(path)
    return recipe if max_reject is None else recipe.model_copy(update={"max_reject": max_reject})


@app.command()
def train(
    recipe: RecipePath,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete an earlier run of this name and start anew.")] = False,
    max_reject: MaxReject = None,
) -> None:
    """Train RECIPE and leave adapter, losses, metrics, report and manifest in its run folder.

    Example: `finetune train finetune/recipes/demo.yaml`

    Started again after a kill, the same command goes on from the last checkpoint and ends
    with the same adapter. A finished run returns at once.

    Several GPUs: `accelerate launch --config_file finetune/accelerate/ddp.yaml -m finetune train RECIPE`;
    fsdp2.yaml, zero2.yaml and zero3.yaml lie beside it.
    """
    # Read when torch starts its threads. By default they wait by spinning: next to any other busy
    # process on a small machine, a training step takes ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from finetune.training.run import train as run

    run(_load(recipe, max_reject), fresh=fresh)


@app.command()
def plan(recipe: RecipePath, max_reject: MaxReject = None) -> None:
    """Check RECIPE, its data and its model without loading a weight: what would train, on what, at what cost.

    Example: `finetune plan my.yaml`, then lower max_pixels or max_length if the table of tokens is too large.

    Prints the resolved recipe, versions and digests, rows accepted and rejected, the table of
    module groups, and tokens by pixel cap.
    """
    import tempfile

    from finetune.training.run import dry_run

    with tempfile.TemporaryDirectory() as folder:
        dry_run(_load(recipe, max_reject), Path(folder))


@app.command()
def preview(
    recipe: RecipePath,
    rows: Annotated[int, typer.Option(min=1, help="Conversations to show of each source.")] = 2,
    html: Annotated[Path | None, typer.Option(help="Also write a page to this file.")] = None,
) -> None:
    """Show the tokens that RECIPE would train, in colour, before any weight is loaded.

    Example: `finetune preview my.yaml --rows 3 --html preview.html`

    Green tokens are trained. Says for every source which share of the tokens that is and
    whether answers end in a stop token.
    """
    import tempfile

    from finetune.report.preview import preview as show

    with tempfile.TemporaryDirectory() as folder:
        show(_load(recipe, None), per_source=rows, page=html, rejects=Path(folder) / "rejects.jsonl")


@app.command()
def merge(
    run: Annotated[Path, typer.Argument(help="Run folder of `finetune train`.")],
    out: Annotated[Path, typer.Option(help="New folder for the merged checkpoint.")],
    into: Annotated[
        str | None,
        typer.Option(help="dequantized or original base. Default: both are measured, the closer one is taken."),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Prompts on which both models are compared.")] = 16,
) -> None:
    """Merge the adapter of RUN into a full checkpoint that answers like the trained model.

    Example: `finetune merge data/runs/my --out data/models/my`

    The result is reloaded in a new process and compared with the adapter model on held-out rows:
    logits, greedy answers, prompt tokens. The verdict goes to OUT/merge.json; a failed comparison
    exits with code 2.
    """
    from finetune.export.merge import merge as run_merge
    from finetune.export.merge import parse_into

    run_merge(run, out, into=parse_into(into), count=rows)


@app.command()
def parity(
    run: Annotated[Path, typer.Argument(help="Run folder of `finetune train`.")],
    target: Annotated[str, typer.Argument(help="http://HOST:PORT/v1 of an OpenAI-compatible server, or a folder.")],
    model: Annotated[str | None, typer.Option(help="Model name at the server. Default: the first it lists.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="How many of the kept prompts to ask.")] = 16,
    out: Annotated[Path | None, typer.Option(help="Also write the verdict to this JSON file.")] = None,
) -> None:
    """Ask TARGET the prompts kept in RUN and compare prompt tokens and greedy answers with the trained model.

    Example: `finetune parity data/runs/my http://127.0.0.1:8000/v1`

    Exits with code 2 if they differ: another chat template, image size or merge is the usual cause.
    """
    from finetune.export.parity import parity as run_parity

    run_parity(run, target, model=model, count=rows, out=out)


@app.callback()
def root() -> None:
    """See the commands below."""


def main() -> None:
    """Console script."""
    errors.run(app)
