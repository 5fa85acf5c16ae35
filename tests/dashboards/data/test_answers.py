"""Every query of the failures page against the same thing done in pandas."""

from __future__ import annotations

import json
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboards.data.answers import answers_at, answers_of, count_outcomes, filter_values, matching_rows, said_to
from dashboards.data.catalog import Folder, scan
from dashboards.data.filters import OUTCOMES, FilterSpec, View
from dashboards.data.predictions import open_predictions
from winnow.errors import UserError

specs = st.builds(
    FilterSpec,
    task=st.sampled_from(["", "vqa", "caption", "nope"]),
    question_types=st.sampled_from([(), ("color",), ("yes_no", "shape")]),
    answer_types=st.sampled_from([(), ("other",), ("yes/no", "other")]),
    statuses=st.sampled_from([(), ("ok",), ("unparsed",)]),
    marks=st.sampled_from([(), ("truncated",)]),
    where=st.sampled_from(
        [
            (),
            ("question_type=shape",),
            ("reference=yes", "answer_type=yes/no"),
            ("nope=1",),
            ("question opens with=is there",),
        ]
    ),
    outcome=st.sampled_from(OUTCOMES),
    metric=st.sampled_from(["", "accuracy", "cider", "nope"]),
    below=st.sampled_from([None, 0.5, 5.0]),
    text=st.sampled_from(["", "RED", "shape?", "test/1", "%", "_", "'"]),
    order=st.sampled_from(["Worst first", "Best first", "As stored"]),
)


@pytest.fixture(scope="module")
def frames(tuned: Folder, base: Folder) -> pd.DataFrame:
    """Both runs side by side, with ``correct`` and ``base_correct`` (object, None where undefined)."""
    run, before = (pd.read_parquet(folder.path / "predictions.parquet") for folder in (tuned, base))
    run["row"] = np.arange(len(run))
    for frame in (run, before):
        frame["correct"] = [
            False if status != "ok" else None if pd.isna(score) else bool(score >= 0.5)
            for status, score in zip(frame["status"], frame["accuracy"], strict=True)
        ]
    before = before[["sample_id", "task", "correct"]].rename(columns={"correct": "base_correct"})
    return run.merge(before, on=["sample_id", "task"], how="left")


def _oracle(frame: pd.DataFrame, spec: FilterSpec) -> list[int]:
    kept = [row for row in frame.to_dict("records") if _matches(row, spec)]
    if spec.order == "As stored":
        kept.sort(key=lambda row: row["row"])
    else:
        metrics = (
            [spec.metric] if spec.metric in ("accuracy", "cider") else ["accuracy", "vqa_accuracy", "bleu_4", "cider"]
        )
        sign = 1 if spec.order == "Worst first" else -1
        ranked = lambda row: [np.inf if pd.isna(row[name]) else sign * row[name] for name in metrics]  # noqa: E731
        kept.sort(key=lambda row: (ranked(row), row["sample_id"]))
    return [row["row"] for row in kept]


def _matches(row: dict, spec: FilterSpec) -> bool:
    right, before = row["correct"], row["base_correct"]
    outcome = {
        "Wrong": right is False,
        "Right": right is True,
        "Fixed": right is True and before is False,
        "Broken": right is False and before is True,
        "Both right": right is True and before is True,
        "Both wrong": right is False and before is False,
        "All": True,
    }[spec.outcome]
    text = spec.text.lower()
    searched = [row["sample_id"], row["question"], row["raw"], row["extracted"] or "", " ".join(row["references"])]
    return all(
        (
            outcome,
            not spec.task or row["task"] == spec.task,
            not spec.question_types or row["slice_question_type"] in spec.question_types,
            not spec.answer_types or row["slice_answer_type"] in spec.answer_types,
            all(_in_slice(row, term) for term in spec.where),
            not spec.statuses or row["status"] in spec.statuses,
            not spec.marks or row["truncated"],
            spec.metric not in ("accuracy", "cider") or spec.below is None or row[spec.metric] < spec.below,
            not text or any(text in place.lower() for place in searched),
        )
    )


def _in_slice(row: dict, term: str) -> bool:
    name, _, value = term.partition("=")
    if name == "reference":
        return row["references"][0].lower() == value
    if name == "question opens with":
        return " ".join(row["question"].strip().lower().split()[:2]) == value
    return f"slice_{name}" not in row or row[f"slice_{name}"] == value


@pytest.mark.slow
@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(spec=specs)
def test_rows_of_a_view(spec: FilterSpec, tuned: Folder, base: Folder, frames: pd.DataFrame) -> None:
    rows = matching_rows(View(spec, tuned, base))
    assert rows.dtype == np.int32 and not rows.flags.writeable
    assert rows.tolist() == _oracle(frames, spec)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(spec=specs)
def test_outcome_counts(spec: FilterSpec, tuned: Folder, base: Folder, frames: pd.DataFrame) -> None:
    counts = count_outcomes(View(spec, tuned, base))
    assert counts == {outcome: len(_oracle(frames, replace(spec, outcome=outcome))) for outcome in OUTCOMES}


def test_without_a_baseline_nothing_is_fixed_or_broken(tuned: Folder) -> None:
    counts = count_outcomes(View(FilterSpec(), tuned, None))
    assert counts["Fixed"] == counts["Broken"] == 0
    assert matching_rows(View(FilterSpec(outcome="Fixed"), tuned, None)).tolist() == []
    assert counts["Wrong"] + counts["Right"] == 40 + sum(
        answer.status != "ok" for answer in answers_at(tuned, None, tuple(range(40, 48)))
    )


