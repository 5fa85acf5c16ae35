import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.review.boxes import Box, box_of, boxes_in_tokens, boxes_of_row, boxes_of_task
from evalsuite.tasks.spec import load_spec

_SIDE = st.integers(1, 5000)
_THERE = (0.1, 0.2, 0.4, 0.6)


def _unknown(*_):
    return None


def _sized(width, height):
    return lambda *_: (width, height)


def _rounded(box):
    return tuple(round(value, 3) for value in (box.x, box.y, box.width, box.height))


@given(_SIDE, _SIDE, st.data())
def test_shares_times_the_size_are_the_corners_again(width, height, data):
    x1, x2 = sorted(data.draw(st.lists(st.integers(0, width), min_size=2, max_size=2, unique=True)))
    y1, y2 = sorted(data.draw(st.lists(st.integers(0, height), min_size=2, max_size=2, unique=True)))
    box = box_of((x1, y1, x2, y2), (width, height), "row")
    assert (box.x * width, box.y * height) == pytest.approx((x1, y1), abs=1e-6)
    assert ((box.x + box.width) * width, (box.y + box.height) * height) == pytest.approx((x2, y2), abs=1e-6)


@given(st.tuples(*[st.floats()] * 4), st.floats(0.001, 5000), st.floats(0.001, 5000))
def test_a_box_is_on_the_picture_or_none(corners, width, height):
    if box := box_of(corners, (width, height), "row"):
        assert 0 <= box.x <= box.x + box.width <= 1 + 1e-9
        assert 0 <= box.y <= box.y + box.height <= 1 + 1e-9
        assert box.width > 0 and box.height > 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<|object_ref_start|>a<|object_ref_end|><|box_start|>(100,200),(500,800)<|box_end|>", ("a", *_THERE)),
        ("<ref>1234</ref><box>(100,200),(500,800)</box>", ("1234", *_THERE)),
        ("<loc0256><loc0512><loc0768><loc1023> cat", ("cat", 0.5, 0.25, 0.499, 0.5)),  # y1 x1 y2 x2 of 1024
        ("cat<loc_100><loc_200><loc_500><loc_800>", ("cat", *_THERE)),
    ],
)  # fmt: skip
def test_location_tokens(text, expected):
    (box,) = boxes_in_tokens(text, "answer")
    assert (box.label, *_rounded(box)) == expected
    assert box.of == "answer"


def test_several_tokens_of_a_text():
    text = "<loc0000><loc0000><loc0512><loc0512> a ; <loc0512><loc0512><loc1023><loc1023> b"
    assert [box.label for box in boxes_in_tokens(text, "row")] == ["a", "b"]
    assert boxes_in_tokens("a box at [10, 20, 30, 40]", "answer") == []  # nothing says what it counts in
    assert boxes_in_tokens("<|box_start|>(500,200),(100,800)<|box_end|>", "answer") == []


@given(st.text(alphabet="<>|locbx_startend(),0123456789 ", max_size=200))
def test_any_text_gives_boxes_on_the_picture(text):
    for box in boxes_in_tokens(text, "answer"):
        assert box.x >= 0 and box.x + box.width <= 1 + 1e-9


def _task(**settings):
    spec = load_spec("refcoco")
    return spec.model_copy(update={"metrics": {"box": spec.metrics["box"].model_copy(update=settings)}})


def test_a_task_that_scores_boxes_says_what_they_are():
    found = boxes_of_task(_task(), ["[64, 48, 320, 240]"], "[0.1, 0.1, 0.6, 0.6]", _sized(640, 480))
    assert [(box.of, *_rounded(box)) for box in found] == [
        ("reference", 0.1, 0.1, 0.5, 0.5),  # left, top, width, height in pixels
        ("answer", 0.1, 0.1, 0.5, 0.5),
    ]
    assert [box.of for box in boxes_of_task(_task(), ["[64, 48, 320, 240]"], "[0.1, 0.1, 0.6, 0.6]", _unknown)] == [
        "answer"
    ]
    thousandths = boxes_of_task(_task(predicted_scale="1000"), [], "[100, 100, 600, 600]", _unknown)
    assert [_rounded(box) for box in thousandths] == [(0.1, 0.1, 0.5, 0.5)]


