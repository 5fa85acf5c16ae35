"""The commands that pages show exist, with these arguments."""

from __future__ import annotations

import shlex
from pathlib import Path

import typer

from curate.cli import app as curate_app
from dashboards.components import commands
from dashboards.data.catalog import scan
from evalsuite.cli import app as evalsuite_app


def test_commands_exist_with_these_arguments(data: Path, small: Path) -> None:
    run, base = scan(data).finished("evals")[:2]
    curated = scan(small).finished("curated")[0]
    lines = [
        commands.explain_answer(run, "a/b c'd", "vqa"), commands.rank_slices(run, "vqa"),
        commands.compare_runs(base, run), commands.explain_row(curated, "x;y"),
        *commands.try_thresholds(curated).splitlines(),
    ]  # fmt: skip
    for line in lines:
        program, command, *arguments = shlex.split(line)
        group = typer.main.get_command({"curate": curate_app, "evalsuite": evalsuite_app}[program])
        chosen = group.commands[command]  # type: ignore[attr-defined]
        assert chosen.make_context(command, list(arguments)).params
