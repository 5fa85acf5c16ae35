"""Yes and no, as models write them: statements, negations, other languages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.reading.yes_no import YES_NO_VARIANTS, parse_yes_no, read_yes_no

YES = [
    "Yes",
    "yes.",
    "Yes, there is.",
    "**Yes**",
    "The answer is yes",
    "Answer: Yes",
    "YES",
    "Oui",
    "Oui, il y a un chien.",
    "Ja",
    "Ja, da ist ein Hund",
    "Sí",
    "sí, hay",
    "是",
    "是的",
    "有",
    "是的，图中有一只狗。",
    "图中有一只狗。",
    "да",
    "はい",
    "y",
    "True",
    "true.",
    "There is a dog in the image.",
    "I can see a dog.",
    "The image shows a dog.",
    "Sure: yes",
    "\\boxed{yes}",
    "<answer>Yes</answer>",
    "Correct.",
    "对",
    "答案：是",
    "Final answer: yes",
    "No doubt about it. The answer is yes.",
    "Sim",
    "Si",
    "Sì",
    "1",
]
NO = [
    "No",
    "no.",
    "No, there is no dog.",
    "**No**",
    "There isn't a dog.",
    "There is not a dog.",
    "There is no dog.",
    "There are no cars in the image.",
    "I don't see a dog.",
    "The answer is no",
    "Answer: No",
    "Non",
    "Nein",
    "nein, das ist kein Hund",
    "否",
    "不是",
    "没有",
    "没有。",
    "图中没有狗。",
    "不，图中没有",
    "нет",
    "いいえ",
    "n",
    "False",
    "The image does not show a dog.",
    "The dog is not visible.",
    "The dog is absent.",
    "Não",
    "No, not really",
    "Nope",
    "It isn't red",
    "I cannot see a dog",
    "不对",
    "no",
    "0",
    "Non, il n'y a pas de chien.",
    "There is none",
    "Nothing",
]
NEITHER = [
    "unknown",
    "noodle",
    "",
    "Yes and no",
    "It says yes and no",
    "I'm not sure.",
    "I can't tell if there is a dog",
    "It is not clear whether there is a dog.",
    "I'm sorry, I can't help with that.",
    "True blue is the colour",
    "Japan",
    "Nonsense",
    "It cannot be determined.",
    "maybe",
    "Notebook",
    "Jam",
    "yes or no",
]


@pytest.mark.parametrize(
    ("reply", "answer"), [*((r, "yes") for r in YES), *((r, "no") for r in NO), *((r, None) for r in NEITHER)]
)
def test_replies(reply: str, answer: str | None) -> None:
    assert parse_yes_no(reply) == answer


@given(st.text(max_size=60), st.sampled_from(YES_NO_VARIANTS))
def test_any_text_is_yes_no_or_nothing(reply: str, variant) -> None:
    assert parse_yes_no(reply, variant=variant) in ("yes", "no", None)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("Absolutely.", "yes"),
        ("Certainly not.", "no"),
        ("Not really.", "no"),
        ("Not a dog but a cat, probably.", None),
        ("That is correct.", "yes"),
        ("The statement is not true.", "no"),
        ("This is incorrect.", "no"),
        ("They are.", "yes"),
        ("The dog is present in the image.", "yes"),
        ("抱歉，我无法回答这个问题。", None),
        ("不能确定。", None),
    ],
)
def test_brief_replies_and_verdicts_on_the_question(reply: str, said: str | None) -> None:
    assert read_yes_no(reply) == said
