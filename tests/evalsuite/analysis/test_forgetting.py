"""What training taught and what it made a model forget: kinds of tasks, verdicts, names that are not there."""

import json

import pytest
from made import made_row, spec_of
from typer.testing import CliRunner

from evalsuite.analysis.forgetting import forgetting
from evalsuite.cli import app
from evalsuite.runs.finish import UnscoredRun, finish
from evalsuite.tasks.spec import dumped
from winnow.errors import UserError


def evaluation(folder, **right):
    """An evaluation of tasks with 60 rows each: name → how many are right."""
    folder.mkdir()
    specs = {name: spec_of(name) for name in right}
    rows = {
        name: [made_row(n, "red" if n < count else "blue") | {"task": name} for n in range(60)]
        for name, count in right.items()
    }
    extra = {"task_specs": dumped(specs), "image_root": dict.fromkeys(specs, str(folder)), "skipped": {}}
    recipe = {"name": folder.name, "seed": 0, "baseline": None, "version": 0}
    finish(folder, UnscoredRun(folder.name, "a model", specs, rows, 0, None, recipe, {}, extra, {}))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evals")
    before = evaluation(folder / "before", new=6, old=54, same=30)
    return before, evaluation(folder / "after", new=48, old=30, same=31), evaluation(folder / "kept", new=40, old=54)


def test_losses_and_gains_have_their_names(runs):
    before, after, _ = runs
    (run,) = forgetting(before, [after], ["new"])["runs"]
    assert [(task["task"], task["kind"], task["verdict"]) for task in run["tasks"]] == [
        ("new", "vertical", "learned"), ("old", "general", "forgotten"), ("same", "general", "no loss found"),
    ]  # fmt: skip
    old = run["tasks"][1]
    assert (old["n"], old["a"], old["b"]) == (60, 0.9, 0.5) and old["ci_low"] < old["difference"] < old["ci_high"] < 0
    (turned,) = forgetting(before, [after], ["old"], ["new"])["runs"]
    assert [(task["task"], task["verdict"]) for task in turned["tasks"]] == [("old", "worse"), ("new", "gained")]


def test_several_runs_and_files(runs, tmp_path):
    before, after, kept = runs
    arguments = ["forgetting", str(before), str(after), str(kept), "--vertical", "new", "--out"]
    result = CliRunner().invoke(app, [*arguments, str(tmp_path / "found.json")])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert [[task["verdict"] for task in run["tasks"] if task["task"] == "old"] for run in found["runs"]] == [
        ["forgotten"], ["no loss found"],
    ]  # fmt: skip
    assert CliRunner().invoke(app, [*arguments, str(tmp_path / "found.md")]).exit_code == 0
    line = next(line for line in (tmp_path / "found.md").read_text().splitlines() if line.startswith("| old "))
    assert "| 90.0 | 50.0 | −40.0 |" in line and line.endswith("| forgotten |")


def test_a_task_that_is_not_shared_is_named(runs):
    before, after, kept = runs
    with pytest.raises(UserError, match="share no rows of 'other'; they share new, old, same"):
        forgetting(before, [after], ["other"])
    with pytest.raises(UserError, match="share no rows of 'same'"):
        forgetting(before, [kept], ["new"], ["same"])
