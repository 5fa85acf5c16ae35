"""A metric that nothing but its object knows: task files, scores, reports, comparison and explanations follow."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from made import made_row, write_evaluation
from typer.testing import CliRunner

from evalsuite.analysis.compare import compare_folders
from evalsuite.analysis.explain import explain
from evalsuite.cli import app
from evalsuite.metrics import METRICS, Metric, Reading
from evalsuite.metrics.base import Quantity, mean_scores, score_each
from winnow.errors import UserError

WORDS = Metric(
    name="words",
    about="Words in the answer, of which three are enough.",
    numbers={"": Quantity(title="answer words", unit="points", top=3.0, best_row=3.0, right_from=3.0)},
    score=lambda answers, options: {
        "": mean_scores(score_each(answers, lambda text, _: min(3.0, len(text.split()))), "at most three")
    },
    read_row=lambda row, options, rule: Reading(rule, row["extracted"], "", min(3.0, len(row["extracted"].split()))),
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(METRICS, "words", WORDS)
    rows = [made_row(number, "a big red dog" if number % 2 else "dog") for number in range(8)]
    return write_evaluation(tmp_path / "run", rows, metrics=["words"])


def test_scores_and_predictions_carry_what_its_number_means(run: Path) -> None:
    entry = json.loads((run / "scores.json").read_text())["tasks"]["made"]["metrics"]["words"]
    shown = {key: entry[key] for key in ("value", "title", "unit", "top", "variant", "mean_of_rows")}
    assert shown == {"value": 2.0, "title": "answer words", "unit": "points", "top": 3.0, "variant": "at most three",
                     "mean_of_rows": True}  # fmt: skip
    assert pq.read_table(run / "predictions.parquet")["words_right"].to_pylist() == [False, True] * 4


def test_reports_and_commands_show_it(run: Path) -> None:
    assert "| answer words | 2.0 |" in (run / "report.md").read_text()
    assert "answer words" in (run / "report.html").read_text()
    listed = CliRunner().invoke(app, ["tasks"], env={"COLUMNS": "200"}).output
    assert "Words in the answer, of which three are enough." in listed


def test_comparison_and_explanation_use_it(run: Path) -> None:
    task = compare_folders(run, [run])["runs"][0]["tasks"]["made"]
    assert task["metrics"]["words"]["difference"] == 0.0 and task["metrics"]["words"]["unit"] == "points"
    (found,) = explain(run, "made/test/1")
    assert [(metric.name, metric.score, metric.readings[0].score) for metric in found.metrics] == [("words", 3.0, 3.0)]


def test_an_id_without_its_file_finds_the_whole_ids(run: Path) -> None:
    with pytest.raises(UserError, match=r"no sample '1'; near it: made/test/1$"):
        explain(run, "1")
    with pytest.raises(UserError, match="no sample '§'; ids look like made/test/"):
        explain(run, "§")
