"""The log of decisions: nothing lost, nothing overwritten, undone by its own reviewer only."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import filelock
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.data.review_log import Decision
from dashboards.data.reviews import (
    TAGS_FILE,
    ReviewTarget,
    append,
    append_all,
    decide,
    file_name,
    new_tags_in_last,
    read_decisions,
    tag_counts,
    tags_of,
    undo,
)
from winnow.corrections import Action, Correction, read_corrections, same_person
from winnow.errors import UserError
from winnow.files import locked

TARGET = ReviewTarget("evals", "set/test/1", "hash", "what is it?", ("red", "blue"), "run-a")
START = datetime(2026, 1, 1, tzinfo=UTC)


def correction(number: int, action: Action = "keep", reviewer: str = "ann", **more: object) -> Correction:
    values = {"correction_id": str(number), "sample_id": "s", "content_hash": "h", "action": action}
    return Correction.model_validate({**values, "reviewer": reviewer, "at": START + timedelta(minutes=number), **more})


def decided(folder: Path, lines: Sequence[Correction]) -> Sequence[Decision]:
    """The lines as the pages read them back."""
    append_all(folder, lines)
    return read_decisions(folder)


def test_a_decision_is_a_line_that_curation_reads(tmp_path: Path) -> None:
    line = decide(TARGET, "relabel", " ann ", new=" green ", tags=("x",), note=" why ")
    path = append(tmp_path, line)
    assert json.loads(path.read_text()) | {"at": 0} == {
        "correction_id": line.correction_id, "sample_id": "set/test/1", "content_hash": "hash", "field": "answer",
        "old": ["red", "blue"], "new": "green", "action": "relabel", "tags": ["x"], "note": "why", "reviewer": "ann",
        "run": "run-a", "undoes": None, "settles": [], "at": 0,
    }  # fmt: skip
    assert read_corrections(tmp_path) == [line]


def _append_many(folder: Path, worker: int) -> None:
    for number in range(50):
        append(folder, correction(worker * 1000 + number))


def test_reviewers_at_once_lose_nothing(tmp_path: Path) -> None:
    workers = [multiprocessing.get_context("fork").Process(target=_append_many, args=(tmp_path, n)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(read_corrections(tmp_path)) == 200 and len(list(tmp_path.glob("*.jsonl"))) == 1


def test_a_decision_is_locked_and_on_disk_before_the_page_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bytes] = []

    def fsync(descriptor: int) -> None:
        path = tmp_path / file_name(correction(1).reviewer)
        synced.append(path.read_bytes())
        with pytest.raises(filelock.Timeout), locked(tmp_path / "corrections.lock", wait=False):
            pytest.fail("another writer got in between")

    monkeypatch.setattr(os, "fsync", fsync)
    path = append(tmp_path, correction(1))
    assert synced == [path.read_bytes()], "one sync, after the whole line"


def test_a_line_cut_short_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = append(tmp_path, correction(1))
    path.write_bytes(path.read_bytes() + b'{"correction_id": "2", "sam')
    append(tmp_path, correction(3))
    assert [line.correction_id for line in read_corrections(tmp_path)] == ["1", "3"]


def test_a_whole_line_without_an_end_is_kept(tmp_path: Path) -> None:
    path = append(tmp_path, correction(1))
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    append(tmp_path, correction(2))
    assert [line.correction_id for line in read_corrections(tmp_path)] == ["1", "2"]


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="nothing was recorded"):
        append(tmp_path / "file", correction(1))


@given(st.text(), st.text())
def test_names_give_safe_and_different_files(one: str, other: str) -> None:
    name = file_name(one)
    assert Path(name).name == name and name.isascii() and not name.startswith(".") and len(name) < 100
    assert (file_name(other) == name) == (same_person(one) == same_person(other))


@pytest.mark.parametrize(
    ("action", "new", "reviewer"), [("relabel", " ", "ann"), ("keep", None, " "), ("edit_question", None, "b")]
)
def test_incomplete_decisions_are_refused(action: Action, new: str | None, reviewer: str) -> None:
    with pytest.raises(UserError):
        decide(TARGET, action, reviewer, new=new)


def test_states(tmp_path: Path) -> None:
    lines = [
        correction(1, "keep"), correction(2, "drop"), correction(3, "keep", "bob"),
        correction(4, "tag", tags=("a",)), correction(5, "tag", "bob", tags=("b",)),
        correction(6, "ambiguous"), correction(7, "undo", undoes="6"),
    ]  # fmt: skip
    decisions = decided(tmp_path, lines)
    states = {decision.line.correction_id: decision.state for decision in decisions}
    assert states == {"1": "superseded", "2": "conflict", "3": "conflict", "4": "active", "5": "active", "6": "undone"}
    assert [decision.line.correction_id for decision in decisions] == ["6", "5", "4", "3", "2", "1"]


def test_undo_takes_back_the_reviewers_own_last_line(tmp_path: Path) -> None:
    for line in (correction(1, "keep"), correction(2, "drop", "bob", sample_id="t")):
        append(tmp_path, line)
    last = next(item.line for item in read_decisions(tmp_path) if item.line.reviewer == "ann")
    with pytest.raises(UserError, match="Only ann"):
        undo(last, "bob")
    append(tmp_path, undo(last, "ann"))
    states = {item.line.correction_id: item.state for item in read_decisions(tmp_path)}
    assert states == {"1": "undone", "2": "active"}


def test_any_own_line_can_be_undone_under_any_spelling_of_the_name(tmp_path: Path) -> None:
    keep, drop = correction(1, "keep", "Anna"), correction(2, "drop", "anna ")
    decided(tmp_path, [keep, drop])
    append(tmp_path, undo(drop, "ANNA"))
    assert [(decision.line.action, decision.state) for decision in read_decisions(tmp_path)] == [
        ("drop", "undone"), ("keep", "active"),
    ]  # fmt: skip
    assert len(list(tmp_path.glob("*.jsonl"))) == 1, "one person, one file"


def test_a_request_that_is_repeated_writes_nothing(tmp_path: Path) -> None:
    lines = [correction(1, "keep"), correction(2, "drop", "bob"), correction(3, "undo", undoes="1")]
    assert append_all(tmp_path, lines) == ["1", "2", "3"]
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.jsonl")}
    later = [line.model_copy(update={"at": line.at + timedelta(hours=1)}) for line in lines]
    assert append_all(tmp_path, [*later, correction(4), correction(4)]) == ["4"]
    assert append_all(tmp_path, later) == []
    assert {**before, file_name("ann"): b""} == {
        path.name: path.read_bytes() if path.name != file_name("ann") else b"" for path in tmp_path.glob("*.jsonl")
    }
    assert len(read_corrections(tmp_path)) == 4


def test_an_id_of_another_decision_is_refused_and_nothing_is_recorded(tmp_path: Path) -> None:
    append(tmp_path, correction(1, "keep"))
    for other in (correction(1, "drop"), correction(1, "keep", "bob"), correction(1, "keep", sample_id="t")):
        with pytest.raises(UserError, match="already used for another decision"):
            append_all(tmp_path, [correction(2), other])
    assert [line.correction_id for line in read_corrections(tmp_path)] == ["1"]


def test_a_clock_that_goes_back_does_not_bring_an_earlier_verdict_back(tmp_path: Path) -> None:
    """The second key was pressed later, whatever the clock says; a settlement comes after what it settles."""
    append_all(tmp_path, [correction(50, "keep"), correction(9, "drop"), correction(8, "tag")])
    append(tmp_path, correction(7, "ambiguous", "bob", settles=("50", "9")))
    assert {decision.line.action: decision.state for decision in read_decisions(tmp_path)} == {
        "ambiguous": "active", "tag": "active", "drop": "settled", "keep": "superseded",
    }  # fmt: skip


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = append(tmp_path, correction(1))
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"No space left .*; nothing was recorded"):
        patch.setattr(os, "fsync", full)
        append(tmp_path, correction(2))
    assert path.read_bytes() == before
    assert append_all(tmp_path, [correction(2)]) == ["2"], "sent again, it is written"


def test_a_line_longer_than_what_is_read_at_once_ends_in_the_middle(tmp_path: Path) -> None:
    path = append(tmp_path, correction(1))
    path.write_bytes(path.read_bytes() + b'{"note": "' + b"x" * 200_000)
    append(tmp_path, correction(2))
    path.write_bytes(path.read_bytes() + correction(3, note="y" * 200_000).model_dump_json().encode())
    append(tmp_path, correction(4))
    assert [line.correction_id for line in read_corrections(tmp_path)] == ["1", "2", "3", "4"]


def test_tags_are_counted_by_sample(tmp_path: Path) -> None:
    lines = [
        correction(1, "tag", tags=("a",)), correction(2, "tag", tags=("a", "b")),
        correction(3, "tag", "bob", tags=("a",)), correction(4, "tag", sample_id="t", tags=("a",)),
    ]  # fmt: skip
    decisions = decided(tmp_path, lines)
    assert tag_counts(decisions) == {"a": 2, "b": 1}
    assert new_tags_in_last(decisions, 3) == 1, "b came among the last three"
    assert new_tags_in_last(decisions, 1) == 0


def test_tags_come_from_a_file_or_are_nine(tmp_path: Path) -> None:
    assert len(tags_of(tmp_path)) == 9
    (tmp_path / TAGS_FILE).write_text("\n".join(["one", " ", "two", *"abcdefghijk"]))
    assert tags_of(tmp_path)[:3] == ("one", "two", "a") and len(tags_of(tmp_path)) == 9
