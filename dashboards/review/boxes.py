"""Boxes to draw on a picture, as shares of its width and height: only those whose coordinates are known for certain.

Known are the coordinates of

- references and answers of a task that scores boxes, as its metric is set up;
- location tokens: Qwen's ``<|box_start|>`` and ``<box>`` count from 0 to 1000, PaliGemma's ``<loc0512>`` to 1024 with
  y before x, Florence's ``<loc_500>`` to 1000;
- ``bbox``, ``boxes`` and ``objects`` of a row, where their names or their numbers say which corners they are.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from evalsuite.tasks.spec import TaskSpec

Source = Literal["reference", "answer", "row"]
Four = tuple[float, float, float, float]
Size = tuple[float, float]
_LONGEST = 20_000  # characters of a text in which boxes are looked for
_MOST = 200  # boxes of a row
_BEYOND = 0.02  # of the side by which a box may pass it: more means other coordinates than these


@dataclass(frozen=True)
class Box:
    """A rectangle on a picture.

    Attributes:
        of: what says so: a reference, the answer, or the row's own data.
        label: what it shows, '' where nothing says so.
        picture: number of the row's picture.
        x, y, width, height: left upper corner and size in shares of the picture, 0 to 1.
    """

    of: Source
    label: str
    picture: int
    x: float
    y: float
    width: float
    height: float


def box_of(corners: Four, size: Size, of: Source, label: str = "", picture: int = 0) -> Box | None:
    """The box with these corners (x1, y1, x2, y2) on a picture of this size; None where it is none on it.

    Args:
        size: width and height in the units of the corners, such as (1000, 1000).
    """
    if not all(map(math.isfinite, corners)) or min(size) <= 0:
        return None
    x1, y1, x2, y2 = (value / side for value, side in zip(corners, (*size, *size), strict=True))
    if not (-_BEYOND <= x1 < x2 <= 1 + _BEYOND and -_BEYOND <= y1 < y2 <= 1 + _BEYOND):
        return None
    left, top, right, bottom = (min(max(value, 0.0), 1.0) for value in (x1, y1, x2, y2))
    if right <= left or bottom <= top:
        return None
    return Box(of, label, picture, left, top, right - left, bottom - top)


def boxes_of_task(
    spec: TaskSpec, references: Iterable[str], extracted: str | None, size: Callable[[], Size | None]
) -> list[Box]:
    """The boxes that the task's metric compares; [] for a task that scores none.

    Args:
        size: of the picture in pixels, asked for only where the metric's boxes are in pixels; None if unknown.
    """
    from evalsuite.metrics.box import parse_box

    settings = next((settings for settings in spec.metrics.values() if settings.metric == "box"), None)
    if settings is None:
        return []
    found: list[Box | None] = []
    for text in dict.fromkeys(references):
        if box := parse_box(text, settings.reference_box):
            found.append(
                _scaled((box.left, box.top, box.right, box.bottom), settings.reference_scale, size, "reference")
            )
    if extracted is not None and (box := parse_box(extracted, settings.predicted_box)):
        found.append(_scaled((box.left, box.top, box.right, box.bottom), settings.predicted_scale, size, "answer"))
    return [box for box in found if box][:_MOST]


def _scaled(corners: Four, scale: str, size: Callable[[], Size | None], of: Source) -> Box | None:
    whole = size() if scale == "pixels" else (float(scale), float(scale))
    return box_of(corners, whole, of) if whole else None


_PAIRS = r"\s*\((?P<a>\d{1,4}),\s*(?P<b>\d{1,4})\)\s*,\s*\((?P<c>\d{1,4}),\s*(?P<d>\d{1,4})\)\s*"
_LABEL = r"(?P<label>[^<>;\n]{0,200})"
_QWEN_2 = rf"(?:<\|object_ref_start\|>{_LABEL}<\|object_ref_end\|>\s*)?<\|box_start\|>{_PAIRS}<\|box_end\|>"
_QWEN_1 = rf"(?:<ref>{_LABEL}</ref>\s*)?<box>{_PAIRS}</box>"
_PALIGEMMA = "".join(rf"<loc(?P<{name}>\d{{4}})>" for name in "badc") + _LABEL  # y before x
_FLORENCE = _LABEL + "".join(rf"<loc_(?P<{name}>\d{{1,4}})>" for name in "abcd")
_TOKENS = tuple(
    (re.compile(pattern), float(whole))
    for pattern, whole in ((_QWEN_2, 1000), (_QWEN_1, 1000), (_PALIGEMMA, 1024), (_FLORENCE, 1000))
)


def boxes_in_tokens(text: str, of: Source) -> list[Box]:
    """The boxes that location tokens of a text stand for."""
    found: list[Box | None] = []
    for pattern, whole in _TOKENS:
        for match in itertools.islice(pattern.finditer(text[:_LONGEST]), _MOST):
            x1, y1, x2, y2 = (float(match[name]) for name in "abcd")
            found.append(box_of((x1, y1, x2, y2), (whole, whole), of, (match["label"] or "").strip()))
    return [box for box in found if box][:_MOST]


def boxes_of_row(meta: Mapping[str, Any], size: Callable[[int], Size | None]) -> list[Box]:
    """The boxes under ``bbox``, ``bboxes``, ``boxes`` and ``objects`` of a row's ``meta``.

    They may be corners ``[x1, y1, x2, y2]`` or a corner with a size, in pixels or in shares. What is not said is
    concluded from the numbers of all boxes of the row, and where these allow two readings there is no box.

    Args:
        size: number of a picture → its width and height in pixels, None if unknown.
    """
    found: list[Box] = []
    for key in ("bbox", "bboxes", "boxes", "objects"):
        found += _of_value(meta, key, size)
    return found[:_MOST]


@dataclass(frozen=True)
class _Raw:
    """Four numbers as a row has them, and ``form`` where it names them."""

    numbers: Four
    label: str = ""
    picture: int = 0
    form: str = ""


_NAMES: tuple[tuple[tuple[str, str, str, str], str], ...] = (
    (("x1", "y1", "x2", "y2"), "xyxy"),
    (("xmin", "ymin", "xmax", "ymax"), "xyxy"),
    (("x_min", "y_min", "x_max", "y_max"), "xyxy"),
    (("left", "top", "right", "bottom"), "xyxy"),
    (("x", "y", "w", "h"), "xywh"),
    (("x", "y", "width", "height"), "xywh"),
    (("left", "top", "width", "height"), "xywh"),
)
_LABELS = ("label", "name", "category", "class", "ref", "text", "names")
_COCO = frozenset({"iscrowd", "segmentation", "area"})  # annotations of COCO: left, top, width, height in pixels
_FORMS = {"xyxy": "xyxy", "xywh": "xywh", "pascal_voc": "xyxy", "coco": "xywh"}


def _of_value(meta: Mapping[str, Any], key: str, size: Callable[[int], Size | None]) -> list[Box]:
    value = meta.get(key)
    around = value if isinstance(value, Mapping) else meta
    raws = list(itertools.islice(_raws(value), _MOST))
    if not raws:
        return []
    is_coco = not _COCO.isdisjoint({*around, *(_keys(value))})
    is_swift = key == "objects" and isinstance(value, Mapping) and "ref" in value  # two corners in pixels, it says
    form = _FORMS.get(str(around.get("bbox_format") or around.get("box_format")), "")
    form = form or ("xywh" if is_coco else "xyxy" if is_swift else "")
    unit = "shares" if around.get("bbox_type") == "norm1" else "pixels" if is_coco or is_swift else _unit(meta, raws)
    sized = {picture: (1.0, 1.0) if unit == "shares" else _pixels(meta, picture, size) for picture in _pictures(raws)}
    if not unit or None in sized.values():
        return []
    known: dict[int, Size] = {picture: whole for picture, whole in sized.items() if whole}
    forms = [form or raw.form for raw in raws]
    if not all(forms):
        fitting = [
            one for one in ("xyxy", "xywh") if all(_made(raw, raw.form or one, known[raw.picture]) for raw in raws)
        ]
        if len(fitting) != 1:
            return []
        forms = [one or fitting[0] for one in forms]
    made = [_made(raw, one, known[raw.picture]) for raw, one in zip(raws, forms, strict=True)]
    return [box for box in made if box]


def _made(raw: _Raw, form: str, size: Size) -> Box | None:
    x, y, a, b = raw.numbers
    corners = (x, y, x + a, y + b) if form == "xywh" else raw.numbers
    return box_of(corners, size, "row", raw.label, raw.picture)


def _pictures(raws: Sequence[_Raw]) -> set[int]:
    return {raw.picture for raw in raws}


def _unit(meta: Mapping[str, Any], raws: Sequence[_Raw]) -> Literal["shares", "pixels", ""]:
    """Pixels where the row has the picture's size beside them, or no other unit has so large numbers."""
    numbers = [number for raw in raws for number in raw.numbers]
    if all(0 <= number <= 1 for number in numbers) and any(0 < number < 1 for number in numbers):
        return "shares"
    return "pixels" if _own_size(meta) or max(numbers) > 1024 else ""