def test_a_page_comes_in_the_order_asked_for(tuned: Folder, base: Folder) -> None:
    answers = answers_at(tuned, base, (7, 3, 41, 0))
    assert [answer.row for answer in answers] == [7, 3, 41, 0]
    stored, other = (pd.read_parquet(folder.path / "predictions.parquet") for folder in (tuned, base))
    for answer in answers:
        row, before = stored.iloc[answer.row], other.iloc[answer.row]
        assert (answer.sample_id, answer.question, answer.raw) == (row["sample_id"], row["question"], row["raw"])
        assert list(answer.references) == list(row["references"])
        assert answer.base_extracted == (before["raw"] if before["extracted"] is None else before["extracted"])
        assert answer.scores == {
            name: row[name] for name in ("accuracy", "vqa_accuracy", "bleu_4", "cider") if not pd.isna(row[name])
        }
    caption = answers[2]
    assert caption.task == "caption" and set(caption.scores) == {"bleu_4", "cider"}


def test_answers_of_one_sample(tuned: Folder) -> None:
    (answer,) = answers_of(tuned, "easy_vqa/test/3")
    assert answer.row == 3
    assert answers_of(tuned, "nope") == []


def test_filter_values(base: Folder) -> None:
    stored = pd.read_parquet(base.path / "predictions.parquet")
    values = filter_values(base)
    for column in ("task", "status", "slice_question_type", "slice_answer_type"):
        assert values[column] == sorted(stored[column].dropna().unique())
    assert values["truncated"] == ["False", "True"]


def test_metric_columns_are_those_that_say_what_is_right(tuned: Folder) -> None:
    table = open_predictions(tuned)
    assert table.metrics == ("accuracy", "vqa_accuracy", "bleu_4", "cider")
    assert dict(table.headlines) == {"vqa": "accuracy", "caption": "cider"}


def _folder(root: Path, frame: pd.DataFrame, headlines: dict[str, str] | None = None) -> Folder:
    path = root / "evals" / "run"
    path.mkdir(parents=True)
    frame.to_parquet(path / "predictions.parquet")
    tasks = {task: {"headline": metric} for task, metric in (headlines or {}).items()}
    (path / "scores.json").write_text(json.dumps({"tasks": tasks}))
    return Folder("evals", "run", path, "f")


def test_a_tasks_headline_says_what_is_right_and_else_the_first_metric_that_judges_the_row(tmp_path: Path) -> None:
    rows = {"sample_id": list("abcd"), "task": ["one", "two", "three", "one"], "question": "q", "raw": "x",
            "extracted": "x", "status": ["ok"] * 3 + ["unparsed"], "references": [["x"]] * 4}  # fmt: skip
    frame = pd.DataFrame(rows).assign(strict=0.0, loose=1.0)
    frame["strict_right"] = pd.array([False, False, None, False], "boolean")
    frame["loose_right"] = pd.array([True, True, True, None], "boolean")
    folder = _folder(tmp_path, frame, {"one": "loose", "two": "strict", "three": "no such metric"})
    assert [answer.correct for answer in answers_at(folder, None, (0, 1, 2, 3))] == [True, False, True, False]


def test_a_table_without_metrics_or_slices_still_shows(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"sample_id": ["a", "b"], "task": "t", "question": "q", "raw": ["x", None], "extracted": ["x", None],
         "status": ["ok", "failed"], "references": [["x"], ["y"]]}
    )  # fmt: skip
    folder = _folder(tmp_path, frame)
    assert matching_rows(View(FilterSpec(outcome="Wrong"), folder, None)).tolist() == [1]
    (answer,) = answers_at(folder, None, (1,))
    assert (answer.raw, answer.correct, answer.images, answer.scores) == ("", False, (), {})


def test_a_table_that_lacks_columns_is_a_sentence(tmp_path: Path) -> None:
    folder = _folder(tmp_path, pd.DataFrame({"sample_id": ["a"], "task": "t"}))
    with pytest.raises(UserError, match="lacks the columns question, raw"):
        open_predictions(folder)


def test_an_evaluation_scored_before_right_answers_were_recorded_is_a_sentence(tmp_path: Path) -> None:
    columns = ("sample_id", "question", "raw", "extracted", "status")
    frame = pd.DataFrame({name: ["x"] for name in columns} | {"task": "t", "references": [["x"]], "accuracy": 1.0})
    with pytest.raises(UserError, match=r"bring it up to date with `evalsuite score .*run`"):
        open_predictions(_folder(tmp_path, frame, {"t": "accuracy"}))


def test_a_runs_answer_is_found_in_the_same_place_and_elsewhere(own: Path) -> None:
    catalog = scan(own)
    run, base = (catalog.find("evals", name) for name in ("demo-tuned", "demo-base"))
    assert run and base
    asked = tuple((one.row, one.task, one.sample_id) for one in answers_at(run, None, tuple(range(48))))
    stored = [one for _, _, sample_id in asked for one in answers_of(base, sample_id)]
    by_id = {
        (one.task, one.sample_id): (
            one.raw if one.extracted is None else one.extracted, one.correct, one.status, (one.question, one.references)
        )
        for one in stored
    }  # fmt: skip
    expected = {key: by_id[key] for _, *rest in asked if (key := tuple(rest)) in by_id}
    assert {key: astuple(said) for key, said in said_to(base, asked).items()} == expected
    path = base.path / "predictions.parquet"
    frame = pd.read_parquet(path)
    shuffled = frame.sample(len(frame) - 5, random_state=3)
    shuffled.to_parquet(path)
    left = set(zip(shuffled["task"], shuffled["sample_id"], strict=True))
    moved = scan(own).find("evals", "demo-base")
    assert moved
    found = {key: astuple(said) for key, said in said_to(moved, asked).items()}
    assert found == {key: value for key, value in expected.items() if key in left}
    assert 0 < len(found) < len(expected)
