"""Agreement between reviewers, by what their verdicts mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboards.data.reviews import Agreement, agreements, append_all, read_decisions
from tests.dashboards.data.test_corrections import correction
from winnow.corrections import Action, Correction


def agreed(folder: Path, lines: list[Correction]) -> list[Agreement]:
    append_all(folder, lines)
    return agreements(read_decisions(folder))


def test_kappa(tmp_path: Path) -> None:
    """Three of four alike; chance is 0.5 * 0.25 + 0.5 * 0.75."""
    verdicts: dict[str, list[Action]] = {
        "ann": ["keep", "keep", "drop", "drop"],
        "bob": ["keep", "drop", "drop", "drop"],
    }
    judged: list[tuple[str, int, Action]] = [
        (who, row, verdict) for who, given in verdicts.items() for row, verdict in enumerate(given)
    ]
    judged.append(("eve", 0, "tag"))
    lines = [correction(number, verdict, who, sample_id=str(row)) for number, (who, row, verdict) in enumerate(judged)]
    (found,) = agreed(tmp_path / "all", lines)
    assert (found.first, found.second, found.n, found.observed) == ("ann", "bob", 4, 0.75)
    assert found.kappa == pytest.approx((0.75 - 0.5) / 0.5)
    (alike,) = agreed(tmp_path / "one", [line for line in lines if line.sample_id == "0" and line.action != "tag"])
    assert alike.observed == 1 and alike.kappa is None


def test_verdicts_are_compared_as_they_are_meant(tmp_path: Path) -> None:
    ann = [
        correction(1, "relabel", sample_id="same", new="No"), correction(2, "relabel", sample_id="text", new="no"),
        correction(3, "exclude_from_eval", sample_id="why"), correction(4, "edit_question", sample_id="same", new="?"),
    ]  # fmt: skip
    bob = [
        correction(5, "relabel", "bob", sample_id="same", new="no."),
        correction(6, "relabel", "bob", sample_id="text", new="yes"),
        correction(7, "exclude_from_eval", "bob", sample_id="why", tags=("wrong reference",)),
        correction(8, "note", "bob", sample_id="why", note="?"),
    ]
    (found,) = agreed(tmp_path, ann + bob)
    assert found.n == 3 and found.observed == pytest.approx(1 / 3)


def test_one_person_in_two_spellings_is_no_pair(tmp_path: Path) -> None:
    assert not agreed(tmp_path, [correction(1, "keep", "Anna"), correction(2, "drop", "anna ")])


def test_a_settlement_is_no_independent_verdict(tmp_path: Path) -> None:
    lines = [
        correction(1, "keep"), correction(2, "drop", "bob"), correction(3, "keep", "bob", settles=("1", "2")),
        correction(4, "keep", "eve", settles=("1", "2", "3")),
    ]  # fmt: skip
    (found,) = agreed(tmp_path, lines)
    assert (found.first, found.second, found.observed) == ("ann", "bob", 0), "as they judged before it was settled"
