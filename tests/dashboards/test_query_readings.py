"""What the metrics compared, the commands that say the same, and the agreement of reviewers."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pandas as pd
import pytest
import typer

from curate.cli import app as curate_app
from dashboards.components import commands
from dashboards.data.answers import answers_of
from dashboards.data.catalog import Folder, scan
from dashboards.data.engine import connect
from dashboards.data.predictions import open_predictions
from dashboards.data.reviews import agreements, decisions_of
from dashboards.data.scores import metric_explanations
from evalsuite.cli import app as evalsuite_app
from evalsuite.tasks.spec import dumped, load_spec
from tests.dashboards.test_corrections_log import _line
from tests.dashboards.test_pages import _open
from winnow.corrections import Action


def _with_task(own: Path) -> Folder:
    """The tuned run, its manifest holding the task as the evaluation writes it."""
    place = own / "evals" / "demo-tuned" / "manifest.json"
    manifest = json.loads(place.read_text())
    spec = load_spec("easy_vqa").model_copy(update={"name": "vqa"})
    place.write_text(json.dumps(manifest | {"task_specs": dumped({"vqa": spec})}))
    path = place.with_name("predictions.parquet")
    frame = pd.read_parquet(path)
    frame.at[0, "extracted"] = "The Two!"
    frame["references"] = [["two", "2", "three"], *list(frame["references"])[1:]]
    frame.to_parquet(path)
    folder = scan(own).find("evals", "demo-tuned")
    assert folder
    return folder


def test_readings_are_the_evaluations_own(own: Path) -> None:
    folder, connection = _with_task(own), connect(own)
    (answer,) = answers_of(
        connection, open_predictions(connection, folder.file("predictions.parquet")), "easy_vqa/test/0"
    )
    found = metric_explanations(folder, answer)
    assert {metric for read in found for metric in read.metrics} == set(load_spec("easy_vqa").metrics)
    assert {(read.text, read.matched) for read in found} == {("2", "2 of 3")}


def test_the_sample_page_shows_them_and_does_without(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _with_task(own)
    app = _open(own, monkeypatch, "sample", id="easy_vqa/test/0", run="demo-tuned")
    (table,) = [frame.value for frame in app.dataframe if "Compared by" in frame.value]
    assert set(table["Normalised answer"]) == {"2"} and set(table["Matched"]) == {"2 of 3"}
    assert "evalsuite explain" in app.code[-1].value


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


def test_kappa() -> None:
    """Three of four alike; chance is 0.5 * 0.25 + 0.5 * 0.75."""
    ours: tuple[Action, ...]
    theirs: tuple[Action, ...]
    ours, theirs = ("keep", "keep", "drop", "drop"), ("keep", "drop", "drop", "drop")
    judged: list[tuple[str, int, Action]] = []
    for who, verdicts in (("ann", ours), ("bob", theirs)):
        judged += [(who, row, verdict) for row, verdict in enumerate(verdicts)]
    judged.append(("eve", 0, "tag"))
    lines = [_line(number, verdict, who, sample_id=str(row)) for number, (who, row, verdict) in enumerate(judged)]
    (found,) = agreements(decisions_of(lines))
    assert (found.first, found.second, found.n, found.observed) == ("ann", "bob", 4, 0.75)
    assert found.kappa == pytest.approx((0.75 - 0.5) / 0.5)
    (alike,) = agreements(decisions_of([line for line in lines if line.sample_id == "0" and line.action != "tag"]))
    assert alike.observed == 1 and alike.kappa is None
