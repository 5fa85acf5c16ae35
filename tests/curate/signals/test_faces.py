"""Faces are found where they are, whatever the size and the margins of the picture; what is none is not one."""

import numpy as np
import pytest
from PIL import Image, ImageOps
from skimage import data

from curate.signals import faces as module
from curate.signals.base import ModelUnavailable
from curate.signals.faces import detect, faces

FACE = np.array([0.37, 0.13, 0.51, 0.33])  # of the astronaut, by eye


def astronaut():
    return Image.fromarray(data.astronaut())


def overlap(one, other):
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:4], other[2:4])
    both = (high - low).clip(0).prod()
    return both / (np.prod(one[2:4] - one[:2]) + np.prod(other[2:4] - other[:2]) - both)


@pytest.mark.parametrize("side", [200, 512])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_face_is_found_at_its_place(side, mirrored):
    image = astronaut().resize((side, side))
    found = faces(ImageOps.mirror(image) if mirrored else image)
    assert found["faces"] == 1
    ((*box, score),) = found["face_boxes"]
    expected = FACE if not mirrored else np.array([1 - FACE[2], FACE[1], 1 - FACE[0], FACE[3]])
    assert overlap(np.array(box), expected) > 0.6 and score > 0.95
    assert found["face_area"] == pytest.approx((box[2] - box[0]) * (box[3] - box[1]))


def test_margins_move_the_box_and_shrink_its_share():
    alone = faces(astronaut())
    framed = faces(ImageOps.expand(astronaut(), (512, 0, 0, 0), "white"))
    assert framed["faces"] == 1
    assert framed["face_area"] == pytest.approx(alone["face_area"] / 2, rel=0.1)
    assert framed["face_boxes"][0][0] == pytest.approx((1 + alone["face_boxes"][0][0]) / 2, abs=0.02)


@pytest.mark.parametrize("size", [(1, 1), (19, 19), (20, 20), (3000, 1), (1, 3000), (64, 64)])
def test_what_has_no_face_has_none(size):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    for image in (noise, Image.new("RGB", size)):
        assert faces(image) == {"faces": 0, "face_area": 0.0, "face_boxes": []}


def test_stored_boxes_are_capped_and_counted_all(monkeypatch):
    many = np.column_stack([np.tile([0.0, 0, 5, 5], (150, 1)), np.linspace(1, 0.9, 150)])
    monkeypatch.setattr(module, "detect", lambda image: many)
    found = faces(Image.new("RGB", (10, 10)))
    assert (found["faces"], len(found["face_boxes"]), found["face_area"]) == (150, 100, 0.25)


def test_overlapping_boxes_leave_the_most_certain_one():
    rng = np.random.default_rng(0)
    for _ in range(20):
        corners = rng.uniform(0, 50, (30, 2))
        boxes = np.column_stack([corners, corners + rng.uniform(1, 30, (30, 2)), rng.permutation(30)])
        kept = []
        for box in sorted(boxes, key=lambda box: -box[4]):
            if all(overlap(box, other) <= 0.5 for other in kept):
                kept.append(box)
        assert boxes[module._overlapping(boxes, 0.5)].tolist() == np.array(kept).tolist()


def test_one_thread_and_the_same_boxes_again():
    assert np.array_equal(detect(astronaut()), detect(astronaut()))


def test_without_the_extra_the_error_names_it(monkeypatch):
    module.networks.cache_clear()
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ModelUnavailable, match=r"winnow-vlm\[faces\]"):
        faces(astronaut())
