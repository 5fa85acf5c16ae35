"""Corrected labels of others as corrections: RePOPE's published files, and what they change."""

import json
from pathlib import Path
from typing import Any

import pytest
from made import made_row, write_evaluation
from typer.testing import CliRunner

from evalsuite.analysis.relabel import relabel
from evalsuite.cli import app
from evalsuite.runs.finish import rescore
from winnow.corrections import read_corrections
from winnow.errors import UserError

# A line in the form of RePOPE's annotations (YanNeu/RePOPE bcf22e5).
LINE = '{{"question_id": {}, "image": "COCO_val2014_{:012}.jpg", "text": "Is there a {} in the image?", "label": "{}"}}'
CORRECTED = {0: "yes", 1: "no", 2: "no", 3: "yes", 4: "yes", 5: "no", 7: "no"}  # of eight, one is gone, two differ
OBJECTS = ["snowboard", "car", "person", "bus", "dog", "dining table", "cup", "clock"]


def labels(path: Path, answers: dict[int, str]) -> Path:
    lines = [LINE.format(n + 1, 310196 + n // 6, OBJECTS[n], answer) for n, answer in answers.items()]
    path.write_text("\n".join(lines))
    return path


def pope_row(number: int, category: str, answer: str, raw: str) -> dict[str, Any]:
    image = f"val2014/COCO_val2014_{310196 + number // 6:012}.jpg"
    row = made_row(number, raw, references=[answer], slice_category=category)
    question = f"Is there a {OBJECTS[number]} in the image?"
    return {**row, "sample_id": f"pope/{category}/{number + 1}", "images": [image], "question": question}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    right = ["yes", "no", "yes", "no", "yes", "no", "yes", "no"]
    rows = [pope_row(n, category, right[n], "yes") for category in ("random", "popular") for n in range(8)]
    return write_evaluation(tmp_path / "run", rows, metrics=["accuracy"], slices=["category"])


def test_changed_labels_are_relabelled_and_missing_ones_excluded(run: Path, tmp_path: Path) -> None:
    published = labels(
        tmp_path / "coco_repope_random.json", {0: "yes", 1: "no", 2: "no", 3: "yes", 4: "yes", 5: "no", 7: "no"}
    )
    found = relabel(run, [published], tmp_path / "out", "RePOPE")
    assert (found.same, found.changed, found.excluded) == (5, 2, 1), "popular is not among these labels"
    lines = read_corrections(tmp_path / "out")
    assert {(line.sample_id, line.action, tuple(line.new or ())) for line in lines} == {
        ("pope/random/3", "relabel", ("no",)), ("pope/random/4", "relabel", ("yes",)),
        ("pope/random/7", "exclude_from_eval", ()),
    }  # fmt: skip
    assert {line.reviewer for line in lines} == {"RePOPE"} and found.path.name == "repope.jsonl"


def test_scores_are_given_with_the_corrected_labels(run: Path, tmp_path: Path) -> None:
    published = labels(
        tmp_path / "coco_repope_random.json", {0: "yes", 1: "no", 2: "no", 3: "yes", 4: "yes", 5: "no", 7: "no"}
    )
    command = ["corrections", str(run), str(published), "--out", str(tmp_path / "out"), "--reviewer", "RePOPE"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0 and "Labels changed: 2, rows excluded: 1, as they are: 5" in done.output
    corrected = rescore(run, [], tmp_path / "out")["tasks"]["made"]["corrected"]
    assert corrected["counts"] == {"excluded": 1, "relabelled": 2} and corrected["n"] == 15
    assert corrected["metrics"]["accuracy"]["value"] == pytest.approx(7 / 15)
    first = (tmp_path / "out" / "repope.jsonl").read_text()
    CliRunner().invoke(app, command)
    assert len((tmp_path / "out" / "repope.jsonl").read_text().splitlines()) == len(first.splitlines()), "written again"


def test_labels_of_another_benchmark_are_refused(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "coco_repope_random.json"
    other.write_text(LINE.format(1, 7, "zebra", "yes"))
    with pytest.raises(UserError, match=r"8 of 8 rows are not among the labels of .*; they must be about"):
        relabel(run, [other], tmp_path / "out", "RePOPE")
    two = [json.loads(LINE.format(n, 7, "zebra", label)) for n, label in enumerate(["yes", "no"])]
    other.write_text("\n".join(map(json.dumps, two)))
    with pytest.raises(UserError, match="has another label than the same question before"):
        relabel(run, [other], tmp_path / "out", "RePOPE")
    assert not (tmp_path / "out").exists()
