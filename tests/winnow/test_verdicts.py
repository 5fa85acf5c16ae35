"""Which verdicts count: one a person, in any order of reading; against a slow and literal reading of the rules."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.corrections import Correction, Resolved, meaning, resolve, same_person

VERDICTS = ("keep", "drop", "relabel", "ambiguous", "exclude_from_eval")
NAMES = ("anna", "Anna ", "\uff21nna", "bob", "carol", "dave")
START = datetime(2026, 1, 1, tzinfo=UTC)


def line(number: int, action: str, reviewer: str = "anna", **more: Any) -> Correction:
    return Correction.model_validate(
        {
            "correction_id": f"c{number}", "sample_id": "s", "content_hash": "h", "action": action, "note": "n",
            "new": "no" if action in ("relabel", "edit_question") else None, "reviewer": reviewer,
            "at": START + timedelta(minutes=number), **more,
        }
    )  # fmt: skip


def row(*lines: Correction) -> Resolved:
    return resolve(lines).get("s", Resolved())


def ids(lines: Any) -> list[str]:
    return [one.correction_id for one in lines]


@pytest.mark.parametrize(("ours", "theirs"), list(itertools.permutations(VERDICTS, 2)))
def test_different_verdicts_of_two_people_conflict(ours: str, theirs: str) -> None:
    found = row(line(1, ours), line(2, theirs, "bob"))
    assert (ids(found.agreed), ids(found.conflicts)) == ([], ["c1", "c2"])


def test_wrong_without_a_new_answer_is_not_the_same_as_left_out() -> None:
    wrong = line(1, "exclude_from_eval", tags=("wrong reference",))
    assert ids(row(wrong, line(2, "exclude_from_eval", "bob")).conflicts) == ["c1", "c2"]
    assert ids(row(wrong, line(2, "exclude_from_eval", "bob", tags=("blurred", "wrong reference"))).agreed)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("No", "no"), (" no", "no "), ("a  red\tcar", "a red car"), ("No.", "no"), (["no"], "No."), ("no .", "no"),
        (["a", "b"], ["B", "a."]), ("Caf\u00e9", "cafe\u0301"), (".", ". "),
    ],
)  # fmt: skip
def test_the_same_text_never_conflicts(ours: object, theirs: object) -> None:
    assert not row(line(1, "relabel", new=ours), line(2, "relabel", "bob", new=theirs)).conflicts


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("no", "yes"), (["a", "a", "b"], ["a", "b", "b"]), ("m\u00b2", "m2"), ("a b", "ab"), ("a.b", "ab"),
        (["a"], ["a", "a"]),
    ],
)  # fmt: skip
def test_another_text_is_another_verdict(ours: object, theirs: object) -> None:
    assert row(line(1, "relabel", new=ours), line(2, "relabel", "bob", new=theirs)).conflicts


def test_questions_tags_and_notes_do_not_contradict_a_verdict() -> None:
    lines = [line(1, "edit_question"), line(2, "tag"), line(3, "note"), line(4, "keep"), line(5, "tag", "bob")]
    assert ids(row(*lines).agreed) == ["c1", "c2", "c3", "c4", "c5"]
    assert ids(row(*lines, line(6, "edit_question", "bob", new="else?")).conflicts) == ["c1", "c6"]


def test_who_saw_another_content_is_in_no_conflict() -> None:
    assert ids(row(line(1, "keep"), line(2, "drop", "bob", content_hash="other")).agreed) == ["c1", "c2"]


def test_any_own_line_can_be_undone_and_the_one_before_counts_again() -> None:
    lines = [line(1, "keep"), line(2, "drop"), line(3, "tag")]
    assert ids(row(*lines, line(4, "undo", "ANNA", undoes="c2")).agreed) == ["c1", "c3"]
    assert ids(row(*lines, line(4, "undo", undoes="c1")).agreed) == ["c2", "c3"]
    assert ids(row(*lines, line(4, "undo", "bob", undoes="c2")).agreed) == ["c2", "c3"]


def test_a_settlement_ends_a_conflict_until_somebody_decides_anew() -> None:
    anna, bob = line(1, "keep"), line(2, "drop", "bob")
    settling = line(3, "ambiguous", "carol", settles=("c1", "c2"))
    found = row(anna, bob, settling)
    assert (ids(found.agreed), ids(found.settled), found.conflicts) == (["c3"], ["c1", "c2"], ())
    anew = row(anna, bob, settling, line(4, "drop", "bob"))
    assert (ids(anew.conflicts), ids(anew.settled)) == (["c3", "c4"], ["c1"])
    assert ids(row(anna, bob, settling, line(4, "ambiguous", "bob")).agreed) == ["c3", "c4"]
    taken_back = row(anna, bob, settling, line(4, "undo", "carol", undoes="c3"))
    assert ids(taken_back.conflicts) == ["c1", "c2"]


def test_of_two_settlements_the_later_counts_only_if_it_knew_the_other() -> None:
    lines = [line(1, "keep"), line(2, "drop", "bob"), line(3, "keep", "carol", settles=("c1", "c2"))]
    blind = row(*lines, line(4, "drop", "dave", settles=("c1", "c2")))
    assert ids(blind.conflicts) == ["c3", "c4"]
    knowing = row(*lines, line(4, "drop", "dave", settles=("c1", "c2", "c3")))
    assert (ids(knowing.agreed), ids(knowing.settled)) == (["c2", "c4"], ["c1", "c3"])


def test_a_line_cannot_overrule_a_later_one() -> None:
    assert ids(row(line(1, "keep", settles=("c2",)), line(2, "drop", "bob", settles=("c1",))).agreed) == ["c2"]


@st.composite
def logs(draw: st.DrawFn) -> list[Correction]:
    """Lines of four people (one of whom spells their name in three ways) about two rows; some undo or settle others."""
    made: list[Correction] = []
    for number in range(draw(st.integers(0, 12))):
        known = [one.correction_id for one in made] or ["c0"]
        action = draw(st.sampled_from([*VERDICTS, "edit_question", "tag", "note", "undo"]))
        may_settle = action not in ("tag", "note", "undo") and draw(st.booleans())
        settles = draw(st.lists(st.sampled_from([*known, f"c{number + 1}"]), max_size=3)) if may_settle else []
        made.append(
            line(
                number, action, draw(st.sampled_from(NAMES)),
                sample_id=draw(st.sampled_from(["s", "s", "t"])),
                content_hash=draw(st.sampled_from(["h", "h", "h2"])),
                new=draw(st.sampled_from(["no", "No.", "yes", ["yes", "no"], ["No", "Yes"]])),
                tags=draw(st.sampled_from([(), ("wrong reference",)])),
                at=START + timedelta(minutes=draw(st.integers(0, 9))),
                undoes=draw(st.sampled_from(known)) if action == "undo" else None,
                settles=tuple(settles),
            )
        )  # fmt: skip
    return made


def literally(lines: list[Correction]) -> dict[str, dict[str, set[str]]]:
    """sample_id → ids that are agreed, in conflict and settled; every rule by looking at all lines."""
    texts = {"no": "no", "No.": "no", "yes": "yes", "yes,no": "both", "No,Yes": "both"}
    who = {"anna": "anna", "Anna ": "anna", "\uff21nna": "anna"}

    def person(one: Correction) -> str:
        return who.get(one.reviewer, one.reviewer)

    def about(one: Correction) -> str:
        return one.action if one.action in ("edit_question", "tag", "note", "undo") else "verdict"

    def is_later(one: Correction, other: Correction) -> bool:
        return (one.at, one.correction_id) > (other.at, other.correction_id)

    def says(one: Correction) -> object:
        if one.action in ("relabel", "edit_question"):
            return texts[one.new if isinstance(one.new, str) else ",".join(one.new or ())]
        return one.action, one.action == "exclude_from_eval" and "wrong reference" in one.tags

    standing = [
        one
        for one in lines
        if one.action != "undo"
        and not any(
            other.action == "undo" and other.undoes == one.correction_id and person(other) == person(one)
            for other in lines
        )
    ]
    last = [
        one
        for one in standing
        if not any(
            is_later(other, one)
            and (other.sample_id, about(other), person(other)) == (one.sample_id, about(one), person(one))
            for other in standing
        )
    ]
    found: dict[str, dict[str, set[str]]] = {}
    for one in last:
        others = [
            other
            for other in last
            if (other.sample_id, about(other), other.content_hash) == (one.sample_id, about(one), one.content_hash)
        ]
        counting = [
            each for each in others if not any(each.correction_id in by.settles and is_later(by, each) for by in others)
        ]
        of_row = found.setdefault(one.sample_id, {"agreed": set(), "conflicts": set(), "settled": set()})
        if about(one) in ("tag", "note"):
            state = "agreed"
        elif len({str(says(each)) for each in counting}) > 1:
            state = "conflicts" if one in counting else "settled"
        else:
            state = "agreed" if says(one) == says(counting[0]) else "settled"
        of_row[state].add(one.correction_id)
    return found


@given(logs(), st.randoms(use_true_random=False))
def test_resolve_is_the_literal_reading_in_any_order(lines: list[Correction], chance: random.Random) -> None:
    shuffled = lines[:]
    chance.shuffle(shuffled)
    found = resolve(shuffled)
    assert found == resolve(lines)
    assert {
        sample_id: {name: set(ids(getattr(one, name))) for name in ("agreed", "conflicts", "settled")}
        for sample_id, one in found.items()
    } == literally(lines)


@given(logs())
def test_one_verdict_a_person(lines: list[Correction]) -> None:
    for one in resolve(lines).values():
        verdicts = [
            same_person(each.reviewer)
            for each in (*one.agreed, *one.conflicts, *one.settled)
            if each.action in VERDICTS
        ]
        assert len(verdicts) == len(set(verdicts))


@given(logs(), st.sampled_from(VERDICTS), st.sampled_from(NAMES))
def test_undo_restores(lines: list[Correction], action: str, who: str) -> None:
    decided = line(90, action, who)
    assert resolve([*lines, decided, line(91, "undo", who, undoes="c90")]) == resolve(lines)


@given(logs(), st.sampled_from(VERDICTS))
def test_a_settlement_of_all_that_was_said_ends_the_conflict(lines: list[Correction], action: str) -> None:
    settling = line(90, action, "judge", settles=tuple(one.correction_id for one in lines))
    found = row(*lines, settling)
    assert settling in found.agreed
    assert not [one for one in found.conflicts if one.action in VERDICTS and one.content_hash == "h"]


words = st.lists(st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=5), min_size=1, max_size=4)


@given(words, st.sampled_from([" ", "  ", "\t", "\n "]), st.booleans(), st.booleans())
def test_spelling_that_is_no_difference(text: list[str], blank: str, stop: bool, as_list: bool) -> None:
    plain = " ".join(text)
    if plain.endswith((".", "\u3002")):
        plain += "x"
    spelled = f" {blank.join(plain.split())}{'.' if stop else ''}{blank}"
    assert meaning(line(1, "relabel", new=plain)) == meaning(line(2, "relabel", new=[spelled] if as_list else spelled))
