"""Compiled loops against what they replace: Pillow's own functions and definitions written in NumPy."""

import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.fft
import skimage.data
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba.core.registry import cpu_target
from PIL import Image, ImageFilter

from curate.signals.base import Pixels, lines_of
from curate.signals.kernels.brightness import outlines
from curate.signals.kernels.fourier import powers
from curate.signals.keypoints import STEPS, keypoints
from curate.signals.reduction import LANCZOS, reduced, reduced_by, smaller
from tests.curate.make_images import noise
from tests.curate.signals import keypoints_by_numpy

SIDES = st.integers(1, 150)
PHOTOS = [Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in ("chelsea", "astronaut", "page")]


def drawn(width, height, seed):
    """Noise, black and white, or one colour."""
    image = noise(width, height, seed)
    return (image, image.point(lambda level: 255 * (level > 127)), Image.new("RGB", image.size, "white"))[seed % 3]


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, st.integers(0, 9))
def test_luminance_and_its_histogram_are_pillows(width, height, seed):
    image = drawn(width, height, seed)
    pixels, grey = Pixels(image, image), image.convert("L")
    assert np.array_equal(pixels.levels, grey)
    assert pixels.histogram.tolist() == grey.histogram()


@pytest.mark.parametrize("photo", PHOTOS)
def test_luminance_of_photographs_is_pillows(photo):
    assert np.array_equal(Pixels(photo, photo).levels, photo.convert("L"))


@settings(max_examples=120, deadline=None)
@given(SIDES, SIDES, st.integers(1, 40), st.integers(0, 9))
@example(4000, 3, 300, 2)
@example(3, 4000, 300, 2)
@example(600, 300, 257, 2)
def test_reducing_by_a_factor_is_pillows(width, height, factor, seed):
    grey = drawn(width, height, seed).convert("L")
    assert np.array_equal(reduced_by(np.array(grey), factor), grey.reduce(factor))


def by_pillow(grey, longest, gap):
    """``smaller`` in Pillow's own steps: reduced by a factor, then columns, then rows."""
    share = longest / max(grey.size)
    width, height = (max(round(side * share), 1) for side in grey.size)
    factor = max(int(min(grey.width / width, grey.height / height) / gap), 1)
    small, bilinear = grey.reduce(factor), Image.Resampling.BILINEAR
    lower = small.resize((small.width, height), bilinear, (0, 0, small.width, grey.height / factor))
    return lower.resize((width, height), bilinear, (0, 0, grey.width / factor, height))


@settings(max_examples=120, deadline=None)
@given(SIDES, SIDES, st.sampled_from([(20, 1.5), (33, 2.0), (7, 2.0)]), st.integers(0, 9))
@example(2000, 3, (256, 1.5), 0)
@example(1, 900, (80, 2.0), 0)
@example(641, 480, (256, 1.5), 1)
@example(1_100_000, 1, (256, 1.5), 0)
@example(1, 1_100_000, (256, 1.5), 0)
@example(17, 3000, (256, 1.5), 1)
def test_smaller_copies_are_pillows(width, height, how, seed):
    grey = drawn(width, height, seed).convert("L")
    expected = by_pillow(grey, *how) if max(grey.size) > how[0] else grey
    assert np.array_equal(smaller(np.array(grey), *how), expected)


@pytest.mark.parametrize("size", [(64, 1), (65, 15), (64, 16), (67, 17), (1_048_577, 1)])
def test_reductions_of_few_rows_and_of_very_wide_pictures_are_pillows(size):
    grey = drawn(*size, 0).convert("L")
    (found,) = reduced(np.array(grey), ((33, 7),), LANCZOS)
    assert np.array_equal(found, grey.resize((33, 7), Image.Resampling.LANCZOS))


def test_processors_that_do_not_multiply_bytes_give_the_same():
    code = (
        "import numpy as np; from PIL import Image\n"
        "from curate.signals.kernels.resampling import BYTES\n"
        "from curate.signals.base import words_of\n"
        "from curate.signals.reduction import BICUBIC, LANCZOS, reduced, reduced_colours, smaller\n"
        "picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (130, 203, 3), np.uint8))\n"
        "grey = picture.convert('L'); levels = np.array(grey)\n"
        "same = [np.array_equal(reduced(levels, (to,), LANCZOS)[0], grey.resize(to, 1)) for to in ((32, 32), (9, 8))]\n"
        "found = reduced_colours(words_of(picture), (64, 40), BICUBIC).transpose(1, 2, 0)\n"
        "same += [np.array_equal(found, picture.resize((64, 40)))]\n"
        "print(BYTES, all(same), smaller(levels, 80, 1.5).tobytes().hex())"
    )
    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    without = os.environ | {"NUMBA_CPU_FEATURES": ",".join(name for name in features if "vnni" not in name)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=without)
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (130, 203, 3), np.uint8)).convert("L")
    assert done.stdout.split() == ["False", "True", by_pillow(grey, 80, 1.5).tobytes().hex()]


