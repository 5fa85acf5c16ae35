"""Reading a log again and again is reading it once, whatever was added in between and by whom."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.data import review_log
from dashboards.data.review_log import Decision, State, log_of
from dashboards.data.reviews import append, append_all
from tests.dashboards.data.test_corrections import START, correction
from winnow.corrections import Action, Correction, parse_line, read_corrections, resolve, same_person
from winnow.errors import UserError

_folders = itertools.count()


def slowly(folder: Path) -> list[Decision]:
    """All lines read anew, each with its state, the newest first."""
    lines = read_corrections(folder)
    undone = {(same_person(line.reviewer), line.undoes) for line in lines if line.action == "undo"}
    resolved = resolve(lines).values()

    def state(line: Correction) -> State:
        if (same_person(line.reviewer), line.correction_id) in undone:
            return "undone"
        for row in resolved:
            if line in row.conflicts:
                return "conflict"
            if line in row.settled:
                return "settled"
            if line in row.agreed:
                return "active"
        return "superseded"

    return [Decision(line, state(line)) for line in reversed(lines) if line.action != "undo"]


@st.composite
def steps(draw: st.DrawFn) -> list[list[tuple[str, Correction]]]:
    """Lines, some at a time, each with the file that it is written to."""
    made = []
    for number in range(draw(st.integers(1, 12))):
        action: Action = draw(st.sampled_from(["keep", "drop", "relabel", "tag", "note", "edit_question", "undo"]))
        line = correction(
            number, action, draw(st.sampled_from(["ann", "Ann ", "bob", "eve"])),
            sample_id=draw(st.sampled_from("st")), new=draw(st.sampled_from(["no", "No", "yes"])), note="n",
            at=START + timedelta(minutes=draw(st.integers(0, 5))),
            undoes=str(draw(st.integers(0, 11))) if action == "undo" else None,
            settles=(str(draw(st.integers(0, 11))),) if action in ("keep", "drop") and draw(st.booleans()) else (),
        )  # fmt: skip
        made.append((draw(st.sampled_from(["a.jsonl", "b.jsonl"])), line))
    cuts = sorted(draw(st.lists(st.integers(0, len(made)), max_size=4)))
    return [made[start:end] for start, end in itertools.pairwise([0, *cuts, len(made)])]


@given(steps(), st.booleans())
def test_reading_on_is_reading_all(
    tmp_path_factory: pytest.TempPathFactory, given: list[list[tuple[str, Correction]]], is_torn: bool
) -> None:
    folder = tmp_path_factory.getbasetemp() / f"log-{next(_folders)}"
    folder.mkdir()
    for step in given:
        for name, line in step:
            with (folder / name).open("a+") as file:
                file.write(line.model_dump_json() + "\n")
        if is_torn:
            whole = (folder / "b.jsonl").read_bytes() if (folder / "b.jsonl").exists() else b""
            (folder / "b.jsonl").open("ab").write(b'{"correction_id": "9')
            log_of(folder)
            with (folder / "b.jsonl").open("r+b") as again:
                again.truncate(len(whole))
        assert list(log_of(folder).decisions) == slowly(folder)


def test_only_new_lines_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append_all(tmp_path, [correction(number, sample_id=str(number)) for number in range(50)])
    assert len(log_of(tmp_path).decisions) == 50
    read: list[str] = []

    def counting(line: bytes, where: str) -> Correction:
        read.append(where.rpartition(":")[2])
        return parse_line(line, where)

    monkeypatch.setattr(review_log, "parse_line", counting)
    append(tmp_path, correction(50))
    append(tmp_path, correction(51, reviewer="bob"))
    assert len(log_of(tmp_path).decisions) == 52 and read == ["51", "1"]
    assert log_of(tmp_path) is log_of(tmp_path)


def test_a_log_that_was_rewritten_is_read_anew(tmp_path: Path) -> None:
    path = append(tmp_path, correction(1))
    append(tmp_path, correction(2, "drop", "bob"))
    assert [decision.state for decision in log_of(tmp_path).decisions] == ["conflict", "conflict"]
    path.write_text(correction(1, "drop").model_dump_json() + "\n")
    assert [decision.state for decision in log_of(tmp_path).decisions] == ["active", "active"]
    path.unlink()
    assert [decision.line.reviewer for decision in log_of(tmp_path).decisions] == ["bob"]


def test_a_snapshot_stays_as_it_was(tmp_path: Path) -> None:
    append(tmp_path, correction(1))
    before = log_of(tmp_path)
    append(tmp_path, correction(2, "drop", "bob"))
    assert [decision.state for decision in before.decisions] == ["active"]
    assert [decision.state for decision in log_of(tmp_path).decisions] == ["conflict", "conflict"]


def test_a_bad_line_is_named_each_time_and_mended_by_mending_the_file(tmp_path: Path) -> None:
    path = append(tmp_path, correction(1))
    good = path.read_bytes()
    for bad in (b"{}\n", correction(1, "drop").model_dump_json().encode() + b"\n"):
        path.write_bytes(good + bad)
        for _ in range(2):
            with pytest.raises(UserError, match=r"jsonl:2: "):
                log_of(tmp_path)
        with pytest.raises(UserError, match=r"jsonl:2: "):
            append(tmp_path, correction(7))
        path.write_bytes(good)
        assert len(log_of(tmp_path).decisions) == 1
