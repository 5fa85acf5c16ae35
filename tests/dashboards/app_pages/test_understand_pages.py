"""Pages that compare answers: the confusion matrix on Slices, and several runs side by side."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest

from tests.dashboards.pages import captions, cards, open_page, table

_MATRIX, _ROWS = "Rows by expected and given answer", "Answers of each run"


def test_a_cell_of_the_confusion_matrix_leads_to_as_many_cases(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(data, monkeypatch, "slices", slices_task="vqa", run="demo-base")
    matrix = table(app, _MATRIX) or []
    cells = [cell for row in matrix for cell in row if "href" in cell]
    assert sum(int(cell["text"]) for cell in cells) == 40
    assert {cell["tone"] for cell in cells} == {"good", "bad"}
    worst = max((cell for cell in cells if cell["tone"] == "bad"), key=lambda cell: int(cell["text"]))
    address = urlsplit(worst["href"])
    parameters = {name: values[-1] for name, values in parse_qs(address.query).items()}
    assert address.path == "failures" and {"expected", "answered"} <= set(parameters)
    shown = cards(open_page(data, monkeypatch, "failures", **parameters))
    assert len(shown) == int(worst["text"])
    answers = pd.read_parquet(data / "evals" / "demo-base" / "predictions.parquet").set_index("sample_id")
    rows = answers.loc[[card["id"] for card in shown]]
    assert {list(references) == [parameters["expected"]] for references in rows["references"]} == {True}


def test_shares_of_a_line_add_up(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(data, monkeypatch, "slices", slices_task="vqa", confusion_numbers="Share of the line")
    matrix = table(app, _MATRIX) or []
    for row in matrix:
        shares = [float(cell["text"].rstrip("%")) for cell in row if "href" in cell]
        assert sum(shares) == pytest.approx(100, abs=0.5)


def test_open_answers_are_said_to_be_open(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = own / "evals" / "demo-tuned" / "predictions.parquet"
    frame = pd.read_parquet(path)
    frame["references"] = [[f"answer {number}"] for number in range(len(frame))]
    frame.to_parquet(path)
    app = open_page(own, monkeypatch, "slices", slices_task="vqa", run="demo-tuned")
    assert "The answers of this task are open" in captions(app)
    app = open_page(own, monkeypatch, "slices", slices_task="vqa", run="demo-base")
    assert "are open" not in captions(app)


def test_runs_stand_side_by_side(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(data, monkeypatch, "side_by_side", runs=["demo-tuned", "demo-base"], side_task="vqa")
    rows, pairs = table(app, _ROWS) or [], table(app, "Agreement of every two runs") or []
    frames = [pd.read_parquet(data / "evals" / name / "predictions.parquet") for name in ("demo-tuned", "demo-base")]
    tuned, base = (frame[frame["task"] == "vqa"].reset_index(drop=True) for frame in frames)
    assert "40 rows asked of all 2 runs" in captions(app) and len(rows) == 24
    for number, (_, expected, agreement, first, second) in enumerate(rows):
        right = [bool(tuned["accuracy"][number]), bool(base["accuracy"][number])]
        assert expected["text"] == tuned["references"][number][0]
        assert [cell["tone"] for cell in (first, second)] == ["good" if value else "bad" for value in right]
        assert agreement["text"] == {2: "all right", 1: "1 of 2 right", 0: "all wrong"}[sum(right)]
    same = (tuned["accuracy"] == base["accuracy"]).mean()
    assert pairs[1][1]["text"] == f"{100 * same:.1f}%"


def test_a_pattern_narrows_the_rows(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(
        data, monkeypatch, "side_by_side", runs=["demo-tuned", "demo-base"], side_task="vqa", right="demo-tuned",
        wrong="demo-base", pattern="Split",
    )  # fmt: skip
    frames = [pd.read_parquet(data / "evals" / name / "predictions.parquet") for name in ("demo-tuned", "demo-base")]
    fixed = int(((frames[0]["accuracy"] == 1) & (frames[1]["accuracy"] == 0)).sum())
    assert f"1–{min(fixed, 24)} of {fixed} rows" in captions(app)
    shown = table(app, _ROWS) or []
    assert {(row[3]["tone"], row[4]["tone"]) for row in shown} == {("good", "bad")}
    address = parse_qs(urlsplit(shown[0][0]["href"]).query)
    assert parse_qs(address["view"][0])["list"] == ["runs"] and parse_qs(address["view"][0])["right"] == ["demo-tuned"]


def test_the_largest_task_comes_first(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(data, monkeypatch, "side_by_side")
    assert app.selectbox(key="side_task").options == ["vqa", "caption"]
    captioned = table(open_page(data, monkeypatch, "side_by_side", side_task="caption"), _ROWS)
    assert captioned and all(row[2]["note"] == "" for row in captioned), "no metric judges captions"


@pytest.fixture
def many(own: Path) -> Path:
    """Twenty runs more, of which the last written is the newest; their names are those of checkpoints."""
    for number in range(20):
        folder = own / "evals" / f"llava-v1.6-mistral-7b-lora-r64-alpha128-cosine-curated-step-{1000 + number}"
        shutil.copytree(own / "evals" / "demo-tuned", folder)
        os.utime(folder / "manifest.json", (2e9 + number, 2e9 + number))
    return own


def test_many_runs_do_not_stack(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(many, monkeypatch, "overview", run="demo-base", base="demo-tuned")
    assert "6 of 22 runs: the chosen one, its baseline and those above." in captions(app)
    newest = [f"llava-v1.6-mistral-7b-lora-r64-alpha128-cosine-curated-step-{step}" for step in range(1019, 1015, -1)]
    assert app.multiselect(key="chart").value == newest
    rows = table(app, "Scores of all evaluations") or []
    assert len(rows) == 22 and rows[0][0]["title"] == newest[0]
    assert len({row[0]["text"] for row in rows}) == 22 and all(len(row[0]["text"]) <= 44 for row in rows)
    app.multiselect(key="chart").set_value([]).run()
    assert "2 of 22 runs" in captions(app) and not app.exception
    app.selectbox(key="run").set_value(newest[0]).run()
    assert newest[0] in [text.value for text in app.text], "a name that its box cuts off stands below it"


def test_one_run_is_not_compared(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(data, monkeypatch, "side_by_side", runs=["demo-tuned"])
    assert "Choose two or more runs" in captions(app) and table(app, _ROWS) is None


@pytest.mark.parametrize(("page", "key"), [("slices", "slices_task"), ("compare", "compare_task")])
def test_a_task_with_right_and_wrong_rows_is_shown_first(
    data: Path, monkeypatch: pytest.MonkeyPatch, page: str, key: str
) -> None:
    box = open_page(data, monkeypatch, page, run="demo-tuned", base="demo-base").selectbox(key=key)
    assert (box.value, box.options) == ("vqa", ["vqa", "caption"])
