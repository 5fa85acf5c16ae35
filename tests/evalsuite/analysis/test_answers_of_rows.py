"""What metrics are given of the rows, and rows that were asked several times."""

import json
from pathlib import Path

import pytest
from made import made_row, spec_of, write_evaluation
from PIL import Image

from evalsuite.analysis.corrected import corrected_scores, decided_rows
from evalsuite.analysis.results import answers_of, score_rows
from evalsuite.analysis.rows import rows_of
from evalsuite.metrics import METRICS, Answers, Metric
from evalsuite.metrics.base import Quantity, mean_scores
from evalsuite.reading.read import Extraction
from evalsuite.runs.finish import rescore
from evalsuite.store import base_id
from winnow.corrections import read_corrections, resolve
from winnow.errors import UserError


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Answers]:
    """The answers that the metric ``probe`` was given."""
    seen: list[Answers] = []

    def score(answers: Answers, options: object) -> dict:
        seen.append(answers)
        return {"": mean_scores([1.0] * len(answers.ids), "probe")}

    probe = Metric(name="probe", about="", numbers={"": Quantity(title="probe")}, score=score)
    monkeypatch.setitem(METRICS, "probe", probe)
    return seen


def test_metrics_see_groups_repeats_confidence_facts_and_image_files(given: list[Answers], tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "0.png")
    rows = [
        made_row(0, "red", repeat=0, group="made/test/0", confidence=0.9, facts='{"box": [1, 2]}'),
        made_row(0, "red", repeat=1, group="made/test/0") | {"sample_id": "made/test/0#1"},
        made_row(1, "red", repeat=1) | {"sample_id": "made/test/1#1", "images": ["../0.png", "gone.png"]},
    ]
    score_rows(spec_of(metrics=["probe"]), rows, tmp_path)
    (answers,) = given
    assert list(answers.groups) == ["made/test/0", "made/test/0", "made/test/1"]
    assert list(answers.repeats) == [0, 1, 1]
    assert list(answers.confidences) == [0.9, None, None]
    assert list(answers.facts) == [{"box": [1, 2]}, {}, {}]
    assert list(answers.image_files) == [(str(tmp_path / "0.png"),)] * 2 + [()]


def test_facts_that_are_no_object_name_their_row() -> None:
    for facts in ("[1]", "{", "[" * 100_000):
        with pytest.raises(UserError, match=r"made/test/7: its facts"):
            list(answers_of(rows_of([made_row(7, "red", facts=facts)]), spec_of(), None).facts)


def test_base_id_takes_off_the_number_of_the_repeat_only() -> None:
    assert [base_id("x#1", 1), base_id("x#1", 0), base_id("x#1", None), base_id("x#1#2", 2)] == [
        "x",
        "x#1",
        "x#1",
        "x#1",
    ]


def test_repeats_without_an_image_are_one_cluster() -> None:
    rows = [made_row(n, "red", repeat=n % 2) | {"image_keys": [], "sample_id": f"x{n // 2}" + "#1" * (n % 2)}
            for n in range(4)]  # fmt: skip
    assert score_rows(spec_of(), rows).clusters.tolist() == [0, 0, 1, 1]


def test_a_correction_holds_for_every_repeat(tmp_path: Path) -> None:
    rows = [
        made_row(0, "red"), made_row(1, "blue", repeat=0),
        made_row(1, "red", repeat=1) | {"sample_id": "made/test/1#1"},
    ]  # fmt: skip
    folder = write_evaluation(tmp_path / "run", rows)
    decisions = tmp_path / "decisions"
    decisions.mkdir()
    line = {
        "correction_id": "1", "sample_id": "made/test/1", "content_hash": "hash-1", "action": "exclude_from_eval",
        "reviewer": "a", "at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    (decisions / "a.jsonl").write_text(json.dumps(line) + "\n")
    corrected = rescore(folder, [], decisions)["tasks"]["made"]["corrected"]
    assert corrected["counts"] == {"excluded": 2}
    assert corrected["n"] == 1


def test_a_letter_that_a_reviewer_corrects_turns_with_the_options(tmp_path: Path) -> None:
    """The options are cat, dog, bird, then dog, bird, cat; B, the dog, becomes A."""
    spec = spec_of(metrics=["multiple_choice"]).model_copy(update={"repeat": "circular"})
    rows = [
        made_row(1, "B", repeat=0, references=["C"], choices=["cat", "dog", "bird"]),
        made_row(1, "A", repeat=1, references=["B"], choices=["dog", "bird", "cat"]) | {"sample_id": "made/test/1#1"},
    ]
    line = {
        "correction_id": "1", "sample_id": "made/test/1", "content_hash": "hash-1", "action": "relabel",
        "field": "answer", "old": "C", "new": "B", "reviewer": "a", "at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    (tmp_path / "a.jsonl").write_text(json.dumps(line) + "\n")
    result = score_rows(spec.model_copy(update={"extraction": Extraction(choices=[])}), rows)
    assert result.headline.per_row.tolist() == [0, 0]
    corrected = corrected_scores(result, decided_rows(result, resolve(read_corrections(tmp_path))), 0)
    assert corrected is not None and corrected["metrics"]["multiple_choice"]["value"] == 1.0