def test_the_power_of_tiles_is_that_of_scipys_transform():
    tiles = np.random.default_rng(0).normal(0, 60, (24, 32, 32)).astype(np.float32)
    tiles[3], tiles[4] = 0, 255
    found = np.empty((3, 32, 17, 8), np.float32)
    powers(tiles, found)
    found = found.transpose(0, 3, 1, 2).reshape(24, 32, 17)
    exact = np.abs(np.fft.rfft2(tiles.astype(float))) ** 2
    assert np.allclose(found, exact, rtol=1e-4, atol=1e-6 * exact.max())
    waves = scipy.fft.rfft2(tiles)
    assert np.array_equal(found, waves.real * waves.real + waves.imag * waves.imag)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 9))
def test_outlines_are_pillows(width, height, seed):
    grey = drawn(width, height, seed).convert("L")
    levels, edges = np.empty((2, 256), np.int64)
    outlines(np.array(grey), levels, edges)
    assert levels.tolist() == grey.histogram()
    assert edges.tolist() == grey.filter(ImageFilter.FIND_EDGES).histogram()


@given(SIDES, SIDES, st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_lines_are_evenly_spread(width, height, most):
    levels = np.array(noise(width, height).convert("L"))
    rows, columns = lines_of(levels, most)
    assert np.array_equal(rows, levels[:: -(-height // most)]) and len(rows) <= most
    assert np.array_equal(columns, levels[:, :: -(-width // most)].T) and len(columns) <= most


@pytest.mark.parametrize("photo", PHOTOS)
@pytest.mark.parametrize("size", [(80, 60), (60, 80), (80, 7), (3, 80), (24, 24)])
def test_keypoints_are_those_of_the_definition(photo, size):
    view = np.array(photo.convert("L").resize(size))
    place, signs, unsure = keypoints_by_numpy.keypoints(view)
    found = keypoints(view)
    assert len(found) == len(place)
    assert np.abs(found["place"] - place * STEPS).max(initial=0) <= 1
    bits = np.unpackbits(found["word"][:, None].view(np.uint8), axis=1, bitorder="little")
    clear = np.abs(signs) > 1e-3  # of others the sign depends on the order of the sums
    assert np.array_equal((signs > 0)[clear], bits.astype(bool)[clear]) and clear.sum() >= 0.98 * clear.size
    assert np.sum(found["unsure"] == unsure) >= 0.98 * unsure.size


def test_flat_and_tiny_views_have_no_keypoints():
    for view in (np.full((60, 80), 9, np.uint8), np.zeros((2, 80), np.uint8), np.zeros((3, 3), np.uint8)):
        assert len(keypoints(view)) == 0


def test_after_the_preparation_no_image_waits_for_the_compiler():
    code = (
        "import pkgutil, importlib, numpy as np, curate.signals.kernels as kernels; from PIL import Image\n"
        "from curate.signals import PIXEL_SIGNALS, measure_pixels, prepare\n"
        "prepare(PIXEL_SIGNALS)\n"
        "names = [f'{kernels.__name__}.{each.name}' for each in pkgutil.iter_modules(kernels.__path__)]\n"
        "found = [each for name in names for each in vars(importlib.import_module(name)).values()]\n"
        "made = [each for each in found if hasattr(each, 'signatures')]\n"
        "count = lambda: sum(len(each.signatures) for each in made)\n"
        "before = count()\n"
        "for size in ((1, 1), (100, 1), (20, 900), (333, 200), (1100, 90)):\n"
        "    picture = Image.effect_noise(size, 90)\n"
        "    for original in (picture, picture.convert('RGB'), picture.convert('RGBA'), picture.convert('P')):\n"
        "        measure_pixels(picture.convert('RGB'), PIXEL_SIGNALS, original)\n"
        "print(len(made) > 15, count() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True 0\n"


def test_commands_start_without_the_compiler():
    code = "import sys, curate.cli, curate.signals; print('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_without_a_folder_to_keep_it_in_a_function_is_compiled_all_the_same():
    code = (
        "import numpy as np; from curate.signals.reduction import reduced_by\n"
        "print(reduced_by(np.full((4, 4), 7, np.uint8), 2).tolist())"
    )
    nowhere = os.environ | {"NUMBA_CACHE_LOCATOR_CLASSES": "IPythonCacheLocator"}  # keeps nothing outside notebooks
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=nowhere)
    assert done.stdout == "[[7, 7], [7, 7]]\n"
