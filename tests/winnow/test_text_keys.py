"""When two questions or answers are the same text."""

import pytest

from winnow.records import answer_key, normalized, question_key


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("What is it?", "what is it"),
        ("  What\tIS   it ?! ", "what is it"),
        ("ﬁne", "fine"),
        ("STRASSE", "straße"),
        ("snake_case", "snake case"),
        ("3.5", "3 5"),
        ("???", "???"),
        ("", ""),
        ("何色?", "何色"),
    ],
)
def test_normalized(text, same):
    assert normalized(text) == normalized(same)
    assert normalized(normalized(text)) == normalized(text)


def test_different_texts_stay_different():
    assert len({normalized(text) for text in ("yes", "no", "?", "!", "", "a b", "ab")}) == 7


def test_all_turns_count_and_markers_do_not():
    record = {
        "conversations": [
            {"from": "system", "value": "Be brief."},
            {"from": "user", "value": "<image>\nWhat?"},
            {"from": "assistant", "value": "A cat."},
            {"from": "user", "value": "Sure?"},
            {"from": "assistant", "value": "Yes"},
        ]
    }
    assert question_key(record) == "what\nsure"
    assert answer_key(record) == "a cat\nyes"


def test_without_an_assistant_turn_the_most_frequent_reference_speaks():
    record = {"conversations": [{"from": "user", "value": "What?"}], "answers": ["dog", "Cat", "Cat"]}
    assert answer_key(record) == "cat"
