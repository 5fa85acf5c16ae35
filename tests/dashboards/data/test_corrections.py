"""The log of decisions: nothing lost, nothing overwritten, undone by its own reviewer only."""

from __future__ import annotations

import json
import multiprocessing
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import filelock
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.data.reviews import (
    TAGS_FILE,
    ReviewTarget,
    append,
    decide,
    decisions_of,
    file_name,
    last_of,
    new_tags_in_last,
    of_sample,
    read_decisions,
    tag_counts,
    tags_by,
    tags_of,
    undo,
)
from winnow.corrections import Action, Correction, read_corrections
from winnow.errors import UserError
from winnow.files import locked

TARGET = ReviewTarget("evals", "set/test/1", "hash", "what is it?", ("red", "blue"), "run-a")
START = datetime(2026, 1, 1, tzinfo=UTC)


def correction(number: int, action: Action = "keep", reviewer: str = "ann", **more: object) -> Correction:
    values = {"correction_id": str(number), "sample_id": "s", "content_hash": "h", "action": action}
    return Correction.model_validate({**values, "reviewer": reviewer, "at": START + timedelta(minutes=number), **more})


def test_a_decision_is_a_line_that_curation_reads(tmp_path: Path) -> None:
    line = decide(TARGET, "relabel", " ann ", new=" green ", tags=("x",), note=" why ")
    path = append(tmp_path, line)
    assert json.loads(path.read_text()) | {"at": 0} == {
        "correction_id": line.correction_id, "sample_id": "set/test/1", "content_hash": "hash", "field": "answer",
        "old": ["red", "blue"], "new": "green", "action": "relabel", "tags": ["x"], "note": "why", "reviewer": "ann",
        "run": "run-a", "undoes": None, "at": 0,
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
        lock = path.with_name(f"{path.name}.lock")
        with pytest.raises(filelock.Timeout), locked(lock, wait=False):
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
    assert (file_name(other) == name) == (one == other)


@pytest.mark.parametrize(
    ("action", "new", "reviewer"), [("relabel", " ", "ann"), ("keep", None, " "), ("edit_question", None, "b")]
)
def test_incomplete_decisions_are_refused(action: Action, new: str | None, reviewer: str) -> None:
    with pytest.raises(UserError):
        decide(TARGET, action, reviewer, new=new)


def test_states() -> None:
    lines = [
        correction(1, "keep"), correction(2, "drop"), correction(3, "keep", "bob"),
        correction(4, "tag", tags=("a",)), correction(5, "tag", "bob", tags=("b",)),
        correction(6, "ambiguous"), correction(7, "undo", undoes="6"),
    ]  # fmt: skip
    states = {decision.line.correction_id: decision.state for decision in decisions_of(lines)}
    assert states == {"1": "superseded", "2": "conflict", "3": "conflict", "4": "active", "5": "active", "6": "undone"}
    assert [decision.line.correction_id for decision in decisions_of(lines)] == ["6", "5", "4", "3", "2", "1"]


def test_undo_takes_back_the_reviewers_own_last_line(tmp_path: Path) -> None:
    for line in (correction(1, "keep"), correction(2, "drop", "bob", sample_id="t")):
        append(tmp_path, line)
    last = last_of(read_decisions(tmp_path), "ann ")
    assert last is not None and last.correction_id == "1"
    with pytest.raises(UserError, match="Only ann"):
        undo(last, "bob")
    append(tmp_path, undo(last, "ann"))
    assert last_of(read_decisions(tmp_path), "ann") is None
    assert [d.line.correction_id for d in of_sample(read_decisions(tmp_path), "t")] == ["2"]


def test_tags_are_counted_by_sample() -> None:
    lines = [
        correction(1, "tag", tags=("a",)), correction(2, "tag", tags=("a", "b")),
        correction(3, "tag", "bob", tags=("a",)), correction(4, "tag", sample_id="t", tags=("a",)),
    ]  # fmt: skip
    decisions = decisions_of(lines)
    assert tag_counts(decisions) == {"a": 2, "b": 1}
    assert tags_by(decisions, "s", "ann") == {"a", "b"} and tags_by(decisions, "s", "bob") == {"a"}
    assert new_tags_in_last(decisions, 3) == 1, "b came among the last three"
    assert new_tags_in_last(decisions, 1) == 0


def test_tags_come_from_a_file_or_are_nine(tmp_path: Path) -> None:
    assert len(tags_of(tmp_path)) == 9
    (tmp_path / TAGS_FILE).write_text("\n".join(["one", " ", "two", *"abcdefghijk"]))
    assert tags_of(tmp_path)[:3] == ("one", "two", "a") and len(tags_of(tmp_path)) == 9
