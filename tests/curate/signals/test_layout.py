"""Frames, seams and drawn pictures against the definitions, and where photographs have none."""

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageOps

from curate.signals import measure_pixels
from curate.signals.layout import _drawn, _seam


def of(image):
    return measure_pixels(image, ["layout"])


@pytest.fixture(scope="module")
def photo():
    return Image.fromarray(skimage.data.chelsea()).resize((360, 240))


@pytest.mark.parametrize("colour", ["black", "white", "gray"])
def test_a_frame_is_as_large_as_it_is(photo, colour):
    assert of(photo)["frame"] == 0
    assert of(ImageOps.expand(photo, 10, colour))["frame"] == pytest.approx(1 - 360 * 240 / (380 * 260))
    bars = ImageOps.expand(photo, (0, 20), colour)
    assert of(bars)["frame"] == pytest.approx(40 / 280) and of(bars)["seam"] == of(photo)["seam"]
    assert of(ImageOps.expand(photo, (0, 20, 0, 0), colour))["frame"] == 0
    assert of(Image.new("RGB", (300, 200), colour))["frame"] == 0


@pytest.mark.parametrize("turned", [False, True])
def test_a_seam_between_two_pictures(photo, turned):
    other = Image.fromarray(skimage.data.astronaut()).resize((360, 240))
    sheet = Image.new("RGB", (360, 480))
    sheet.paste(photo, (0, 0))
    sheet.paste(other, (0, 240))
    assert of(sheet.rotate(90, expand=True) if turned else sheet)["seam"] > 0.6 > of(photo)["seam"]
    ruled = photo.copy()
    ruled.paste("black", (0, 120, 360, 121))
    assert of(ruled)["seam"] < 0.6


def test_seam_and_drawn_are_those_of_the_definition():
    levels = np.random.default_rng(0).integers(0, 30, (25, 40), dtype=np.uint8)
    shares = []
    for lines in (levels, levels.T):
        length = lines.shape[1]
        edge = max(round(0.1 * length), 3)
        for x in range(edge, length - edge):
            steps = [[abs(int(row[x + at + 1]) - int(row[x + at - 1])) for at in (-2, 0, 2)] for row in lines[::2]]
            shares.append(np.mean([own > max(before, after) + 8 for before, own, after in steps]))
    assert _seam(levels) == pytest.approx(max(shares))
    whole = levels.astype(int)
    same = [
        abs(whole[y, x] - whole[y, x + 1]) <= 1 and abs(whole[y, x] - whole[y + 1, x]) <= 1
        for y in range(0, 24, 2)
        for x in range(39)
    ]
    assert _drawn(levels) == pytest.approx(np.mean(same))


def test_flat_shapes_are_drawn_and_photographs_are_not(photo):
    flat = Image.new("RGB", (300, 200), "white")
    flat.paste("red", (50, 50, 120, 150))
    assert of(flat)["drawn"] > 0.9 and of(photo)["drawn"] < 0.5
    assert of(Image.new("RGB", (15, 300))) == {"frame": 0, "seam": None, "drawn": None}
