"""Reading answers: what counts as one, and what is only a status."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.reading.read import STATUSES, Extraction, read_answer

CHOICE = Extraction(kind="choice", choices=["yes", "no", "red", "dark red", "blue"])


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("red", "red"),
        (" Red. ", "red"),
        ("**yes**", "yes"),
        ("The shape is red.", "red"),
        ("The answer is:\n\nblue", "blue"),
        ("No, it is blue", "no"),
        ("dark red", "dark red"),
        ("It is dark red", "dark red"),
        ("red. It is not blue", "red"),
        ("red or blue", None),
        ("red/blue", None),
        ("It may be red or blue", None),
        ("reddish", None),
        ("nothing here", None),
        ("a\nred", None),
        ("", None),
    ],
)
def test_choices(raw: str, expected: str | None) -> None:
    assert read_answer(raw, "stop", CHOICE) == (expected, "ok" if expected else "unparsed")


@pytest.mark.parametrize(
    ("raw", "finish", "status"),
    [
        ("red", "length", "truncated"),
        ("red", "error", "failed"),
        ("I'm sorry, but I can't help with that. red", "stop", "refused"),
        ("I cannot see the image", "stop", "refused"),
        ("As an AI language model, I see red", "stop", "refused"),
    ],
)
def test_no_status_but_ok_is_scored(raw: str, finish: str, status: str) -> None:
    assert read_answer(raw, finish, CHOICE) == (None, status)
    assert read_answer(raw, finish, Extraction(choices=[])) == (None, status)


@pytest.mark.parametrize(
    ("kind", "expected"), [("text", "One. Two.\nThree"), ("line", "One. Two."), ("sentence", "One.")]
)
def test_plain_kinds(kind: str, expected: str) -> None:
    rule = Extraction(kind=kind, choices=[])
    assert read_answer(" One. Two.\nThree ", "stop", rule) == (expected, "ok")
    assert read_answer("I can see a dog", "stop", rule)[1] == "ok"


@given(st.text(max_size=40), st.sampled_from(["stop", "length", "error"]))
def test_any_text_is_read(raw: str, finish: str) -> None:
    for rule in (CHOICE, Extraction(choices=[]), Extraction(kind="sentence", choices=[])):
        answer, status = read_answer(raw, finish, rule)
        assert status in STATUSES and (answer is not None) == (status == "ok")
        assert rule.kind != "choice" or answer is None or answer in rule.choices
