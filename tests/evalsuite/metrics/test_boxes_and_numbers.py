"""Boxes against torchvision, numbers and transcriptions against the benchmarks' own code (fixture)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.ops import box_iou as torch_iou
from torchvision.ops import generalized_box_iou

from evalsuite.metrics import METRICS, Answers, MetricColumn, MetricOptions
from evalsuite.metrics.box import box_iou, parse_box
from evalsuite.metrics.contains import contains
from evalsuite.metrics.number import mathvista_answer, number_accuracy
from winnow.errors import UserError

PEER = json.loads((Path(__file__).parents[1] / "peers" / "groups.json").read_text(encoding="utf-8"))


def columns(metric: str, texts: list[str | None], references: list[list[str]], **more: Any) -> dict[str, MetricColumn]:
    options = {key: more.pop(key) for key in list(more) if key in MetricOptions.model_fields}
    answers = Answers(ids=[f"r{n}" for n in range(len(texts))], texts=texts, references=references, **more)
    return {column.name: column for column in METRICS[metric].columns(metric, answers, MetricOptions(**options))}


SIDES = st.integers(0, 40).map(float)
BOXES = st.tuples(SIDES, SIDES, SIDES, SIDES).map(
    lambda box: [min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]) + 1, max(box[1], box[3]) + 1]
)


@given(BOXES, BOXES)
def test_iou_and_giou_equal_torchvision(one: list[float], other: list[float]) -> None:
    tensors = torch.tensor([one], dtype=torch.float64), torch.tensor([other], dtype=torch.float64)
    assert box_iou(str(one), [str(other)]) == pytest.approx(torch_iou(*tensors).item())
    assert box_iou(str(one), [str(other)], kind="giou") == pytest.approx(generalized_box_iou(*tensors).item())


@pytest.mark.parametrize(
    ("text", "box"),
    [("[1, 2, 3, 4]", (1, 2, 3, 4)), ("(1,2),(3,4)", (1, 2, 3, 4)), ("1 2 3.5 -4", (1, -4, 3.5, 2)),
     ('{"bbox_2d": [1, 2, 3, 4], "label": "cat 7"}', (1, 2, 3, 4)), ("[[5, 6, 7, 8]] and [1, 2, 3, 4]", (5, 6, 7, 8)),
     ("<box>1 2 3 4</box>", (1, 2, 3, 4)), ("[3, 4, 1, 2]", (1, 2, 3, 4)), ("about 3 cats", None), ("", None),
     ("1 2 3 4 5 6", None)],
)  # fmt: skip
def test_a_box_is_read(text: str, box: tuple[float, ...] | None) -> None:
    assert parse_box(text) == box


@given(st.text(max_size=200))
def test_any_text_is_a_box_or_none(text: str) -> None:
    box = parse_box(text)
    assert box is None or (box.left <= box.right and box.top <= box.bottom) or np.isnan(box).any()


def test_width_and_height_are_read_where_the_task_says_so() -> None:
    assert parse_box("[1, 2, 3, 4]", "xywh") == (1, 2, 4, 6)
    assert box_iou("[0, 0, 10, 10]", ["[0, 0, 10, 10]"], predicted_box="xywh") == 1.0
    assert parse_box("[1, 2, -3, 4]", "xywh") is None


def test_box_accuracy_counts_an_iou_of_a_half_and_silence_as_the_worst() -> None:
    found = columns("box", ["[0,0,10,10]", "[0,0,10,9.9]", "no box", None], [["[0,0,10,20]"]] * 4)
    assert found["box"].per_row.tolist() == [1, 0, 0, 0] and found["box"].binary
    assert found["box_iou"].per_row.tolist() == pytest.approx([0.5, 0.495, 0, 0])
    assert found["box_giou"].per_row.tolist() == pytest.approx([0.5, 0.495, -1, -1])


def test_shares_of_the_image_meet_pixels_by_its_size(tmp_path: Path) -> None:
    Image.new("RGB", (200, 100)).save(tmp_path / "a.png")
    given_: dict[str, Any] = {"predicted_scale": "1000", "reference_box": "xywh"}
    files = [[str(tmp_path / "a.png")]]
    found = columns("box", ["[0, 0, 500, 500]"], [["[0, 0, 100, 50]"]], image_files=files, **given_)
    assert found["box_iou"].per_row.tolist() == [1.0]
    assert "predictions xyxy from 0 to 1000, references xywh in pixels" in found["box"].variant
    facts = columns("box", ["[0, 0, 500, 500]"], [["[0, 0, 50, 50]"]], facts=[{"width": 100, "height": 100}], **given_)
    assert facts["box_iou"].per_row.tolist() == [1.0]
    with pytest.raises(UserError, match=r"r0: boxes in pixels .* `facts: \[width, height\]`"):
        columns("box", ["[0, 0, 500, 500]"], [["[0, 0, 50, 50]"]], **given_)
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"r0: .*b.png: cannot be read"):
        columns("box", ["[0, 0, 1, 1]"], [["[0, 0, 1, 1]"]], image_files=[[str(tmp_path / "b.png")]], **given_)


def test_a_reference_that_is_no_box_is_named() -> None:
    with pytest.raises(UserError, match="r0: the reference 'left' is no box"):
        columns("box", ["[0, 0, 1, 1]"], [["left"]])


def test_contains_equals_lmms_eval_on_ocrbench() -> None:
    assert len(PEER["ocrbench"]) == 150 and {score for *_, score in PEER["ocrbench"]} == {0, 1}
    wrong = [case for case in PEER["ocrbench"]
             if contains(case[0].strip(), case[1], variant="lmms-eval", formula=case[2]) != case[3]]  # fmt: skip
    assert wrong == []


def test_rules_of_containing_differ_where_they_should() -> None:
    assert contains("The concatenated Cat", ["cat"]) == contains("concatenate", ["cat"]) == 1.0
    assert contains("concatenate", ["cat"], variant="words") == 0.0
    assert contains("the cat.", ["CAT"], variant="words") == 1.0
    assert contains("a  b", ["a b"]) == 1.0 and contains("a  b", ["a b"], variant="ocrbench") == 0.0
    assert contains("x ^ {2}", ["x^{2}"], variant="ocrbench", formula=True) == 1.0
    assert contains("X", ["x"], variant="ocrbench", formula=True) == 0.0


def test_formulas_are_known_by_their_data_set() -> None:
    facts = [{"dataset": "HME100k"}, {"dataset": "x"}]
    found = columns("contains", ["x ^ 2", "x ^ 2"], [["x^2"]] * 2, facts=facts, variant="ocrbench")["contains"]
    assert found.per_row.tolist() == [1.0, 0.0] and "1 rows are formulas" in found.variant


def test_mathvista_answers_equal_its_own_code() -> None:
    assert len(PEER["mathvista"]) == 80
    for text, question_type, answer_type, precision, expected in PEER["mathvista"]:
        found = mathvista_answer(text, question_type=question_type, answer_type=answer_type, precision=precision,
                                 choices=["dog", "cat", "a bear"])  # fmt: skip
        assert found == expected, (text, question_type, answer_type, precision)


def test_mathvista_scores_by_the_row_s_facts() -> None:
    kinds = [("multi_choice", "text", None), ("free_form", "integer", None), ("free_form", "float", 1.0)]
    facts = [dict(zip(("question_type", "answer_type", "precision"), kind, strict=True)) for kind in kinds]
    found = columns("mathvista", ["B", "14.7", "1.26"], [["cat"], ["14"], ["1.3"]], facts=facts,
                    choices=[["dog", "cat"], [], []])["mathvista"]  # fmt: skip
    assert found.per_row.tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(UserError, match="r0: mathvista needs 'answer_type'"):
        columns("mathvista", ["1"], [["1"]], facts=[{"question_type": "free_form"}])


@pytest.mark.parametrize(
    ("prediction", "answer", "tolerance", "right"),
    [("3.14159", "3.14", 0, 1), ("3", "3.14", 0, 0), ("$1,200", "1200", 0, 1),
     ("50%", "0.5", 0, 1), ("14", "14.0", 0, 1),
     ("14.4", "14", 0, 1), ("14.6", "14", 0, 0), ("14.6", "14", 0.05, 1), ("two", "2", 0, 0), ("Two", "two", 0, 1),
     ("-3", "−3", 0, 1), ("nan", "1", 0, 0), ("1e999", "1", 0, 0)],
)  # fmt: skip
def test_numbers_are_equal_after_rounding(prediction: str, answer: str, tolerance: float, right: int) -> None:
    assert number_accuracy(prediction, [answer], tolerance=tolerance) == right
