"""Boxes and JSON answers in replies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.reading.box import read_box
from evalsuite.reading.json_answer import read_json

BOXES = [
    "[10, 20, 30, 40]",
    "(10,20),(30,40)",
    "<|box_start|>(10,20),(30,40)<|box_end|>",
    "<box>10 20 30 40</box>",
    "<box>[[10, 20, 30, 40]]</box>",
    "<box>(10,20),(30,40)</box>",
    '```json\n[{"bbox_2d": [10, 20, 30, 40], "label": "dog"}]\n```',
    '{"bbox": [10, 20, 30, 40]}',
    "The dog is at [10.0, 20.0, 30.0, 40.0].",
    '{"x1": 10, "y1": 20, "x2": 30, "y2": 40}',
    "x1=10, y1=20, x2=30, y2=40",
    "10, 20, 30, 40",
    "<answer>[10, 20, 30, 40]</answer>",
    "[[10,20],[30,40]]",
    "10 20 30 40",
    "<|det|>[[10, 20, 30, 40]]<|/det|>",
    "Answer: (10, 20, 30, 40)",
]


@pytest.mark.parametrize("reply", BOXES)
def test_notations_of_one_box(reply: str) -> None:
    assert read_box(reply) == "[10.0, 20.0, 30.0, 40.0]"


@pytest.mark.parametrize(
    ("reply", "scale", "box"),
    [
        ("<loc0256><loc0128><loc0512><loc1023> dog", None, "[0.125, 0.25, 0.999023, 0.5]"),  # y before x
        ("dog<loc_100><loc_200><loc_300><loc_400>", None, "[0.1, 0.2, 0.3, 0.4]"),
        ("[100, 200, 300, 400]", "thousandths", "[0.1, 0.2, 0.3, 0.4]"),
        ("[0.1, 0.2, 0.3, 0.4]", "relative", "[0.1, 0.2, 0.3, 0.4]"),
        ("First [1, 2, 3, 4]. Answer: [5, 6, 7, 8]", "pixels", "[5.0, 6.0, 7.0, 8.0]"),
        ("no box", None, None),
        ("[1, 2, 3]", None, None),
        ("[30, 40, 10, 20]", None, None),
    ],
)
def test_scales_and_what_is_no_box(reply: str, scale, box: str | None) -> None:
    assert read_box(reply, scale) == box


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ('{"answer": "B"}', "B"),
        ('```json\n{"reason": "x {y}", "answer": "B"}\n```', "B"),
        ('first {"answer": "A"}, then {"answer": "B"}', "B"),
        ('{"answer": "B", "reason": "cut o', "B"),
        ("{'answer': 'B'}", "B"),
        ('{"answer": 42}', "42"),
        ('{"answer": ["a", "b"]}', '["a", "b"]'),
        ('{"other": 1}', None),
        ("B", None),
        ("{" * 50_000, None),
    ],
)
def test_json_answers(reply: str, answer: str | None) -> None:
    assert read_json(reply, "answer") == answer


@given(st.text(max_size=80))
def test_any_text_is_read(reply: str) -> None:
    read_box(reply), read_json(reply, "answer")


def test_two_corners_in_words_are_a_box() -> None:
    for reply in ("(10, 20) to (30, 40)", "Top-left: (10, 20), bottom-right: (30, 40)"):
        assert read_box(reply) == "[10.0, 20.0, 30.0, 40.0]"
