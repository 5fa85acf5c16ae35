import math

import pytest

from curate.signals import SIGNALS
from curate.signals.text import conversation, is_refusal, votes


def facts(*turns, images=1):
    return conversation(turns, images)


def test_columns_are_the_documented_ones():
    found = {**facts(("user", "q"), ("assistant", "a")), **votes(["a"])}
    assert found.keys() == SIGNALS["text"].columns.keys()


def test_counts():
    found = facts(("system", "s"), ("user", "<image>\nwhat is  this?"), ("assistant", "a red cat"))
    assert (found["turns"], found["question_words"], found["answer_words"]) == (3, 3, 3)


@pytest.mark.parametrize(
    ("speakers", "alternates"),
    [
        ("user tool_call tool_response assistant", True),
        ("user assistant tool_call tool_call tool_response tool_response assistant", True),
        ("system user function_call observation assistant user assistant", True),
        ("user function_call", True),
        ("user tool_call tool_response", False),
        ("user user tool_call tool_response assistant", False),
        ("tool_call tool_response assistant", False),
    ],
)
def test_calls_and_answers_of_tools_take_the_turn_of_their_side(speakers, alternates):
    found = facts(*((speaker, "x") for speaker in speakers.split()))
    assert (found["alternates"], found["empty_answer"]) == (alternates, False)


@pytest.mark.parametrize(
    ("text", "number", "match", "token"),
    [
        ("<video>What?", {"videos": 1}, True, None),
        ("What?", {"videos": 1}, True, None),
        ("<video>What?", {}, False, "<video>"),
        ("<video><video>What?", {"videos": 1}, False, None),
        ("<audio>What?", {"audios": 1}, True, None),
        ("<image><audio><video>What?", {"images": 1, "audios": 1, "videos": 1}, True, None),
        ("Find <ref-object> at <bbox>", {"objects": {"<ref-object>": 1, "<bbox>": 1}}, True, None),
        ("Find <ref-object>", {"objects": {"<ref-object>": 3, "<bbox>": 1}}, True, None),
        ("Find <bbox><bbox>", {"objects": {"<ref-object>": 3, "<bbox>": 1}}, False, None),
        ("Find <bbox>", {}, False, None),
    ],
)
def test_markers_of_files_and_objects(text, number, match, token):
    found = conversation([("user", text), ("assistant", "a")], **{"images": 0, **number})
    assert (found["markers_match"], found["control_token"]) == (match, token)


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
    assert facts(("user", "这是什么颜色"), ("assistant", "这是什么颜色"))["echoed_answer"]


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.", "I’m sorry, I cannot see it.", "Sorry, I can't identify people.",
        "As an AI language model, I do not have eyes.", "I cannot view images.", "I can't assist with that request.",
        "Unfortunately, I am unable to see it.", "I am unable to process images.", "No image was provided.",
        "I apologize, but the image is missing.", " I'm very sorry, but no.", "Could you please provide the image?",
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


@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("a<|im_start|>user", "<|im_start|>"),
        ("the end<|endoftext|>", "<|endoftext|>"),
        ("[INST] hi [/INST]", "[INST]"),
        ("yes</s>", "</s>"),
        ("<image_pad>", "<image_pad>"),
        ("<|vision_start|><|image_pad|>", "<|vision_start|>"),
        ("<start_of_turn>user", "<start_of_turn>"),
        ("<|eot_id|>", "<|eot_id|>"),
        ("<<SYS>>", "<<SYS>>"),
        ("<｜end▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
        ("a <pad> b", "<pad>"),
        ("<end_of_utterance>", "<end_of_utterance>"),
        ("<image>\nwhat?", None),
        ("if a < b or b > c", None),
        ("a sign [INSTANT]", None),
        ("x|y|z <b>bold</b>", None),
        ("<s", None),
        ("a list [1] [SEE]", None),
        ("<|", None),
        ("P<|x", None),
    ],
)
def test_control_tokens(value, token):
    assert facts(("user", value), ("assistant", "a"))["control_token"] == token
    assert facts(("user", "q"), ("assistant", value))["control_token"] == token


def test_control_tokens_of_an_endless_text_are_sought_in_no_time():
    assert facts(("user", "<|" * 200_000), ("assistant", "[" * 200_000))["control_token"] is None


def test_longest_turn():
    found = facts(("user", "a b"), ("assistant", "one two three"), ("user", "x" * 50), ("assistant", "y"))
    assert (found["longest_turn_words"], found["longest_turn_chars"]) == (3, 50)
    assert facts()["longest_turn_words"] == 0


@pytest.mark.parametrize(
    ("question", "answer", "mismatch"),
    [
        ("Is the man wearing a hat?", "yes", False),
        ("Is the man wearing a hat?", "Yes, a red one", False),
        ("Is the man wearing a hat?", "a hat", True),
        ("Is the man wearing a hat?", "The man wears a red hat today", False),
        ("Isn't that a dog?", "cat", True),
        ("Does it rain?", "It doesn't.", False),
        ("Is it red or blue?", "red", None),
        ("Can you describe the image?", "A cat", None),
        ("Can you see a cat?", "cat", True),
        ("Is it night, or day?", "day", None),
        ("Is there a dog?", "not sure", False),
        ("How many dogs are there?", "2", False),
        ("How many dogs are there?", "Two.", False),
        ("how many dogs are there", "brown", True),
        ("How many?", "a dozen", False),
        ("How many?", "none", False),
        ("How much does it cost?", "brown", None),
        ("How many people are shown?", "unanswerable", False),
        ("What color is the car?", "red", False),
        ("What colour is the car?", "Light greenish", False),
        ("what color is the car?", "car", True),
        ("What color is it?", "2", True),
        ("What is it?", "2", None),
        ("What color is it?", "", False),
        ("", "yes", None),
    ],
)
def test_answer_type(question, answer, mismatch):
    turns = ("user", f"<image>\n{question}"), ("assistant", answer)
    assert facts(*turns)["answer_type_mismatch"] is mismatch


def test_one_mismatch_among_several_turns_counts():
    turns = [("user", "How many?"), ("assistant", "2"), ("user", "What color?"), ("assistant", "Bob")]
    assert facts(*turns)["answer_type_mismatch"] is True
    assert facts(*turns[:2])["answer_type_mismatch"] is False
    assert facts(("user", "Describe."), ("assistant", "A dog."))["answer_type_mismatch"] is None


def test_votes():
    assert votes([]) == {"agreement": None, "vote_entropy": None}
    assert votes(["yes", "Yes ", "YES"]) == {"agreement": 1.0, "vote_entropy": 0.0}
    found = votes(["a", "a", "b", "c"])
    assert (found["agreement"], found["vote_entropy"]) == (0.5, 1.5)
    assert math.isclose(votes(list("abc"))["vote_entropy"], math.log2(3))
