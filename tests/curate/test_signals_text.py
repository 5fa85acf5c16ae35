import math

import pytest

from curate.signals.text import COLUMNS, conversation, is_refusal, votes


def facts(*turns, images=1):
    return conversation(turns, images)


def test_columns_are_the_documented_ones():
    found = {**facts(("user", "q"), ("assistant", "a")), **votes(["a"])}
    assert found.keys() == COLUMNS.keys()


def test_counts():
    found = facts(("system", "s"), ("user", "<image>\nwhat is  this?"), ("assistant", "a red cat"))
    assert (found["turns"], found["question_words"], found["answer_words"]) == (3, 3, 3)


@pytest.mark.parametrize(
    ("turns", "alternates"),
    [
        ("ua", True), ("sua", True), ("suaua", True), ("u", False), ("a", False), ("uua", False), ("uaa", False),
        ("uau", False), ("usa", False), ("", False), ("s", False),
    ],
)  # fmt: skip
def test_alternation(turns, alternates):
    names = {"u": "user", "a": "assistant", "s": "system"}
    assert facts(*[(names[letter], "x") for letter in turns])["alternates"] is alternates


@pytest.mark.parametrize(
    ("value", "images", "match"),
    [
        ("q", 1, True), ("<image>q", 1, True), ("<image><image>q", 2, True), ("<image>q", 2, False),
        ("<image>q", 0, False), ("q", 0, True),
    ],
)  # fmt: skip
def test_markers(value, images, match):
    assert facts(("user", value), ("assistant", "a"), images=images)["markers_match"] is match


def test_empty_and_echoed_answers():
    assert facts(("user", "q"))["empty_answer"]
    assert facts(("user", "q"), ("assistant", " \n"))["empty_answer"]
    assert not facts(("user", "q"), ("assistant", "0"))["empty_answer"]
    assert facts(("user", "<image>\nWhat is it?"), ("assistant", "what is it"))["echoed_answer"]
    assert not facts(("user", "What is it?"), ("assistant", "it"))["echoed_answer"]
    assert not facts(("user", "?"), ("assistant", "!"))["echoed_answer"]


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.", "I’m sorry, I cannot see it.", "Sorry, I can't identify people.",
        "As an AI language model, I do not have eyes.", "I cannot view images.", "I can't assist with that request.",
        "Unfortunately, I am unable to see it.", "I am unable to process images.", "No image was provided.",
        "I apologize, but the picture is missing.", " I'm very sorry, but no.", "Could you please provide the image?",
        "I do not have the ability to see images.",
    ],
)  # fmt: skip
def test_refusals(answer):
    assert is_refusal(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "no", "yes", "Sorry sign on a door", "The man says: I'm sorry", "sorry", "I can see a cat.",
        "As an airplane lands, it slows.",
        "unfortunately named street", "A note that reads \"I cannot help\"", "No images on the wall",
        "can", "I do not like it.",
        "Unanswerable", "image not available in black",
    ],
)  # fmt: skip
def test_answers_that_only_look_like_refusals(answer):
    assert not is_refusal(answer)


def test_votes():
    assert votes([]) == {"agreement": None, "vote_entropy": None}
    assert votes(["yes", "Yes ", "YES"]) == {"agreement": 1.0, "vote_entropy": 0.0}
    found = votes(["a", "a", "b", "c"])
    assert (found["agreement"], found["vote_entropy"]) == (0.5, 1.5)
    assert math.isclose(votes(list("abc"))["vote_entropy"], math.log2(3))
