"""``evalsuite``: every command, in the order in which one needs them."""

from __future__ import annotations

import typer

from curate import console
from evalsuite.commands.ask import check_batch, run
from evalsuite.commands.compare import compare, slices
from evalsuite.commands.look_up import tasks, verify_java
from evalsuite.commands.score import explain, report, score

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Ask a vision-language model, score its answers, and show why each row scored as it did.\n\n"
    "A recipe names a model and tasks; answers, scores and reports land in data/evals/<name>/.\n\n"
    "Example: evalsuite run mine.yaml, where `evalsuite run --help` shows a recipe and `evalsuite tasks` the tasks.",
)
for command in (tasks, run, score, report, explain, compare, slices, check_batch, verify_java):
    app.command(command.__name__.replace("_", "-"))(command)


def main() -> None:
    """Entry point of the console script."""
    console.run(app)


if __name__ == "__main__":
    main()
