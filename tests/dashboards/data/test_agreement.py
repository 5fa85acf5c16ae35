"""Several runs on the same rows, against pandas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlencode

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.data.agreement import (
    MOST_RUNS,
    PATTERNS,
    SIDE_ORDERS,
    SideSpec,
    chosen_runs,
    pair_agreements,
    panel,
    pattern_counts,
    rows_at,
    side_rows,
)
from dashboards.data.catalog import Catalog, Folder
from dashboards.data.predictions import row_index

_NAMES = ("a", "b", "c", "d")
_text = st.text(max_size=12)
_several = st.lists(st.text(min_size=1, max_size=8), max_size=3).map(tuple)
_specs = st.builds(
    SideSpec,
    runs=_several,
    task=_text,
    pattern=st.sampled_from(PATTERNS),
    right=_several,
    wrong=_several,
    order=st.sampled_from(SIDE_ORDERS),
)


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Folder, ...]:
    """Four runs of 500 rows: each in an order of its own, each without some rows, some rows without a verdict."""
    rng = np.random.default_rng(5)
    made = []
    for number, name in enumerate(_NAMES):
        ids = [n for n in rng.permutation(500) if n % 50 != number]
        given = [["Yes", "no", "maybe"][rng.integers(3)] for _ in ids]
        right = [
            None if n % 11 == 0 else answer == ("Yes" if n % 2 else "no") for n, answer in zip(ids, given, strict=True)
        ]
        table = pa.table(
            {
                "sample_id": [f"s/{n:03d}" for n in ids],
                "task": ["vqa" if n % 9 else "rest" for n in ids],
                "question": ["Is it?"] * len(ids),
                "raw": given,
                "extracted": [[answer, answer.upper() + "."][n % 2] for n, answer in zip(ids, given, strict=True)],
                "status": ["ok"] * len(ids),
                "references": [["yes"] if n % 2 else ["no"] for n in ids],
                "image_keys": [[f"{n // 4:064d}"] for n in ids],
                "accuracy": pa.array([None if verdict is None else float(verdict) for verdict in right], pa.float64()),
                "accuracy_right": pa.array(right, pa.bool_()),
            }
        )
        folder = Folder("evals", name, tmp_path / "evals" / name, "f")
        folder.path.mkdir(parents=True)
        pq.write_table(table, folder.path / "predictions.parquet")
        (folder.path / "scores.json").write_text("{}")
        made.append(folder)
    return tuple(made)


def test_the_most_runs_that_stand_side_by_side_are_read_once(runs: tuple[Folder, ...]) -> None:
    most = [replace(run, fingerprint=f"{copy}") for copy in range(MOST_RUNS // len(runs)) for run in runs]
    read = [row_index(run) for run in most]
    assert len(most) == MOST_RUNS and all(row_index(run) is index for run, index in zip(most, read, strict=True))


def _oracle(runs: tuple[Folder, ...]) -> pd.DataFrame:
    """The common rows of the task in the first run's order: answer_<run> and right_<run> for each run."""
    frame = None
    for run in runs:
        own = pd.read_parquet(run.path / "predictions.parquet").query("task == 'vqa'")
        own = pd.DataFrame(
            {
                "sample_id": own["sample_id"],
                f"answer_{run.name}": own["extracted"].str.strip(".").str.lower(),
                f"right_{run.name}": own["accuracy_right"].astype("boolean"),
            }
        )
        frame = own if frame is None else frame.merge(own, on="sample_id")
    assert frame is not None
    return frame.reset_index(drop=True)


def _mask(frame: pd.DataFrame, pattern: str) -> pd.Series:
    answers = frame[[name for name in frame if name.startswith("answer_")]]
    right = frame[[name for name in frame if name.startswith("right_")]]
    all_wrong = (right == False).fillna(False).all(axis=1)  # noqa: E712 - three-valued
    return {
        "Any": pd.Series(True, frame.index),
        "All right": right.fillna(False).all(axis=1),
        "All wrong": all_wrong,
        "Split": right.fillna(False).any(axis=1) & (right == False).fillna(False).any(axis=1),  # noqa: E712
        "All wrong alike": all_wrong & (answers.nunique(axis=1) == 1),
        "All differ": answers.nunique(axis=1) == answers.shape[1],
    }[pattern]


