"""Reading answers: what counts as one, and what is only a status."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.reading.read import STATUSES, Extraction, read_answer

TEXT = Extraction(kind="line", choices=[])
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
    assert read_answer(raw, "stop", CHOICE) == (expected, "ok" if expected else "unparsed", False)


@pytest.mark.parametrize(
    ("raw", "finish", "extraction", "expected"),
    [
        ("red", "error", CHOICE, (None, "failed", False)),
        ("red", "content_filter", CHOICE, (None, "refused", False)),
        ("red. It sta", "length", CHOICE, ("red", "ok", True)),
        ("The shape that", "length", CHOICE, (None, "unparsed", True)),
        ("I'm sorry, but I can't", "length", CHOICE, (None, "unparsed", True)),
        ("I'm sorry, but I can't help with that. red", "stop", CHOICE, (None, "refused", False)),
        ("I cannot see the image", "stop", CHOICE, (None, "refused", False)),
        ("I cannot see the image, it is red", "stop", CHOICE, ("red", "ok", False)),
        ("I cannot see the image", "stop", TEXT, (None, "refused", False)),
        ("Sorry, we are closed", "stop", CHOICE, (None, "unparsed", False)),
        ("Sorry, we are closed", "stop", TEXT, ("Sorry, we are closed", "ok", False)),
        ("", "stop", TEXT, (None, "unparsed", False)),
        ("", "length", TEXT, (None, "unparsed", True)),
    ],
)
def test_the_status_follows_from_what_was_read(
    raw: str, finish: str, extraction: Extraction, expected: tuple[str | None, str, bool]
) -> None:
    assert read_answer(raw, finish, extraction) == expected


def test_a_stop_text_ends_the_answer() -> None:
    assert read_answer("\nred\nblue", "stop", TEXT, stop=["\n"]).answer == "red"
    assert read_answer("red###blue", "stop", TEXT, stop=["END", "###"]).answer == "red"


@pytest.mark.parametrize(
    ("kind", "expected"), [("text", "One. Two.\nThree"), ("line", "One. Two."), ("sentence", "One.")]
)
def test_plain_kinds(kind: str, expected: str) -> None:
    rule = Extraction(kind=kind, choices=[])
    assert read_answer(" One. Two.\nThree ", "stop", rule) == (expected, "ok", False)
    assert read_answer("I can see a dog", "stop", rule).status == "ok"


@given(st.text(max_size=40), st.sampled_from(["stop", "length", "error"]))
def test_any_text_is_read(raw: str, finish: str) -> None:
    for rule in (CHOICE, Extraction(choices=[]), Extraction(kind="sentence", choices=[])):
        answer, status, truncated = read_answer(raw, finish, rule)
        assert status in STATUSES and truncated == (finish == "length")
        assert (answer is not None) == (status == "ok")
        assert rule.kind != "choice" or answer is None or answer in rule.choices
