"""The audit's sample, and its interval in simulated audits."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dashboards.data.audit import Audit, Stratum, audit, audit_sample, audit_verdicts, rate_of
from dashboards.data.catalog import Folder, scan
from dashboards.data.review_log import Decision, decisions_of
from winnow.corrections import Action, Correction


def _verdicts(run: Folder) -> pd.Series:
    table = pd.read_parquet(run.path / "predictions.parquet")
    return table["accuracy_right"].mask(table["status"] != "ok", False).map({True: 1.0, False: 0.0}).astype(float)


def test_a_sample_holds_as_many_right_as_wrong_answers(base: Folder) -> None:
    right = _verdicts(base)
    rows = audit_sample(base, 1, 20)
    assert len(set(rows.tolist())) == 20
    assert [int((right[rows] == kind).sum()) for kind in (True, False)] == [10, 10]
    counts = [int((right[rows[:half]] == 0).sum()) for half in (10, 12)]
    assert 4 <= counts[0] <= 6 and 5 <= counts[1] <= 7, "evenly mixed"


def test_what_one_kind_lacks_the_other_gives(tuned: Folder) -> None:
    right = _verdicts(tuned)
    wrong = int((right == 0).sum())
    rows = audit_sample(tuned, 1, 30)
    assert wrong < 15 and len(rows) == 30
    assert set(np.flatnonzero(right == 0)) <= set(rows.tolist())
    everything = audit_sample(tuned, 1, 10_000)
    assert sorted(everything.tolist()) == np.flatnonzero(right.notna()).tolist(), "captions have no verdict"


def test_samples_are_repeatable_and_grow(base: Folder, tuned: Folder) -> None:
    small, large, other = (audit_sample(base, draw, size).tolist() for draw, size in ((1, 10), (1, 20), (2, 10)))
    assert small == audit_sample.__wrapped__(base, 1, 10).tolist()  # type: ignore[attr-defined]  # not from the cache
    right = _verdicts(base)
    for kind in (True, False):
        few, many = ([row for row in rows if right[row] == kind] for rows in (small, large))
        assert many[: len(few)] == few, "the first rows of each kind stay"
    assert sorted(other) != sorted(small) and len(audit_sample(tuned, 1, 10)) == 10


def _drawn(chance: np.random.Generator, rows: tuple[int, int], rates: tuple[float, float], judged: int) -> Audit:
    parts = []
    for count, rate in zip(rows, rates, strict=True):
        of_kind = min(judged, count)
        hits = int(chance.hypergeometric(round(count * rate), count - round(count * rate), of_kind))
        parts.append(Stratum(count, of_kind, hits, 0))
    return Audit(2 * judged, parts[0], parts[1], 0)


@pytest.mark.parametrize(
    ("rows", "rates", "judged"),
    [
        ((8000, 2000), (0.01, 0.30), 100),
        ((8000, 2000), (0.05, 0.10), 50),
        ((950, 50), (0.02, 0.40), 100),  # every wrong answer is judged
        ((5000, 5000), (0.20, 0.50), 30),
        ((20_000, 500), (0.002, 0.60), 100),
        ((300, 200), (0.10, 0.10), 150),  # most of the run is judged
    ],
)
def test_the_interval_covers_and_the_rate_is_unbiased(
    rows: tuple[int, int], rates: tuple[float, float], judged: int
) -> None:
    chance = np.random.default_rng(0)
    truth = sum(round(count * rate) for count, rate in zip(rows, rates, strict=True)) / sum(rows)
    found = [_drawn(chance, rows, rates, judged).wrong_references() for _ in range(3000)]
    values = np.array([rate.value for rate in found if rate])
    covered = np.mean([rate.low - 1e-12 <= truth <= rate.high + 1e-12 for rate in found if rate])
    assert len(values) == 3000 and abs(values.mean() - truth) < 4 * values.std() / np.sqrt(3000) + 1e-12
    assert covered >= 0.93, covered


def test_a_run_that_was_judged_whole_leaves_no_doubt() -> None:
    rate = Audit(30, Stratum(20, 20, 1, 3), Stratum(10, 10, 5, 0), 0).wrong_references()
    assert rate and rate.value == rate.low == rate.high == pytest.approx(0.2)
    ambiguous = Audit(30, Stratum(20, 20, 1, 3), Stratum(10, 10, 5, 0), 0).ambiguous()
    assert ambiguous and ambiguous.value == pytest.approx(0.1)


def test_one_kind_alone_is_wilsons_interval() -> None:
    rate = rate_of(Stratum(10**9, 10, 2, 0))
    assert rate and (rate.low, rate.high) == pytest.approx((0.0567, 0.5098), abs=1e-4)
    nothing = rate_of(Stratum(10**9, 20, 0, 0))
    assert nothing and nothing.low == 0 and nothing.high == pytest.approx(0.1611, abs=1e-4)


def test_without_a_judged_row_of_each_kind_there_is_no_rate() -> None:
    assert Audit(5, Stratum(20, 0, 0, 0), Stratum(10, 3, 1, 0), 0).wrong_references() is None
    assert Audit(5, Stratum(0, 0, 0, 0), Stratum(0, 0, 0, 0), 0).wrong_references() is None
    only_wrong = Audit(5, Stratum(0, 0, 0, 0), Stratum(10, 5, 1, 0), 0).wrong_references()
    assert only_wrong and only_wrong.value == pytest.approx(0.2), "a run without right answers"


def _said(run: Folder, said: list[tuple[int, str, Action, tuple[str, ...]]], content: str = "") -> list[Decision]:
    table = pd.read_parquet(run.path / "predictions.parquet")
    now = datetime(2026, 1, 1, tzinfo=UTC)
    lines = [
        Correction(
            correction_id=f"{number:032x}", sample_id=table["sample_id"][row], run=run.name, action=action, tags=tags,
            content_hash=content or table["content_hash"][row], reviewer=reviewer, at=now,
            new="no" if action == "relabel" else None,
        )
        for number, (row, reviewer, action, tags) in enumerate(said)
    ]  # fmt: skip
    return decisions_of(lines)


def test_wrong_references_are_those_that_reviewers_called_so(base: Folder) -> None:
    rows = audit_sample(base, 1, 20)
    wrong = ("wrong reference",)
    said: list[tuple[int, str, Action, tuple[str, ...]]] = [
        (int(rows[0]), "anna", "keep", ()),
        (int(rows[1]), "anna", "exclude_from_eval", wrong),
        (int(rows[2]), "anna", "relabel", ()),
        (int(rows[3]), "anna", "ambiguous", ()),
        (int(rows[4]), "anna", "exclude_from_eval", ()),
        (int(rows[5]), "anna", "tag", ("format",)),
    ]
    found = audit_verdicts(base, rows, _said(base, said))
    assert [found.get(int(row)) for row in rows[:6]] == [
        "keep", "wrong reference", "wrong reference", "ambiguous", "exclude_from_eval", None
    ]  # fmt: skip
    shown = audit(base, rows, found)
    assert shown.judged == 5 and shown.right.wrong_reference + shown.wrong.wrong_reference == 2
    assert shown.right.ambiguous + shown.wrong.ambiguous == 1 and shown.in_conflict == 0
    right = _verdicts(base)
    assert shown.right.rows == int((right == 1).sum()) and shown.size == 20


def test_verdicts_on_another_text_and_rows_in_conflict_do_not_count(base: Folder) -> None:
    rows = audit_sample(base, 1, 20)
    assert audit_verdicts(base, rows, _said(base, [(int(rows[0]), "anna", "keep", ())], content="old")) == {}
    said: list[tuple[int, str, Action, tuple[str, ...]]] = [
        (int(rows[0]), "anna", "keep", ()), (int(rows[0]), "ben", "drop", ())
    ]  # fmt: skip
    shown = audit(base, rows, audit_verdicts(base, rows, _said(base, said)))
    assert shown.in_conflict == 1 and shown.judged == 0


def test_nothing_to_audit_without_single_verdicts(tmp_path: Path, own: Path) -> None:
    path = own / "evals" / "demo-base" / "predictions.parquet"
    table = pd.read_parquet(path)
    table[table["task"] == "caption"].assign(status="ok").to_parquet(path)
    run = scan(own).find("evals", "demo-base")
    assert run and not len(audit_sample(run, 1, 20))