def _ids(runs: tuple[Folder, ...], spec: SideSpec) -> list[str]:
    rows = rows_at(runs, spec.task, [int(place) for place in side_rows(runs, spec)])
    return [row.answers[0].sample_id for row in rows]


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns(runs: tuple[Folder, ...], count: int, pattern: str) -> None:
    chosen = runs[:count]
    frame = _oracle(chosen)
    wanted = frame["sample_id"][_mask(frame, pattern)].tolist()
    spec = SideSpec(tuple(run.name for run in chosen), "vqa", pattern)  # type: ignore[arg-type]
    assert _ids(chosen, spec) == wanted
    assert pattern_counts(chosen, "vqa")[pattern] == len(wanted)  # type: ignore[index]
    assert wanted or (pattern == "All differ" and count == 4), "three answers cannot all differ in four runs"


def test_right_in_some_and_wrong_in_others(runs: tuple[Folder, ...]) -> None:
    frame = _oracle(runs)
    spec = SideSpec(_NAMES, "vqa", right=("a",), wrong=("b", "d"))
    mask = frame["right_a"].fillna(False)
    for name in ("b", "d"):
        mask &= (frame[f"right_{name}"] == False).fillna(False)  # noqa: E712
    assert _ids(runs, spec) == frame["sample_id"][mask].tolist() and mask.any()
    assert _ids(runs, SideSpec(_NAMES, "vqa", right=("nope",))) == [], "a run that is not there is right nowhere"


def test_least_agreement_first(runs: tuple[Folder, ...]) -> None:
    frame = _oracle(runs)
    different = frame[[f"answer_{name}" for name in _NAMES]].nunique(axis=1)
    wanted = frame["sample_id"][(-different).argsort(kind="stable")].tolist()
    assert _ids(runs, SideSpec(_NAMES, "vqa", order="Least agreement first")) == wanted


def test_pairs(runs: tuple[Folder, ...]) -> None:
    frame = _oracle(runs)
    for pair in pair_agreements(runs, "vqa"):
        first, second = _NAMES[pair.first], _NAMES[pair.second]
        assert pair.same_answer == pytest.approx((frame[f"answer_{first}"] == frame[f"answer_{second}"]).mean())
        judged = frame[[f"right_{first}", f"right_{second}"]].dropna()
        same = (judged[f"right_{first}"] == judged[f"right_{second}"]).mean()
        assert pair.same_verdict == pytest.approx(same) and len(judged) < len(frame)
    assert len(pair_agreements(runs, "vqa")) == 6 and pair_agreements(runs, "nope") == []


def test_each_column_is_the_answer_to_the_same_row(runs: tuple[Folder, ...]) -> None:
    frame = _oracle(runs).set_index("sample_id")
    found = panel(runs, "vqa")
    own = pd.read_parquet(runs[0].path / "predictions.parquet")
    assert found.left_out == int((own["task"] == "vqa").sum()) - len(frame)
    for row in rows_at(runs, "vqa", range(20)):
        assert len({answer.sample_id for answer in row.answers}) == 1
        answers = [(answer.extracted or "").strip(".").lower() for answer in row.answers]
        assert answers == frame.loc[row.answers[0].sample_id, [f"answer_{name}" for name in _NAMES]].tolist()
        assert row.different == len(set(answers))


def test_words_for_agreement(runs: tuple[Folder, ...]) -> None:
    words = {(row.agreement, row.answers_given) for row in rows_at(runs[:3], "vqa", range(200))}
    assert {said for said, _ in words} == {"all right", "all wrong", "1 of 3 right", "2 of 3 right", ""}
    assert {said for _, said in words} == {"same answer", "2 answers", "all differ"}


@given(_specs)
def test_a_view_survives_the_url(spec: SideSpec) -> None:
    assert SideSpec.from_parameters(parse_qs(urlencode(spec.to_parameters(), doseq=True))) == spec


def test_runs_are_found_by_name_once_and_at_most_eight(runs: tuple[Folder, ...]) -> None:
    catalog = Catalog(folders=tuple(Folder("evals", f"r{n}", Path(f"r{n}"), "f") for n in range(12)), root=Path())
    names = [f"r{n}" for n in range(11, -1, -1)]
    assert [run.name for run in chosen_runs(catalog, ["r1", "../x", "r1", "r0"])] == ["r1", "r0"]
    assert [run.name for run in chosen_runs(catalog, names)] == names[:8]
