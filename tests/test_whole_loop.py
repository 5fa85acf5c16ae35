"""The whole circle on a slice: raw data → curated set → adapter → scores → pages, as the Makefile runs it."""

import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from evalsuite.report.console import print_scores
from tests.loop import IMAGES, REPO, TASKS, run

pytestmark = pytest.mark.slow


def test_every_input_row_has_a_decision(loop: Path) -> None:
    rows = pq.read_table(loop / "curated/demo/samples.parquet").to_pandas()
    decisions = pq.read_table(loop / "curated/demo/decisions.parquet").to_pandas()
    assert list(rows.sample_id) == list(decisions.sample_id)
    kept = [json.loads(line)["id"] for line in (loop / "curated/demo/samples.jsonl").read_text().splitlines()]
    assert kept == list(rows.sample_id[rows.decision != "drop"])
    assert 0 < len(kept) < len(rows)
    raw = sum(1 for _ in (loop / "raw/demo/vqa.jsonl").open())
    assert len(rows) == raw + pq.read_table(loop / "raw/demo/captions.parquet").num_rows


def test_training_saw_only_kept_rows(loop: Path) -> None:
    losses = pq.read_table(loop / "runs/demo/losses.parquet").to_pandas()
    kept = {json.loads(line)["id"] for line in (loop / "curated/demo/samples.jsonl").read_text().splitlines()}
    assert len(losses) and set(losses.sample_id) <= kept
    assert (loop / "runs/demo/loss_curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["demo-base", "demo-tuned"])
def test_scores_fit_a_terminal_of_80_columns(loop: Path, name: str) -> None:
    console = Console(width=80, file=io.StringIO())
    print_scores(loop / "evals" / name, json.loads((loop / "evals" / name / "scores.json").read_text()), console)
    printed = console.file.getvalue()
    assert "…" not in printed and all(metric in printed for metric in ("accuracy", "CIDEr-D", "question type color"))


@pytest.mark.parametrize("name", ["demo-base", "demo-tuned"])
def test_scores_are_of_the_held_out_rows(loop: Path, name: str) -> None:
    predictions = pq.read_table(loop / "evals" / name / "predictions.parquet").to_pandas()
    scores = json.loads((loop / "evals" / name / "scores.json").read_text())
    assert set(predictions.task) == set(TASKS)
    for task in TASKS:
        asked = predictions[predictions.task == task]
        assert scores["tasks"][task]["n"] == len(asked) <= 120
        for metric in scores["tasks"][task]["metrics"].values():
            assert metric["ci_low"] <= metric["value"] <= metric["ci_high"]
    assert {"report.md", "report.html", "manifest.json"} <= {path.name for path in (loop / "evals" / name).iterdir()}


def test_second_run_has_nothing_to_do(loop: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in loop.rglob("manifest.json")}
    run("curate", "run", str(loop.parent / "curate.yaml"))
    run("finetune", "train", str(loop.parent / "train.yaml"))
    run("evalsuite", "run", str(loop.parent / "tuned.yaml"))
    run("winnow.demo.dataset", "--out", f"{loop}/raw/demo", "--images", str(IMAGES))
    run("winnow.demo.vlm", "--out", f"{loop}/models/demo-vlm", "--tiny")
    assert {path: path.stat().st_mtime_ns for path in loop.rglob("manifest.json")} == before


def test_truth_is_found(loop: Path) -> None:
    run("winnow.demo.truth", "--curated", f"{loop}/curated/demo", "--truth", f"{loop}/raw/demo/truth.parquet")
    report = json.loads((loop / "curated/demo/truth_report.json").read_text())
    assert report  # figures are asserted on the full demo by `make demo-truth`; 60 images are too few
    # Which ones are corrupt is a fact about bytes, so it must be right even on a slice.
    decisions = pq.read_table(loop / "curated/demo/decisions.parquet").to_pandas().set_index("sample_id")
    truth = pq.read_table(loop / "raw/demo/truth.parquet").to_pandas()
    corrupt = truth[truth.defect.isin(["empty", "missing", "not_an_image", "truncated", "wrong_extension"])]
    assert set(decisions.loc[corrupt.sample_id].decision) == {"drop"}


@pytest.mark.parametrize("page", ["overview", "failures"])
def test_pages_open_on_these_files(loop: Path, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamlit.testing.v1 import AppTest

    monkeypatch.setenv("WINNOW_DASHBOARDS_DATA", str(loop))
    app = AppTest.from_file(str(REPO / "dashboards/app.py"), default_timeout=300).run()
    app.switch_page(str(REPO / f"dashboards/app_pages/{page}.py")).run()
    assert not app.exception
