"""Refusals are told from answers by their form: texts of both sides."""

import pytest

from evalsuite.reading.refusal import is_refusal, refuses

REFUSALS = [
    "I'm sorry, but I can't see or analyze images. Let me know how I can assist!",
    "I'm sorry, I can't diagnose the image.",
    "I'm unable to view or identify specific notes. Could you describe them?",
    "I'm sorry, I can't choose an answer based on the image content.",
    "I'm sorry, I can't make a determination based on the image provided.",
    "I'm sorry, I can't see the table.",
    "I'm sorry, but I can't show you the correct answer.",
    "I'm sorry, I can't assist with that.",
    "I’m sorry, but I can’t help with that.",
    "I'm sorry, but I can't identify people in images.",
    "I cannot determine the answer from the image.",
    "I can't see the image.",
    "As an AI language model, I cannot view images.",
    "I'm unable to view images directly. Please describe it.",
    "I am not able to provide that information.",
    "Sorry, I can't help you with this request.",
    "I apologize, but I cannot fulfill this request.",
    "Unfortunately, I cannot see any image.",
    "I don't see any image attached. Please upload it.",
    "I do not have access to the image.",
    "I'm sorry, but I am unable to determine what brand this is. If you have any other questions, feel free to ask!",
    "I won't answer that.",
    "I must decline to answer.",
    "抱歉，我无法识别图中的人物。",
    "Je suis désolé, je ne peux pas vous aider.",
    "Lo siento, no puedo ayudar con eso.",
    "Es tut mir leid, aber ich kann Ihnen dabei nicht helfen.",
    "I cannot tell from the image.",
    "I'm sorry, I cannot assist.",
    "I'm sorry, I can't do that.",
    "I can't help with that",
    "I’m not able to help with identifying people.",
    "I'm sorry, but I cannot answer this question as it is inappropriate.",
    "Sorry, but I can't read the text in the image.",
    "I cannot provide an answer because the image is missing.",
    "**I can't assist with that.**",
    "I'm afraid I can't help with that.",
    "I'm very sorry, but I'm not able to comply with this request",
    "I can't make out the text in the picture.",
]
ANSWERS = [
    "I can't choose between them",
    "I can't show you my heart",
    "I can't make a cake",
    "Sorry we're closed",
    "Sorry, we are closed",
    "I can't believe it's not butter",
    "I won't back down",
    "I can't help falling in love with you",
    "I can't see without my glasses",
    "Sorry, we can't accept credit cards",
    "I can't stop loving you",
    "I will not be silenced",
    "I can't breathe",
    "I'm sorry Dave, I'm afraid I can't do that",
    "I could not ask for more",
    "Sorry for the inconvenience",
    "We apologize for the inconvenience",
    "I cannot live without books",
    "I can't keep calm",
    "I can't adult today",
    "No, I can see a dog",
    "I cannot identify the man, but the sign says STOP",
    "I can't determine the brand. The sign says Nike.",
    "Unfortunately, the bus is red.",
    "I am a cat",
    "I can't go on",
    "Sorry not sorry",
    "I'm sorry, I love you",
    "I don't have a dream",
    "I'm sorry, but the answer is red",
    "I can't get no satisfaction",
    "I can't read",
    "I can't wait",
    "I won't give up",
    "I won't do what you tell me",
    "I can't tell a lie",
    "",
    "I can't even",
    "I can not tell a lie",
    "I can't see me loving nobody but you",
    "I can't handle the truth",
    "I cannot see any dogs",
    "I don't see a cat",
]


@pytest.mark.parametrize("reply", REFUSALS)
def test_refusals(reply: str) -> None:
    assert refuses(reply) and is_refusal(reply)


@pytest.mark.parametrize("reply", ANSWERS)
def test_answers_are_no_refusals(reply: str) -> None:
    assert not is_refusal(reply)


def test_a_refusal_with_an_answer_behind_it_only_opens_with_one() -> None:
    assert refuses("I cannot identify the man, but the sign says STOP")


@pytest.mark.parametrize(
    ("reply", "refusal"),
    [
        ("I'm sorry", True),
        ("I am very sorry.", True),
        ("I apologize.", True),
        ("I'm an AI and I can't view images.", True),
        ("Sorry", False),
        ('"I\'m sorry"', False),
        ("I'm sorry, Dave", False),
        ("I'm sorry, we're closed", False),
    ],
)
def test_an_apology_alone_answers_only_in_quotes(reply: str, refusal: bool) -> None:
    assert is_refusal(reply) is refusal
