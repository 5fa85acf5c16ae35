"""Boxes: intersection over union with the reference, of RefCOCO and other grounding benchmarks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from evalsuite.metrics.base import (
    Answers,
    BoxForm,
    BoxScale,
    HubModule,
    Metric,
    MetricOptions,
    Quantity,
    Reading,
    Row,
    Scores,
    check_answers,
    mean_scores,
)
from winnow.errors import UserError

THRESHOLD = 0.5  # a box is right from this intersection over union on
_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_LONGEST = 10_000  # characters in which a box is looked for
_BRACKETS = re.compile(r"[\[(]([^\[\]()]*)[\])]")


class Box(NamedTuple):
    """Corners of a box, the smaller ones first."""

    left: float
    top: float
    right: float
    bottom: float


def parse_box(text: str, form: BoxForm = "xyxy") -> Box | None:
    """The box in a text: its four numbers, or the first four of one pair of brackets if there are more; else None.

    Args:
        form: ``xyxy``: two opposite corners, ``xywh``: the upper left one, width and height.
    """
    text = text[:_LONGEST]
    numbers = _NUMBER.findall(text)
    if len(numbers) != 4:
        inside = (_NUMBER.findall(part) for part in _BRACKETS.findall(text))
        numbers = next((found for found in inside if len(found) == 4), [])
    if len(numbers) != 4:
        return None
    x, y, a, b = map(float, numbers)
    if form == "xywh":
        return Box(x, y, x + a, y + b) if a >= 0 and b >= 0 else None
    return Box(min(x, a), min(y, b), max(x, a), max(y, b))


def overlap(one: Box, other: Box) -> tuple[float, float]:
    """Intersection over union (0 to 1) and generalised IoU (−1 to 1, Rezatofighi et al. 2019) of two boxes."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    shared = max(0.0, width) * max(0.0, height)
    union = _area(one) + _area(other) - shared
    hull = _area(Box(min(one.left, other.left), min(one.top, other.top), max(one.right, other.right),
                     max(one.bottom, other.bottom)))  # fmt: skip
    iou = shared / union if union > 0 else 0.0
    return iou, iou - (hull - union) / hull if hull > 0 else 0.0


def _area(box: Box) -> float:
    return (box.right - box.left) * (box.bottom - box.top)


def box_iou(
    prediction: str, answers: Sequence[str], *, predicted_box: BoxForm = "xyxy", reference_box: BoxForm = "xyxy",
    kind: Literal["iou", "giou"] = "iou",
) -> float:  # fmt: skip
    """IoU of the box in a prediction with the answer it fits best; both in the same units.

    A prediction without a box scores 0, for ``giou`` −1.

    Raises:
        UserError: there is no answer, or one is no box.
    """
    check_answers(answers)
    found = parse_box(prediction, predicted_box)
    boxes = [_reference(answer, reference_box) for answer in answers]
    return _best(found, boxes)[kind == "giou"]


def _reference(text: str, form: BoxForm) -> Box:
    box = parse_box(text, form)
    if box is None:
        raise UserError(f"the reference {text!r} is no box; write four numbers, such as [10, 20, 110, 220]")
    return box


def _best(found: Box | None, references: Sequence[Box]) -> tuple[float, float]:
    return (0.0, -1.0) if found is None else max(overlap(found, reference) for reference in references)


def _scaled(box: Box, scale: BoxScale, size: tuple[float, float] | None) -> Box:
    """The box as shares of the image, where a size is given; else as it is."""
    if size is None:
        return box
    width, height = size if scale == "pixels" else (float(scale), float(scale))
    return Box(box.left / width, box.top / height, box.right / width, box.bottom / height)


