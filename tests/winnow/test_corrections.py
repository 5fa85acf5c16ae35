"""Reviewers' lines: last wins within a reviewer, disagreement is a conflict, other content is stale."""

import json

import pytest

from winnow.corrections import Correction, apply, content_hash, outcomes, read_corrections, resolve
from winnow.errors import UserError

RECORD = {
    "id": "set/train/1",
    "image": "1.png",
    "conversations": [{"from": "user", "value": "<image>\nWhat is it?"}, {"from": "assistant", "value": "cat"}],
    "answers": ["cat", "cat", "dog"],
    "source": "set",
    "split": "train",
    "meta": {},
}
NOW = content_hash(["k1"], RECORD)


def line(number, action, reviewer="ann", new=None, hour=None, **more):
    values = {
        "correction_id": f"c{number}",
        "sample_id": "set/train/1",
        "content_hash": NOW,
        "action": action,
        "new": new,
        "reviewer": reviewer,
        "at": f"2026-01-01T{number if hour is None else hour:02d}:00:00+00:00",
        **more,
    }
    return Correction.model_validate(values)


def applied(*lines):
    return apply(RECORD, NOW, resolve(lines)["set/train/1"])


def test_relabel_replaces_turn_and_references_and_remembers_them():
    found = applied(line(1, "relabel", new="dog"))
    assert found.record["conversations"][1]["value"] == "dog"
    assert found.record["answers"] == ["dog"]
    assert found.record["meta"]["before_correction"] == {"answer": "cat", "answers": ["cat", "cat", "dog"]}
    assert found.status == {"c1": "applied"}
    assert RECORD["answers"] == ["cat", "cat", "dog"], "the record given must not change"


def test_relabel_with_several_answers_trains_on_the_most_frequent():
    found = applied(line(1, "relabel", new=["fox", "wolf", "wolf"]))
    assert found.record["conversations"][1]["value"] == "wolf"
    assert found.record["answers"] == ["fox", "wolf", "wolf"]


def test_edit_question_keeps_the_marker():
    found = applied(line(1, "edit_question", new="Which animal?"))
    assert found.record["conversations"][0]["value"] == "<image>\nWhich animal?"


@pytest.mark.parametrize(("action", "override"), [("keep", "keep"), ("drop", "drop"), ("ambiguous", "flag")])
def test_a_decision_is_an_override(action, override):
    assert applied(line(1, action)).override == override


def test_the_last_line_of_a_reviewer_wins():
    assert applied(line(1, "drop"), line(2, "keep")).override == "keep"


@pytest.mark.parametrize("last", ["keep", "drop", "relabel", "ambiguous", "exclude_from_eval"])
def test_a_later_verdict_replaces_every_earlier_one_of_the_same_person(last):
    before = [line(n, action, new="fox") for n, action in enumerate(["keep", "drop", "relabel", "ambiguous"])]
    found = applied(*before, line(9, last, "Ann ", new="dog"))
    assert list(found.status) == ["c9"]
    assert found.override == {"keep": "keep", "drop": "drop", "ambiguous": "flag"}.get(last)
    assert found.record["answers"] == (["dog"] if last == "relabel" else RECORD["answers"])


def test_two_reviewers_who_disagree_change_nothing():
    found = applied(line(1, "drop"), line(2, "keep", reviewer="bob"))
    assert found.override is None
    assert found.status == {"c1": "conflict", "c2": "conflict"}


def test_two_reviewers_who_agree():
    found = applied(line(1, "relabel", new="dog"), line(2, "relabel", reviewer="bob", new="dog"))
    assert found.record["answers"] == ["dog"]
    assert found.status == {"c1": "applied", "c2": "applied"}


def test_a_conflict_on_one_aspect_leaves_the_others():
    found = applied(line(1, "drop"), line(2, "keep", "bob"), line(3, "edit_question", "bob", new="Which animal?"))
    assert found.override is None
    assert found.record["conversations"][0]["value"] == "<image>\nWhich animal?"
    assert found.status == {"c1": "conflict", "c2": "conflict", "c3": "applied"}


def test_of_agreed_texts_the_last_one_is_written():
    lines = [line(2, "relabel", "bob", new="No."), line(1, "relabel", new="no"), line(3, "relabel", "eve", new="NO")]
    found = applied(*lines)
    assert found.record["answers"] == ["NO"]
    assert found.status == {"c1": "applied", "c2": "applied", "c3": "applied"}


def test_a_settlement_is_applied_and_what_it_overrules_is_said():
    found = applied(line(1, "drop"), line(2, "keep", "bob"), line(3, "keep", "eve", settles=("c1", "c2")))
    assert found.override == "keep"
    assert found.status == {"c1": "settled", "c2": "applied", "c3": "applied"}


def test_a_note_is_noted_and_contradicts_nobody():
    found = applied(line(1, "note", note="looks odd"), line(2, "note", "bob", note="fine"), line(3, "keep", "bob"))
    assert found.override == "keep"
    assert found.status == {"c1": "noted", "c2": "noted", "c3": "applied"}