def test_an_answer_in_other_numbers_than_the_task_says_is_not_drawn():
    assert boxes_of_task(_task(), [], "[100, 100, 600, 600]", _unknown) == []
    assert boxes_of_task(_task(), [], "no box", _unknown) == []
    assert boxes_of_task(load_spec("easy_vqa"), ["[64, 48, 320, 240]"], "[0, 0, 1, 1]", _sized(640, 480)) == []


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        # ms-swift: two corners in pixels of the picture
        ({"objects": {"ref": ["dog"], "bbox": [[10, 20, 60, 80]]}}, [("dog", 0.1, 0.2, 0.5, 0.6)]),
        ({"objects": {"ref": [""], "bbox": [[0.1, 0.2, 0.6, 0.8]], "bbox_type": "norm1"}}, [("", 0.1, 0.2, 0.5, 0.6)]),
        # COCO: left, top, width, height in pixels
        ({"bbox": [10, 20, 30, 40], "iscrowd": 0}, [("", 0.1, 0.2, 0.3, 0.4)]),
        ({"objects": {"bbox": [[10, 20, 30, 40]], "area": [1200], "category": ["cat"]}}, [("cat", 0.1, 0.2, 0.3, 0.4)]),
        ({"objects": [{"bbox": [10, 20, 30, 40], "area": 1200, "label": "cat"}]}, [("cat", 0.1, 0.2, 0.3, 0.4)]),
        # named corners in shares
        ({"boxes": [{"x1": 0.1, "y1": 0.2, "x2": 0.6, "y2": 0.8, "label": "a"}]}, [("a", 0.1, 0.2, 0.5, 0.6)]),
        ({"bbox": {"x": 0.1, "y": 0.2, "w": 0.3, "h": 0.4}}, [("", 0.1, 0.2, 0.3, 0.4)]),
        # only one of the two readings lies on the picture
        ({"bbox": [0.5, 0.5, 0.9, 0.9]}, [("", 0.5, 0.5, 0.4, 0.4)]),
        ({"boxes": [[0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.3, 0.3]]}, [("", 0.5, 0.5, 0.2, 0.2), ("", 0.1, 0.1, 0.3, 0.3)]),
        ({"bbox": [0.1, 0.2, 0.3, 0.4], "bbox_format": "xyxy"}, [("", 0.1, 0.2, 0.2, 0.2)]),
        # the picture's own size stands beside it
        ({"bbox": [100, 100, 190, 190], "width": 200, "height": 200}, [("", 0.5, 0.5, 0.45, 0.45)]),
    ],
)  # fmt: skip
def test_boxes_of_a_row(meta, expected):
    meta = json.loads(json.dumps(meta))
    assert [(box.label, *_rounded(box)) for box in boxes_of_row(meta, _sized(100, 100))] == expected


@pytest.mark.parametrize(
    "meta",
    [
        {"bbox": [0.1, 0.2, 0.3, 0.4]},  # corners, or a corner with a size
        {"bbox": [50, 50, 90, 90]},  # pixels, or thousandths
        {"bbox": [0, 0, 1, 1]},  # one pixel, or everything
        {"bbox": [0.5, 0.5, 0.9]},
        {"bbox": "0.5 0.5 0.9 0.9"},
        {"bbox": [True, False, True, True]},
        {"bbox": [[0.5, 0.5, 0.9, 0.9], [0.5, 0.5, 0.2, 0.2]]},  # not all of one form
        {"objects": {"ref": ["dog"], "bbox": None}},
        {"objects": 3, "boxes": {"a": 1}},
        {},
    ],
)
def test_without_certainty_there_is_no_box(meta):
    assert boxes_of_row(meta, _sized(100, 100)) == []


def test_pixels_need_the_size_of_their_picture():
    meta = {"objects": {"ref": ["a", "b"], "bbox": [[10, 20, 60, 80], [5, 5, 10, 10]], "image_id": [0, 1]}}
    assert boxes_of_row(meta, _unknown) == []
    found = boxes_of_row(meta, lambda picture: ((100, 100), (20, 20))[picture])
    assert [(box.picture, *_rounded(box)) for box in found] == [(0, 0.1, 0.2, 0.5, 0.6), (1, 0.25, 0.25, 0.25, 0.25)]


_KEYS = st.sampled_from(["bbox", "ref", "x", "y", "w", "h", "label", "image_id", "area"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_KEYS, inner),
    max_leaves=20,
)  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(["bbox", "boxes", "objects", "width", "height", "bbox_format", "bbox_type"]), _JSON)
)
def test_whatever_a_row_holds(meta):
    for box in boxes_of_row(meta, _sized(100, 50)):
        assert isinstance(box, Box) and 0 <= box.x <= box.x + box.width <= 1 + 1e-9
