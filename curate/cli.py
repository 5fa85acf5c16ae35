"""The console script ``curate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curate import console

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="""Raw image-text data in, a curated training set out, with a reason for every row.

    Measure once, decide many: `curate run` measures every image in one decode and writes the set;
    after changing a rule, `curate decide` writes it anew from the stored signals in seconds.

    Example: curate run curate/recipes/demo.yaml, then: curate explain ID --curated data/curated/demo
    """,
)
RecipeArgument = Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file, e.g. curate/recipes/photos.yaml.")]


@app.command()
def run(
    recipe: RecipeArgument,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that decode images; does not change the result. [default: CPUs]"),
    ] = None,
) -> None:
    """The whole curation: read, measure, compare, decide, write.

    Leaves data/curated/<name>/ (or `out:` of the recipe) with samples.jsonl, decisions.parquet, ledger.jsonl,
    a dataset card and a manifest. May be killed at any point: run it again and it goes on. If nothing has
    changed it says so and does nothing.

    Example: curate run my.yaml --workers 8
    """
    from curate.pipeline import run as run_pipeline
    from curate.recipe import read_recipe
    from curate.summary import show_summary

    outcome = run_pipeline(read_recipe(recipe), str(recipe), workers)
    if not outcome.seconds:
        print(f"{outcome.space.folder}: is up to date, nothing to do")
    show_summary(outcome.counts, outcome.seconds, outcome.space, str(recipe))


@app.command()
def decide(recipe: RecipeArgument) -> None:
    """Decide anew from stored signals, in seconds.

    Takes what an earlier `curate run` has measured and opens no image. For tuning: edit thresholds, rules,
    duplicates or corrections, and run this. Sources, signals and evaluation sets must be those that were measured.

    Example: curate decide my.yaml
    """
    from curate.pipeline import decide_again
    from curate.recipe import read_recipe
    from curate.summary import show_summary

    outcome = decide_again(read_recipe(recipe), str(recipe))
    show_summary(outcome.counts, outcome.seconds, outcome.space, str(recipe))


@app.command()
def explain(
    sample_id: Annotated[str, typer.Argument(metavar="SAMPLE_ID", help="Id of a row, e.g. easy_vqa/train/12.")],
    curated: Annotated[Path, typer.Option(help="A curated folder, or the recipe that made it.")],
) -> None:
    """Say why a row was kept, flagged or dropped.

    Every rule in order with its values, fired or not. Also: which row is kept in its place and how far their
    pictures are apart, and which evaluation set holds its picture.

    Example: curate explain easy_vqa/train/12 --curated data/curated/demo
    """
    from curate import explain as explaining
    from curate.recipe import read_recipe

    folder = read_recipe(curated).folder if curated.suffix in (".yaml", ".yml") else curated
    explaining.show(explaining.explain(folder, sample_id))


@app.command()
def inspect(
    location: Annotated[str, typer.Argument(metavar="LOCATION", help="A file, a folder or a data package's name.")],
    as_name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Read it as this layout instead of recognising it.")
    ] = None,
    image_root: Annotated[str | None, typer.Option(help="Folder that its image paths are relative to.")] = None,
) -> None:
    """Say what a dataset holds before it is curated.

    Layout, counts, three rows, what is wrong. Reads every row and decodes 200 of the images. Writes nothing.

    Example: curate inspect data/raw/demo/vqa.jsonl --image-root data/raw/demo
    """
    from curate.inspect import inspect_location, show_inspection

    show_inspection(inspect_location(location, as_name, image_root=image_root))


@app.command()
def signals() -> None:
    """List the columns that rules may use.

    With type, unit, range and formula.

    Example: curate signals
    """
    from rich.console import Console

    from curate.explain import columns_table

    Console().print(columns_table())


def main() -> None:
    """Entry point of the console script."""
    console.run(app)
