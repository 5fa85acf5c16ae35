"""The console script ``finetune``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from winnow import console

if TYPE_CHECKING:
    from finetune.recipe import TrainRecipe

app = console.new_app(
    """Fine-tune a vision-language model on a curated set: QLoRA, loss on answers only, exact resume.

    The usual order: `finetune plan` checks recipe, data and model, `finetune preview` shows what is trained,
    `finetune train` trains, `finetune merge` writes a merged checkpoint. Start from a copy of a recipe in
    finetune/recipes/.

    Example: finetune plan my.yaml, then: finetune train my.yaml
    """
)
RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file, e.g. finetune/recipes/demo.yaml.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of `finetune train`.")]
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
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete an earlier run of this name and start again.")] = False,
    max_reject: MaxReject = None,
) -> None:
    """Train, and write adapter, losses, metrics and a report.

    After a kill, the same command resumes from the last checkpoint and ends with the same adapter. A finished
    run returns at once.

    Several GPUs: accelerate launch --config_file finetune/accelerate/ddp.yaml -m finetune train RECIPE;
    the same folder has fsdp2.yaml, zero2.yaml and zero3.yaml.

    Example: finetune train finetune/recipes/demo.yaml
    """
    # Read when torch starts its threads, which wait by spinning otherwise: beside another busy
    # process on a small machine, a training step then takes ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from finetune.training.run import train as run_training

    run_training(_load(recipe, max_reject), fresh=fresh)


@app.command()
def plan(recipe: RecipePath, max_reject: MaxReject = None) -> None:
    """Show what would be trained and at what cost, without loading a weight.

    Prints the resolved recipe, versions and digests, rows accepted and rejected, the table of model parts,
    and tokens by pixel cap. Lower max_pixels or max_length if there are too many tokens.

    Example: finetune plan my.yaml
    """
    import tempfile

    asked = _load(recipe, max_reject)
    from finetune.training.run import dry_run

    with tempfile.TemporaryDirectory() as folder:
        dry_run(asked, Path(folder))


@app.command()
def preview(
    recipe: RecipePath,
    rows: Annotated[int, typer.Option(min=1, help="Conversations to show of each source.")] = 2,
    html: Annotated[Path | None, typer.Option(help="Also write a page to this file.")] = None,
) -> None:
    """Show which tokens would be trained, in colour.

    Loads no weight. Green tokens are trained. For every source, a summary gives the share of trained tokens and
    whether answers end in a stop token.

    Example: finetune preview my.yaml --rows 3 --html preview.html
    """
    import tempfile

    asked = _load(recipe, None)
    from finetune.report.preview import preview as show

    with tempfile.TemporaryDirectory() as folder:
        show(asked, per_source=rows, page=html, rejects=Path(folder) / "rejects.jsonl")


@app.command()
def merge(
    run: RunArgument,
    out: Annotated[Path, typer.Option(help="New folder for the merged checkpoint.")],
    into: Annotated[
        str | None,
        typer.Option(help="Base: dequantized or original. [default: both are measured, the closer one is taken]"),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Prompts on which both models are compared.")] = 16,
) -> None:
    """Merge the adapter into a full checkpoint that answers the same.

    The result is reloaded in a new process and compared with the adapter model on held-out rows: logits,
    greedy answers, prompt tokens. The verdict goes to OUT/merge.json; a failed comparison exits with code 2.

    Example: finetune merge data/runs/my --out data/models/my
    """
    from finetune.export.merge import merge as run_merge
    from finetune.export.merge import parse_into

    run_merge(run, out, into=parse_into(into), count=rows)


@app.command()
def parity(
    run: RunArgument,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="http://HOST:PORT/v1 of a server, or a folder.")],
    model: Annotated[str | None, typer.Option(help="Model name at the server. [default: the first it lists]")] = None,
    rows: Annotated[int, typer.Option(min=1, help="How many of the kept prompts to ask.")] = 16,
    out: Annotated[Path | None, typer.Option(help="Also write the verdict to this JSON file.")] = None,
) -> None:
    """Compare a served or merged model with the trained one.

    Compares prompt tokens and greedy answers on prompts kept in the run. Exits with code 2 if they differ;
    another chat template, image size or merge is the usual cause.

    Example: finetune parity data/runs/my http://127.0.0.1:8000/v1
    """
    from finetune.export.parity import parity as run_parity

    run_parity(run, target, model=model, count=rows, out=out)


def main() -> None:
    """Console script."""
    console.run(app)
