"""Agreement between reviewers."""

from __future__ import annotations

import pytest

from dashboards.data.reviews import agreements, decisions_of
from tests.dashboards.data.test_corrections import correction
from winnow.corrections import Action


def test_kappa() -> None:
    """Three of four alike; chance is 0.5 * 0.25 + 0.5 * 0.75."""
    ours: tuple[Action, ...]
    theirs: tuple[Action, ...]
    ours, theirs = ("keep", "keep", "drop", "drop"), ("keep", "drop", "drop", "drop")
    judged: list[tuple[str, int, Action]] = []
    for who, verdicts in (("ann", ours), ("bob", theirs)):
        judged += [(who, row, verdict) for row, verdict in enumerate(verdicts)]
    judged.append(("eve", 0, "tag"))
    lines = [correction(number, verdict, who, sample_id=str(row)) for number, (who, row, verdict) in enumerate(judged)]
    (found,) = agreements(decisions_of(lines))
    assert (found.first, found.second, found.n, found.observed) == ("ann", "bob", 4, 0.75)
    assert found.kappa == pytest.approx((0.75 - 0.5) / 0.5)
    (alike,) = agreements(decisions_of([line for line in lines if line.sample_id == "0" and line.action != "tag"]))
    assert alike.observed == 1 and alike.kappa is None
