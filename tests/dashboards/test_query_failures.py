"""Every query of the failures page against the same thing done in pandas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboards.data.answers import answers_at, answers_of, count_outcomes, filter_values, matching_rows
from dashboards.data.engine import Connection
from dashboards.data.filters import OUTCOMES, FilterSpec
from dashboards.data.predictions import Pairing, Predictions, open_predictions, pair, read_row_index

specs = st.builds(
    FilterSpec,
    task=st.sampled_from(["", "vqa", "caption", "nope"]),
    question_types=st.sampled_from([(), ("color",), ("yes_no", "shape")]),
    answer_types=st.sampled_from([(), ("other",), ("yes/no", "other")]),
    statuses=st.sampled_from([(), ("ok",), ("unparsed",)]),
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


def _paths(data: Path) -> tuple[str, str]:
    return tuple(str(data / "evals" / name / "predictions.parquet") for name in ("demo-tuned", "demo-base"))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def tables(data: Path, connection: Connection) -> tuple[Predictions, Predictions]:
    run, base = _paths(data)
    return open_predictions(connection, run), open_predictions(connection, base)


@pytest.fixture(scope="module")
def frames(data: Path) -> pd.DataFrame:
    """Both runs side by side, with ``correct`` and ``base_correct`` (object, None where undefined)."""
    run, base = (pd.read_parquet(path) for path in _paths(data))
    run["row"] = np.arange(len(run))
    for frame in (run, base):
        frame["correct"] = [
            False if status != "ok" else None if pd.isna(score) else bool(score >= 0.5)
            for status, score in zip(frame["status"], frame["accuracy"], strict=True)
        ]
    base = base[["sample_id", "task", "correct"]].rename(columns={"correct": "base_correct"})
    return run.merge(base, on=["sample_id", "task"], how="left")


def _pairing(connection: Connection, run: Predictions, base: Predictions) -> Pairing:
    return pair(read_row_index(connection, run), read_row_index(connection, base))


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


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spec=specs)
def test_rows_of_a_view(
    spec: FilterSpec, tables: tuple[Predictions, Predictions], frames: pd.DataFrame, connection: Connection
) -> None:
    rows = matching_rows(connection, tables[0], _pairing(connection, *tables), spec)
    assert rows.dtype == np.int32
    assert rows.tolist() == _oracle(frames, spec)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spec=specs)
def test_outcome_counts(
    spec: FilterSpec, tables: tuple[Predictions, Predictions], frames: pd.DataFrame, connection: Connection
) -> None:
    from dataclasses import replace

    counts = count_outcomes(connection, tables[0], _pairing(connection, *tables), spec)
    assert counts == {outcome: len(_oracle(frames, replace(spec, outcome=outcome))) for outcome in OUTCOMES}


def test_without_a_baseline_nothing_is_fixed_or_broken(
    tables: tuple[Predictions, Predictions], connection: Connection
) -> None:
    counts = count_outcomes(connection, tables[0], None, FilterSpec())
    assert counts["Fixed"] == counts["Broken"] == 0
    assert counts["Wrong"] + counts["Right"] == 40 + sum(
        answer.status != "ok" for answer in answers_at(connection, tables[0], None, range(40, 48))
    )


def test_a_page_comes_in_the_order_asked_for(tables: tuple[Predictions, Predictions], connection: Connection) -> None:
    answers = answers_at(connection, *tables, [7, 3, 41, 0])
    assert [answer.row for answer in answers] == [7, 3, 41, 0]
    stored = pd.read_parquet(tables[0].path)
    said = pd.read_parquet(tables[1].path)
    for answer in answers:
        row, before = stored.iloc[answer.row], said.iloc[answer.row]
        assert (answer.sample_id, answer.question, answer.raw) == (row["sample_id"], row["question"], row["raw"])
        assert list(answer.references) == list(row["references"])
        assert answer.base_extracted == (before["raw"] if before["extracted"] is None else before["extracted"])
        assert answer.scores == {
            name: row[name] for name in ("accuracy", "vqa_accuracy", "bleu_4", "cider") if not pd.isna(row[name])
        }
    caption = answers[2]
    assert caption.task == "caption" and set(caption.scores) == {"bleu_4", "cider"}


def test_answers_of_one_sample(tables: tuple[Predictions, Predictions], connection: Connection) -> None:
    (answer,) = answers_of(connection, tables[0], "easy_vqa/test/3")
    assert answer.row == 3
    assert answers_of(connection, tables[0], "nope") == []


def test_filter_values(tables: tuple[Predictions, Predictions], connection: Connection) -> None:
    stored = pd.read_parquet(tables[1].path)
    values = filter_values(connection, tables[1])
    for column in ("task", "status", "slice_question_type", "slice_answer_type"):
        assert values[column] == sorted(stored[column].dropna().unique())


def test_metric_columns_are_found_and_seconds_is_none(tables: tuple[Predictions, Predictions]) -> None:
    assert tables[0].metrics == ("accuracy", "vqa_accuracy", "bleu_4", "cider")
    assert tables[0].correctness == ("accuracy", "vqa_accuracy")


def test_a_table_without_metrics_or_slices_still_shows(tmp_path: Path) -> None:
    from dashboards.data.engine import connect

    frame = pd.DataFrame(
        {"sample_id": ["a", "b"], "task": "t", "question": "q", "raw": ["x", None], "extracted": ["x", None],
         "status": ["ok", "failed"], "references": [["x"], ["y"]]}
    )  # fmt: skip
    frame.to_parquet(tmp_path / "p.parquet")
    connection = connect(tmp_path)
    table = open_predictions(connection, str(tmp_path / "p.parquet"))
    assert matching_rows(connection, table, None, FilterSpec(outcome="Wrong")).tolist() == [1]
    (answer,) = answers_at(connection, table, None, [1])
    assert (answer.raw, answer.correct, answer.images, answer.scores) == ("", False, (), {})


def test_a_table_that_lacks_columns_is_a_sentence(tmp_path: Path) -> None:
    from dashboards.data.engine import connect
    from winnow.errors import UserError

    pd.DataFrame({"sample_id": ["a"], "task": "t"}).to_parquet(tmp_path / "p.parquet")
    with pytest.raises(UserError, match="lacks the columns question, raw"):
        open_predictions(connect(tmp_path), str(tmp_path / "p.parquet"))
