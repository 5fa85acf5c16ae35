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
    "The usual order: `finetune plan my.yaml` checks data and model, `finetune preview my.yaml` shows what is trained, "
    "`finetune train my.yaml` trains, `finetune merge data/runs/my --out data/models/my` writes a merged checkpoint. "
    "Start from a recipe in finetune/recipes.",
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
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete an earlier run of this name and start again.")] = False,
    max_reject: MaxReject = None,
) -> None:
    """Train RECIPE; write adapter, losses, metrics, report and manifest to its run folder.

    Example: `finetune train finetune/recipes/demo.yaml`

    After a kill, the same command resumes from the last checkpoint and ends with the same
    adapter. A finished run returns at once.

    On several GPUs: `accelerate launch --config_file finetune/accelerate/ddp.yaml -m finetune train RECIPE`;
    the same folder has fsdp2.yaml, zero2.yaml and zero3.yaml.
    """
    # Read when torch starts its threads, which wait by spinning otherwise: beside another busy
    # process on a small machine, a training step then takes ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from finetune.training.run import train as run_training

    run_training(_load(recipe, max_reject), fresh=fresh)


@app.command()
def plan(recipe: RecipePath, max_reject: MaxReject = None) -> None:
    """Check RECIPE, its data and its model without loading a weight, and show what training would cost.

    Example: `finetune plan my.yaml`; lower max_pixels or max_length if images cost too many tokens.

    Prints the resolved recipe, versions, digests, accepted and rejected rows, the parts of the
    model with their state, and tokens by pixel cap.
    """
    import tempfile

    from finetune.training.run import dry_run

    with tempfile.TemporaryDirectory() as folder:
        dry_run(_load(recipe, max_reject), Path(folder))


@app.command()
def preview(
    recipe: RecipePath,
    rows: Annotated[int, typer.Option(min=1, help="Conversations to show per source.")] = 2,
    html: Annotated[Path | None, typer.Option(help="Also write an HTML page to this file.")] = None,
) -> None:
    """Show the tokens that RECIPE would train, in colour, without loading a weight.

    Example: `finetune preview my.yaml --rows 3 --html preview.html`

    Trained tokens are green. For every source, a summary gives the share of trained tokens and
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
        typer.Option(help="Base to merge into: dequantized or original. Default: the closer of the two, measured."),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Prompts on which the two models are compared.")] = 16,
) -> None:
    """Merge the adapter of RUN into a full checkpoint that answers like the trained model.

    Example: `finetune merge data/runs/my --out data/models/my`

    The result is reloaded in a new process and its logits, greedy answers and prompt tokens are
    compared with the adapter model's on held-out rows. The figures go to OUT/merge.json; if the
    models differ, the exit code is 2.
    """
    from finetune.export.merge import merge as run_merge
    from finetune.export.merge import parse_into

    run_merge(run, out, into=parse_into(into), count=rows)


@app.command()
def parity(
    run: Annotated[Path, typer.Argument(help="Run folder of `finetune train`.")],
    target: Annotated[str, typer.Argument(help="http://HOST:PORT/v1 of an OpenAI-compatible server, or a folder.")],
    model: Annotated[str | None, typer.Option(help="Name of the served model. Default: the first listed.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Number of stored prompts to compare on.")] = 16,
    out: Annotated[Path | None, typer.Option(help="Also write the figures to this JSON file.")] = None,
) -> None:
    """Compare a served model or a checkpoint folder, TARGET, with the trained model of RUN.

    Example: `finetune parity data/runs/my http://127.0.0.1:8000/v1`

    Compares prompt tokens and greedy answers on the prompts stored in RUN. If they differ, the exit
    code is 2; the usual causes are another chat template, image size or merge.
    """
    from finetune.export.parity import parity as run_parity

    run_parity(run, target, model=model, count=rows, out=out)


@app.callback()
def root() -> None:
    """See the commands below."""


def main() -> None:
    """Console script."""
    errors.run(app)
