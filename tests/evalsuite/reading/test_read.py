"""Reading answers: what counts as one, and what is only a status."""

import time

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


@pytest.mark.parametrize(
    ("raw", "kind", "answer"),
    [
        ("Answer: red", "line", "red"),
        ("The sign has three words.\n\n**Answer:** STOP HERE NOW", "line", "STOP HERE NOW"),
        ("The answer is 42.", "line", "42"),
        ("So 6 × 7 = 42.\nFinal answer: \\boxed{42}", "text", "42"),
        ("<answer>red</answer>", "text", "red"),
        ("<think>blue?</think>red", "line", "red"),
        ("The answer is not visible in the image", "line", "The answer is not visible in the image"),
        ("A sign with the answer: no", "line", "A sign with the answer: no"),
        ("red\nblue", "line", "red"),
        ("**red**", "line", "red"),
        ("red<|im_end|>", "line", "red"),
    ],
)
def test_short_answers_that_are_stated(raw: str, kind: str, answer: str) -> None:
    assert read_answer(raw, "stop", Extraction(kind=kind, choices=[])).answer == answer


def test_captions_are_taken_as_they_stand() -> None:
    caption = Extraction(kind="line", rule="verbatim", choices=[])
    assert read_answer("Answer: a dog\nmore", "stop", caption).answer == "Answer: a dog"


@pytest.mark.parametrize(
    ("extraction", "raw", "answer"),
    [
        (Extraction(kind="number", choices=[]), "The answer is **1,200** m.", "1200"),
        (Extraction(kind="number", choices=[]), "I'm sorry, I cannot read image 1.", None),
        (Extraction(kind="box", scale="thousandths", choices=[]), "[100, 200, 300, 400]", "[0.1, 0.2, 0.3, 0.4]"),
        (Extraction(kind="json", key="answer", choices=[]), '```json\n{"answer": "red"}\n```', "red"),
        (Extraction(kind="letter", choices=[], rule="mmmu"), "**B**", None),
        (Extraction(kind="letter", choices=[], rule="mmmu", strip=["markdown"]), "**B**", "B"),
        (Extraction(kind="letter", choices=[], strip=[]), "<think>A</think>\n\nAnswer: **B**", "B"),
        (Extraction(kind="yes_no", choices=[]), "<think>no?</think>Yes", "yes"),
        (CHOICE, "First blue, then red. **Answer: red**", "red"),
    ],
)
def test_kinds_and_what_they_strip(extraction: Extraction, raw: str, answer: str | None) -> None:
    assert read_answer(raw, "stop", extraction, ["lion", "tiger"]).answer == answer


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "json"}, "key belongs to kind: json"),
        ({"kind": "line", "scale": "pixels"}, "scale belongs to kind: box"),
        ({"kind": "number", "rule": "words"}, "no rule 'words'"),
        ({"kind": "line", "strip": ["emphasis"]}, "thinking"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Extraction(choices=[], **settings)


KINDS = [
    TEXT, CHOICE, Extraction(kind="text", choices=[]), Extraction(kind="letter", choices=[]),
    Extraction(kind="yes_no", choices=[]), Extraction(kind="number", choices=[]), Extraction(kind="box", choices=[]),
    Extraction(kind="json", key="answer", choices=[]),
]  # fmt: skip
LOADS = [
    "A ", "answer ", "the the ", "Answer: ", "**", "*a ", "_", "`", "<think>", "</think>", "<", "[THINK]", "\\boxed{",
    "(A", "$a", "1,", "1 ", "{", '"answer": ', "option B is ", "i'm sorry, ", "no\n", "- ", "```", "\x00", "\ud800",
    "正确答案", "so, ", "one hundred and ", "correct best ", "[1,", "<|im_end|>", "<answer>", "answer of ", " ", "\n",
    "tiger ", "not a tiger ",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("load", LOADS)
def test_long_replies_cost_time_in_proportion(load: str) -> None:
    def seconds(length: int) -> float:
        begin = time.process_time()
        for extraction in KINDS:
            read_answer(load * (length // len(load)), "stop", extraction, ["lion", "tiger"], ["###"])
        return time.process_time() - begin

    short, long = min(seconds(25_000) for _ in range(3)), min(seconds(100_000) for _ in range(2))
    assert long < 10 * short + 0.05, "four times the length: linear is 4, the square is 16"
    for extraction in (TEXT, KINDS[3]):
        answer = read_answer(load * (10_000_000 // len(load)), "stop", extraction, ["lion", "tiger"]).answer
        assert answer is None or answer.encode()


def test_a_lone_surrogate_costs_one_character() -> None:
    assert read_answer("red \ud800 dog 😀", "stop", TEXT).answer == "red \ufffd dog 😀"
    assert read_answer("red\x00dog\x00", "stop", TEXT).answer == "red\x00dog"


@given(st.text(max_size=40), st.sampled_from(["stop", "length", "error"]))
def test_any_text_is_read(raw: str, finish: str) -> None:
    for rule in (CHOICE, Extraction(choices=[]), Extraction(kind="sentence", choices=[])):
        answer, status, truncated = read_answer(raw, finish, rule)
        assert status in STATUSES and truncated == (finish == "length")
        assert (answer is not None) == (status == "ok")
        assert rule.kind != "choice" or answer is None or answer in rule.choices


@pytest.mark.parametrize("unseen", ["\0", " \ufffd", "\ufeff", "\u200b", "\x1b"])
def test_marks_that_no_one_sees_are_no_part_of_an_answer(unseen: str) -> None:
    for reply in (f"{{}}{unseen}", f"{unseen}{{}}"):
        assert read_answer(reply.format("red"), "stop", TEXT).answer == "red"
        assert read_answer(reply.format("B"), "stop", Extraction(kind="letter"), ["cat", "dog"]).answer == "B"
        assert read_answer(reply.format("yes"), "stop", Extraction(kind="yes_no")).answer == "yes"
        assert read_answer(reply.format("3"), "stop", Extraction(kind="number")).answer == "3"


@pytest.mark.parametrize(
    ("reply", "answer"),
    [("It is not blue.", None), ("It isn't red, it's blue.", "blue"), ("red, not blue", "red"), ("It is red.", "red")],
)
def test_a_choice_that_is_denied_is_not_named(reply: str, answer: str | None) -> None:
    colours = Extraction(kind="choice", choices=["red", "blue"])
    assert read_answer(reply, "stop", colours).answer == answer


def test_a_rule_that_draws_does_not_draw_the_same_letter_for_every_reply() -> None:
    rule = Extraction(kind="letter", choices=[], rule="mmmu-pro-official")
    options = [f"option {number}" for number in range(10)]
    drawn = [read_answer(f"nothing {number}", "stop", rule, options).answer for number in range(200)]
    assert len(set(drawn)) == 10 and max(map(drawn.count, drawn)) < 50
