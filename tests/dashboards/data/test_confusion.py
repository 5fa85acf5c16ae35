"""The confusion matrix against pandas, and each of its cells against the view that it opens."""

from __future__ import annotations

import collections
import string
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dashboards.data.answers import matching_rows
from dashboards.data.catalog import Folder
from dashboards.data.confusion import MOST_CLASSES, confusion
from dashboards.data.filters import FilterSpec, View

_EDGES = " \t\r\n.,;:!?\"'()[]{}"


def _class(text: object) -> str:
    return text.strip(_EDGES).lower() if isinstance(text, str) else ""


def _expected(references: list[str]) -> str:
    return _class(collections.Counter(references).most_common(1)[0][0]) or "(nothing)" if references else "(nothing)"


def _answered(extracted: object, status: str) -> str:
    return _class(extracted) or ("(nothing)" if status == "ok" else f"({status})")


@pytest.fixture
def run(tmp_path: Path) -> Folder:
    """3,000 answers of two tasks, of more classes than a matrix shows, written in several ways."""
    rng = np.random.default_rng(3)
    letters = list(string.ascii_uppercase)
    weights = np.arange(26, 0, -1) / np.arange(26, 0, -1).sum()
    rows = 3000
    truth = rng.choice(letters, rows, p=weights)
    given = np.where(rng.random(rows) < 0.6, truth, rng.choice(letters, rows))
    spellings = ["{}", "({})", " {}.", '"{}"', "[{}]"]
    statuses = rng.choice(["ok", "unparsed", "refused", "failed"], rows, p=[0.9, 0.04, 0.03, 0.03])
    extracted = [
        None if status != "ok" else "" if number % 97 == 0 else spellings[number % 5].format(answer)
        for number, (answer, status) in enumerate(zip(given, statuses, strict=True))
    ]
    references = [
        [] if number % 101 == 0 else [answer] if number % 3 else ["Z", answer, answer.lower(), answer]
        for number, answer in enumerate(truth)
    ]
    table = pa.table(
        {
            "sample_id": [f"s/{number:05d}" for number in range(rows)],
            "task": ["letters" if number % 10 else "rest" for number in range(rows)],
            "question": ["Which?"] * rows,
            "raw": ["x"] * rows,
            "extracted": extracted,
            "status": statuses,
            "references": pa.array(references, pa.list_(pa.string())),
            "image_keys": [[f"{number:064d}"] for number in range(rows)],
            "accuracy": (truth == given).astype(float),
            "accuracy_right": truth == given,
        }
    )
    folder = Folder("evals", "run", tmp_path / "evals" / "run", "f")
    folder.path.mkdir(parents=True)
    pq.write_table(table, folder.path / "predictions.parquet")
    (folder.path / "scores.json").write_text("{}")
    return folder


def _oracle(run: Folder, task: str) -> tuple[pd.DataFrame, list[str]]:
    frame = pd.read_parquet(run.path / "predictions.parquet")
    frame["row"] = range(len(frame))
    frame["wanted"] = [_expected(list(references)) for references in frame["references"]]
    frame["given"] = [_answered(*pair) for pair in zip(frame["extracted"], frame["status"], strict=True)]
    frame = frame[frame["task"] == task]
    counts = collections.Counter([*frame["wanted"], *frame["given"]])
    return frame, [name for name, _ in counts.most_common(MOST_CLASSES)]


def test_counts_are_those_of_pandas(run: Folder) -> None:
    frame, frequent = _oracle(run, "letters")
    found = confusion(run, "letters")
    assert found is not None and found.expected[-1] is None and found.answered[-1] is None
    assert len(found.named) == MOST_CLASSES and found.distinct == frame["wanted"].nunique()
    assert int(found.counts.sum()) == len(frame)
    totals = collections.Counter([*frame["wanted"], *frame["given"]])
    assert sorted(totals[name] for name in found.named) == sorted(totals[name] for name in frequent)
    named = set(found.named)
    table = pd.crosstab(
        frame["wanted"].where(frame["wanted"].isin(named), "other"),
        frame["given"].where(frame["given"].isin(named), "other"),
    )
    for row, expected in enumerate(found.expected):
        for column, answered in enumerate(found.answered):
            assert found.counts[row, column] == table.at[expected or "other", answered or "other"]


def test_every_cell_opens_its_own_rows(run: Folder) -> None:
    frame, _ = _oracle(run, "letters")
    found = confusion(run, "letters")
    assert found is not None
    met: list[int] = []
    for row, expected in enumerate(found.expected):
        for column, answered in enumerate(found.answered):
            spec = found.cases(FilterSpec(run="run", task="letters", order="As stored"), row, column)
            rows = matching_rows(View(spec, run, None)).tolist()
            named = set(found.named)
            wanted = ~frame["wanted"].isin(named) if expected is None else frame["wanted"] == expected
            given = ~frame["given"].isin(named) if answered is None else frame["given"] == answered
            assert rows == frame["row"][wanted & given].tolist() and len(rows) == found.counts[row, column]
            met += rows
    assert sorted(met) == frame["row"].tolist(), "each row of the task is in one cell"


def test_classes_that_are_never_met_have_no_line(run: Folder) -> None:
    found = confusion(run, "letters")
    assert found is not None and "(refused)" not in found.expected and found.counts.sum(axis=0).all()
    assert found.counts.sum(axis=1).all()
    assert confusion(run, "nope") is None


def test_case_of_a_typed_answer_does_not_count(run: Folder) -> None:
    rows = [matching_rows(View(FilterSpec(expected=(text,), outcome="All"), run, None)).tolist() for text in "Aa"]
    assert rows[0] == rows[1] and rows[0]