def test_what_became_of_every_line():
    lines = [
        line(1, "drop"), line(2, "keep"), line(3, "ambiguous"), line(4, "undo", undoes="c3"), line(5, "tag", "bob"),
        line(6, "drop", "bob", sample_id="gone"),
    ]  # fmt: skip
    resolved = resolve(lines)
    found = outcomes(lines, resolved, apply(RECORD, NOW, resolved["set/train/1"]).status)
    assert found["lines"] == {"c1": "superseded", "c2": "applied", "c3": "undone", "c5": "noted", "c6": "elsewhere"}
    assert found["counts"] == {"applied": 1, "elsewhere": 1, "noted": 1, "superseded": 1, "undone": 1}


def test_undo_takes_back_one_line_of_the_same_reviewer():
    assert "set/train/1" not in resolve([line(1, "drop"), line(2, "undo", undoes="c1")])
    assert applied(line(1, "drop"), line(2, "undo", reviewer="bob", undoes="c1")).override == "drop"
    assert applied(line(1, "keep"), line(2, "drop"), line(3, "undo", undoes="c2")).override == "keep"


def test_other_content_is_stale():
    found = applied(line(1, "relabel", new="dog", content_hash="0" * 64))
    assert found.record == RECORD
    assert found.status == {"c1": "stale"}


def test_exclusion_from_evaluation_is_noted_only():
    found = applied(line(1, "exclude_from_eval"))
    assert found.record == RECORD
    assert found.override is None
    assert found.status == {"c1": "noted"}


def test_the_hash_sees_images_conversations_and_answers():
    changed = {**RECORD, "answers": ["dog"]}
    assert len({NOW, content_hash(["k2"], RECORD), content_hash(["k1"], changed), content_hash([], RECORD)}) == 4
    assert content_hash(["k1"], {**RECORD, "meta": {"x": 1}}) == NOW


def write(folder, name, *lines):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(f"{one if isinstance(one, str) else one.model_dump_json()}\n" for one in lines))


def test_files_are_merged_by_time(tmp_path):
    write(tmp_path / "c", "ann.jsonl", line(3, "keep"), line(1, "drop"))
    write(tmp_path / "c", "bob.jsonl", line(2, "ambiguous", reviewer="bob"), "")
    write(tmp_path / "c", "notes.txt", "not read")
    assert [one.correction_id for one in read_corrections(tmp_path / "c")] == ["c1", "c2", "c3"]
    assert read_corrections(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "c/ann.jsonl:2: not a correction"),
        ("[]", "not a correction"),
        (json.dumps({**line(9, "drop").model_dump(mode="json"), "action": "burn"}), "action"),
        (json.dumps({**line(9, "drop").model_dump(mode="json"), "action": "relabel"}), "needs a value in 'new'"),
        (json.dumps({**line(9, "drop").model_dump(mode="json"), "action": "undo"}), "needs the correction_id"),
        (json.dumps({**line(9, "drop").model_dump(mode="json"), "at": "2026-01-01T00:00:00"}), "at"),
        (json.dumps({**line(9, "drop").model_dump(mode="json"), "action": "note"}), "needs a text in 'note'"),
        (json.dumps({**line(9, "tag").model_dump(mode="json"), "settles": ["c1"]}), "'tag' settles nothing"),
        (line(1, "keep").model_dump_json(), "'c1' was already used"),
    ],
)
def test_bad_lines_are_named(tmp_path, text, message):
    write(tmp_path / "c", "ann.jsonl", line(1, "drop"), text)
    with pytest.raises(UserError, match=message):
        read_corrections(tmp_path / "c")


@pytest.mark.parametrize("cut", [1, 30, -1])
def test_a_line_cut_off_by_a_power_cut_is_left_out(tmp_path, capsys, cut):
    write(tmp_path / "c", "ann.jsonl", line(1, "drop"))
    torn = line(2, "keep", note="\u00e4\u2028").model_dump_json().encode()
    with (tmp_path / "c" / "ann.jsonl").open("ab") as handle:
        handle.write(torn[:cut])
    assert [one.correction_id for one in read_corrections(tmp_path / "c")] == ["c1"]
    assert "c/ann.jsonl:2: this line was cut off" in capsys.readouterr().err
    with (tmp_path / "c" / "ann.jsonl").open("ab") as handle:
        handle.write(b"\n" + torn)
    with pytest.raises(UserError, match=r"c/ann\.jsonl:2: not a correction"):
        read_corrections(tmp_path / "c")


def test_a_whole_last_line_needs_no_end(tmp_path, capsys):
    write(tmp_path / "c", "ann.jsonl", line(1, "drop"))
    with (tmp_path / "c" / "ann.jsonl").open("a") as handle:
        handle.write(line(2, "keep", note="a\u2028b").model_dump_json())
    assert [one.note for one in read_corrections(tmp_path / "c")] == ["", "a\u2028b"]
    assert not capsys.readouterr().err
