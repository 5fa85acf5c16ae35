"""Conflicts side by side, and how one of them ends."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from dashboards.data.catalog import scan
from dashboards.data.conflicts import (
    Conflict,
    Conflicts,
    agree_with,
    conflicts,
    judged_row,
    last_settlement,
    settle,
    sides_of,
    still_open,
)
from dashboards.data.review_log import decisions_on, log_of
from dashboards.data.reviews import append, append_all, undo
from tests.dashboards.data.test_corrections import correction
from winnow.corrections import read_corrections, resolve
from winnow.errors import UserError


def conflict_of_two(sample_id: str, content_hash: str) -> Conflict:
    seen = {"sample_id": sample_id, "content_hash": content_hash}
    lines = [correction(1, "keep", "ann", **seen), correction(2, "drop", "bob", **seen)]
    return Conflict(sample_id, content_hash, "verdict", sides_of(lines))


def of(folder: Path) -> Conflicts:
    return conflicts(log_of(folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Anna and eve say no, bob says yes; on another row a question is disputed; a third is agreed on."""
    append_all(
        tmp_path,
        [
            correction(1, "relabel", "anna", new="No"), correction(2, "relabel", "bob", new="yes", note="look left"),
            correction(3, "relabel", "eve", new="no."), correction(4, "edit_question", sample_id="t", new="what?"),
            correction(5, "edit_question", "bob", sample_id="t", new="who?"), correction(6, "keep", sample_id="t"),
            correction(7, "keep", sample_id="u"), correction(8, "keep", "bob", sample_id="u"),
        ],
    )  # fmt: skip
    return tmp_path


def test_people_who_mean_the_same_are_one_side(folder: Path) -> None:
    first, second = of(folder).left
    assert (first.sample_id, first.aspect, [side.names for side in first.sides]) == (
        "s", "verdict", [("anna", "eve"), ("bob",)],
    )  # fmt: skip
    assert first.sides[0].line.new == "no.", "the later text counts"
    assert (second.sample_id, second.aspect, of(folder).total) == ("t", "question", 2)


def test_agreeing_with_somebody_ends_it_and_is_what_curation_applies(folder: Path) -> None:
    conflict = of(folder).left[0]
    line = agree_with(conflict, decisions_on(folder, "s"), conflict.sides[1], " carol ", "they are right")
    assert (line.action, line.new, line.reviewer, line.note) == ("relabel", "yes", "carol", "they are right")
    assert set(line.settles) == {"1", "2", "3"}
    append(folder, line)
    found = of(folder)
    assert ([one.sample_id for one in found.left], found.settled, found.total) == (["t"], 1, 2)
    row = resolve(read_corrections(folder))["s"]
    assert [one.reviewer for one in row.agreed] == ["bob", "carol"] and len(row.settled) == 2


def test_a_new_question_is_settled_as_a_verdict_is(folder: Path) -> None:
    conflict = of(folder).left[1]
    append(folder, settle(conflict, decisions_on(folder, "t"), "edit_question", "carol", new="which?"))
    row = resolve(read_corrections(folder))["t"]
    assert [(one.action, one.new) for one in row.agreed] == [("keep", None), ("edit_question", "which?")]


def test_what_comes_back_by_an_undo_is_settled_too(folder: Path) -> None:
    append(folder, again := correction(20, "keep", "bob"))
    conflict = of(folder).left[0]
    append(folder, settle(conflict, decisions_on(folder, "s"), "ambiguous", "carol"))
    append(folder, undo(again, "bob"))
    assert [one.sample_id for one in of(folder).left] == ["t"]


def test_whoever_decides_anew_opens_it_again(folder: Path) -> None:
    conflict = of(folder).left[0]
    append(folder, settle(conflict, decisions_on(folder, "s"), "ambiguous", "carol"))
    append(folder, correction(30, "keep", "bob"))
    assert {"s", "t"} == {one.sample_id for one in of(folder).left} and of(folder).settled == 0


def test_a_party_can_give_in(folder: Path) -> None:
    conflict = of(folder).left[0]
    line = agree_with(conflict, decisions_on(folder, "s"), conflict.sides[0], "BOB")
    assert set(line.settles) == {"1", "3"}, "one's own line is replaced, not overruled"
    append(folder, line)
    assert len(resolve(read_corrections(folder))["s"].agreed) == 3


def test_the_last_settlement_can_be_taken_back_by_its_own_reviewer(folder: Path) -> None:
    conflict = of(folder).left[0]
    append(folder, settle(conflict, decisions_on(folder, "s"), "keep", "Carol"))
    assert last_settlement(log_of(folder), "bob") is None
    last = last_settlement(log_of(folder), "carol")
    assert last is not None
    append(folder, undo(last, "carol"))
    assert of(folder).left[0] == conflict and last_settlement(log_of(folder), "carol") is None


def test_a_conflict_that_changed_meanwhile_is_not_settled_blindly(folder: Path) -> None:
    conflict = of(folder).left[0]
    assert still_open(folder, conflict) == decisions_on(folder, "s")
    append(folder, correction(40, "drop", "dave"))
    assert still_open(folder, conflict) is None


@pytest.mark.parametrize(("reviewer", "new"), [(" ", "no"), ("carol", " "), ("carol", None), ("carol", ["no", ""])])
def test_incomplete_settlements_are_refused(folder: Path, reviewer: str, new: str | list[str] | None) -> None:
    with pytest.raises(UserError):
        settle(of(folder).left[0], decisions_on(folder, "s"), "relabel", reviewer, new=new)


def test_the_row_is_shown_as_it_was_judged(data: Path) -> None:
    answer = pd.read_parquet(data / "evals/demo-tuned/predictions.parquet").iloc[0]
    same = correction(1, sample_id=answer["sample_id"], content_hash=answer["content_hash"])
    conflict = conflict_of_two(same.sample_id, same.content_hash)
    row = judged_row(scan(data), conflict)
    assert row is not None and row.is_same
    assert (row.question, list(row.references)) == (answer["question"], list(answer["references"]))
    assert {run for run, _ in row.answers} == {"demo-base", "demo-tuned"}
    changed = judged_row(scan(data), conflict_of_two(same.sample_id, "another content"))
    assert changed is not None and not changed.is_same
    assert judged_row(scan(data), conflict_of_two("nowhere", "h")) is None