def _size(answers: Answers, row: int) -> tuple[float, float]:
    """Width and height of a row's image in pixels: its facts ``width`` and ``height``, else those of the file."""
    facts = answers.facts[row] if answers.facts else {}
    width, height = facts.get("width"), facts.get("height")
    if isinstance(width, int | float) and isinstance(height, int | float) and width > 0 and height > 0:
        return float(width), float(height)
    files = answers.image_files[row] if answers.image_files else ()
    if files:
        from PIL import Image

        try:
            with Image.open(files[0]) as image:
                return float(image.width), float(image.height)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"{answers.ids[row]}: {files[0]}: cannot be read ({error})") from error
    raise UserError(
        f"{answers.ids[row]}: boxes in pixels against boxes as shares need the size of the image, which is missing; "
        "give the row both in its `meta`, and name them in the task: `facts: [width, height]`"
    )


def _score(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    same = options.predicted_scale == options.reference_scale
    found = []
    for row, (text, given) in enumerate(zip(answers.texts, answers.references, strict=True)):
        size = None if same else _size(answers, row)
        try:
            references = [
                _scaled(_reference(one, options.reference_box), options.reference_scale, size) for one in given
            ]
        except UserError as error:
            raise UserError(f"{answers.ids[row]}: {error}") from error
        predicted = parse_box(text, options.predicted_box) if text is not None else None
        box = _scaled(predicted, options.predicted_scale, size) if predicted else None
        found.append(_best(box, references))
    iou, giou = np.array(found, dtype=np.float64).reshape(-1, 2).T
    variant = f"predictions {_shape(options.predicted_box, options.predicted_scale)}, "
    variant += f"references {_shape(options.reference_box, options.reference_scale)}, the reference that fits best"
    return {
        "": mean_scores((iou >= THRESHOLD).astype(np.float64), f"IoU of at least {THRESHOLD}; {variant}", binary=True),
        "_iou": mean_scores(iou, f"mean IoU; {variant}"),
        "_giou": mean_scores(giou, f"mean generalised IoU, −1 without a box; {variant}"),
    }


def _shape(form: BoxForm, scale: BoxScale) -> str:
    return f"{form} in pixels" if scale == "pixels" else f"{form} from 0 to {scale}"


def _read(row: Row, options: MetricOptions, rule: str) -> Reading:
    box = parse_box(row["extracted"], options.predicted_box) if row["extracted"] is not None else None
    if box is None:
        return Reading(rule, None, "", 0.0)
    shown = "[" + ", ".join(f"{side:g}" for side in box) + "]"
    if options.predicted_scale != options.reference_scale:  # the size of the image is not among the row's columns
        return Reading(rule, shown, "", None)
    references = [_reference(one, options.reference_box) for one in row["references"]]
    iou = _best(box, references)[0]
    return Reading(rule, shown, f"IoU {iou:.2f}", float(iou >= THRESHOLD))


BOX = Metric(
    name="box",
    about="Share of boxes with an IoU of at least 0.5 with the reference, mean IoU and GIoU, of RefCOCO and the like.",
    numbers={
        "": Quantity(title="box accuracy@0.5", right_from=1.0),
        "_iou": Quantity(title="IoU", right_from=THRESHOLD),
        "_giou": Quantity(title="GIoU", unit="", right_from=THRESHOLD),
    },
    score=_score,
    options=("predicted_box", "reference_box", "predicted_scale", "reference_scale"),
    references="box",
    read_row=_read,
    modules=(
        HubModule(
            name="box_iou",
            about="Intersection over union of a predicted box with the best of its references.",
            citation="Kazemzadeh et al., ReferItGame, EMNLP 2014",
            url="https://github.com/lichengunc/refer",
            score=box_iou,
            columns={"predictions": "a text with four numbers.", "references": "a list of boxes, as texts, for each."},
            options={
                "predicted_box": "xyxy or xywh.", "reference_box": "xyxy or xywh.", "kind": "iou, or giou (−1 to 1).",
            },
            example='metric.compute(predictions=["[0, 0, 10, 10]"], references=[["[0, 0, 10, 20]"]])["box_iou"]\n0.5',
        ),
    ),
)  # fmt: skip