def _own_size(meta: Mapping[str, Any]) -> Size | None:
    width, height = _number(meta.get("width")), _number(meta.get("height"))
    return (width, height) if width and height else None


def _pixels(meta: Mapping[str, Any], picture: int, size: Callable[[int], Size | None]) -> Size | None:
    return (_own_size(meta) if picture == 0 else None) or size(picture)


def _keys(value: Any) -> set[str]:
    first = value[0] if isinstance(value, Sequence) and value else None
    return set(first) if isinstance(first, Mapping) else set()


def _raws(value: Any, label: str = "", picture: int = 0) -> Iterator[_Raw]:
    """Every four numbers in a value of ``meta``, with their label and the number of their picture."""
    if isinstance(value, Mapping):
        if found := _named(value):
            yield found
            return
        held = next((value[name] for name in ("bbox", "box", "bboxes", "boxes") if name in value), None)
        labels = next((value[name] for name in _LABELS if name in value), "")
        pictures = value.get("image_id")
        if _four(held):
            yield from _raws(held, _label(labels))
        elif isinstance(held, list):
            for number, one in enumerate(held[:_MOST]):
                place = _at(pictures, number)
                yield from _raws(
                    one, _label(_at(labels, number)), place if isinstance(place, int) and place >= 0 else 0
                )
    elif numbers := _four(value):
        yield _Raw(numbers, label, picture)
    elif isinstance(value, list) and all(isinstance(one, list | Mapping) for one in value):
        for one in value[:_MOST]:
            if isinstance(one, Mapping) or _four(one):
                yield from _raws(one)


def _at(listed: Any, number: int) -> Any:
    return listed[number] if isinstance(listed, list) and number < len(listed) else None


def _label(value: Any) -> str:
    return value[:200] if isinstance(value, str) else ""


def _named(value: Mapping[str, Any]) -> _Raw | None:
    for names, form in _NAMES:
        if numbers := _four([value.get(name) for name in names]):
            label = next((value[name] for name in _LABELS if isinstance(value.get(name), str)), "")
            return _Raw(numbers, label[:200], 0, form)
    return None


def _four(value: Any) -> Four | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    numbers = tuple(_number(one) for one in value)
    return None if None in numbers else numbers  # type: ignore[return-value]


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
    return float(value) if is_number else None  # NaN is not below anything
