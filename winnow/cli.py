"""The console script ``winnow``: the five commands under one name, the demo, and a look at this installation."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from winnow import console

app = console.new_app(
    """Curate image-text data, fine-tune a vision-language model on it, and see why it still fails.

    `winnow demo` runs the whole loop offline on a small example, `winnow doctor` says what is installed. Every
    stage is a command of its own too: `winnow curate run my.yaml` is `curate run my.yaml`.

    Example: winnow demo
    """
)
# What follows the name is the stage's own command line, --help included.
_PASSED_ON = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "allow_interspersed_args": False,
    "help_option_names": [],
}
STAGES = {
    "curate": "Turn raw image-text data into a curated training set.",
    "finetune": "Fine-tune a vision-language model on a curated set.",
    "evalsuite": "Ask a model, score its answers, explain each score.",
    "serve": "Serve a trained model, and check that what is served is what was trained.",
    "dashboards": "Look at sets, trainings and evaluations in a browser.",
}


def _add_stage(stage: str, summary: str) -> None:
    @app.command(stage, help=summary, add_help_option=False, context_settings=_PASSED_ON)
    def command(context: typer.Context) -> None:
        package = "serving" if stage == "serve" else stage
        console.run(importlib.import_module(f"{package}.cli").app, context.args, name=f"winnow {stage}")


for _stage, _summary in STAGES.items():
    _add_stage(_stage, _summary)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo makes.")] = Path("data"),
    only: Annotated[str | None, typer.Option(metavar="curate|train|eval", help="Run only this part.")] = None,
    images: Annotated[
        int | None, typer.Option(min=20, help="Take only the first N of the 4,000 training images. [default: all]")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps. [default: 320]")] = None,
    questions: Annotated[int | None, typer.Option(min=1, help="Questions asked of a task. [default: all]")] = None,
) -> None:
    """Run the whole loop offline on a small example.

    Writes easy-vqa with known defects, curates it, builds a small vision-language model, trains it with QLoRA,
    and evaluates it before and after. Needs no GPU; run it again and it resumes. The recipes that it uses are
    left in OUT/recipes/.

    Example: winnow demo --images 400 --steps 40 --questions 200
    """
    from winnow.demo.loop import run_demo

    run_demo(out, only=only, images=images, steps=steps, questions=questions)


@app.command()
def doctor(
    recipes: Annotated[
        list[Path] | None, typer.Argument(metavar="[RECIPE]...", help="Recipes to look at: what would they need?")
    ] = None,
) -> None:
    """Say what is installed, and what a recipe would need.

    Versions, hardware and optional packages of this installation. With recipes: whether their data, models and
    packages are here, and how much memory the weights take. Loads no model and asks no network. Exits with
    code 1 if a recipe misses something.

    Example: winnow doctor my-training.yaml
    """
    from winnow.doctor import examine

    raise typer.Exit(0 if examine(recipes or []) else 1)


def _show_version(wanted: bool) -> None:
    if wanted:
        from winnow.run import git_commit, installed_version

        commit = git_commit()
        print(f"winnow {installed_version() or 'of unknown version'}{f' ({commit[:12]})' if commit else ''}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of ``winnow`` itself."""


def main() -> None:
    """Entry point of the console script."""
    console.run(app)


if __name__ == "__main__":
    main()
