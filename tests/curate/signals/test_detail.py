import io
import math

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.bench_blur import blurred, disc, enlarged, gaussian, gradients, motion, noisy, posterised, resaved
from curate.signals import detail as module
from curate.signals import measure_pixels


def of(image, original=None):
    return measure_pixels(image.convert("RGB"), ("detail", "blocking", "banding", "jpeg_quality"), original)


@pytest.fixture(scope="module")
def photo():
    return Image.fromarray(skimage.data.chelsea()).resize((256, 170))


def naive(levels):
    """Detail along each direction by the definition, tile by tile and frequency by frequency, without noise."""
    window = np.outer(*[np.sin(np.pi * np.arange(1, 33) / 33) ** 2] * 2)
    starts = [np.linspace(0, side - 32, round((side - 32) / 24) + 1).round().astype(int) for side in levels.shape]
    powers = []
    for top in starts[0]:
        for left in starts[1]:
            tile = levels[top : top + 32, left : left + 32].astype(float)
            powers.append(np.abs(np.fft.fft2((tile - tile.mean()) * window)) ** 2 / (window**2).sum())
    frequencies = np.fft.fftfreq(32)
    ring = np.hypot(frequencies[:, None], frequencies[None])
    floor = sorted(power[ring >= 0.45].mean() for power in powers)[int(0.2 * (len(powers) - 1))]
    found = []
    for direction in range(8):
        turned = np.arctan2(frequencies[:, None], frequencies[None]) - math.pi * direction / 8
        sector = np.abs((turned + math.pi / 2) % math.pi - math.pi / 2) <= 0.75 * math.pi / 8
        ratios = []
        for power in powers:
            coarse = power[(ring >= 0.06) & (ring < 0.15) & sector].mean() - floor
            fine = power[(ring >= 0.20) & (ring < 0.36) & sector].mean() - floor
            if coarse > 30 + 10 * floor:
                ratios.append(max(fine, 0.1 * floor + 0.02) / coarse)
        if len(ratios) >= min(6, max(len(powers) // 16, 1)):
            found.append(10 * math.log10(sorted(ratios)[int(0.8 * (len(ratios) - 1))]))
    return min(found)


def test_detail_equals_the_definition(photo):
    for image in (
        photo,
        noisy(photo, 8, np.random.default_rng(0)),
        blurred(photo, motion(9, 0.5)),
        photo.crop((0, 0, 64, 50)),
    ):
        assert of(image)["detail"] == pytest.approx(naive(np.asarray(image.convert("L"))), abs=1e-3)


def test_detail_falls_with_every_kind_of_blur(photo):
    sharp = of(photo)["detail"]
    by_sigma = [of(blurred(photo, gaussian(sigma)))["detail"] for sigma in (0.7, 1, 1.5, 2)]
    assert sharp > -14 and [sharp, *by_sigma] == sorted([sharp, *by_sigma], reverse=True)
    rng = np.random.default_rng(0)
    for kernel in (gaussian(2), gaussian(4), disc(3), disc(5)):
        assert of(blurred(photo, kernel))["detail"] < -18
        assert of(noisy(blurred(photo, kernel), 5, rng))["detail"] < -18


@pytest.mark.parametrize("length", [10, 15, 25])
def test_motion_at_any_angle_is_blur(photo, length):
    for angle in np.linspace(0, np.pi, 7):
        assert of(blurred(photo, motion(length, angle)))["detail"] < -17, angle


@settings(max_examples=12, deadline=None)
@given(turn=st.sampled_from(list(Image.Transpose)), angle=st.floats(0, np.pi))
def test_turning_and_mirroring_change_little(photo, turn, angle):
    for image in (photo, blurred(photo, motion(12, angle))):
        assert of(image.transpose(turn))["detail"] == pytest.approx(of(image)["detail"], abs=0.5)


def test_noise_and_brightness_hide_nothing(photo):
    soft, rng = blurred(photo, gaussian(2.5)), np.random.default_rng(0)
    for deviation in (2, 5, 10):
        assert of(noisy(soft, deviation, rng))["detail"] < -16
        assert of(noisy(photo, deviation, rng))["detail"] > -16
    assert of(photo.point(lambda level: level // 4))["detail"] == pytest.approx(of(photo)["detail"], abs=2)


def test_one_object_in_focus_makes_an_image_sharp(photo):
    image = blurred(photo, gaussian(4))
    image.paste(photo.crop((60, 30, 200, 140)), (60, 30))
    assert of(image)["detail"] > -18 > of(blurred(photo, gaussian(4)))["detail"]


def test_the_size_of_the_image_changes_little():
    large = Image.fromarray(skimage.data.chelsea())
    for share in (1.0, 0.8, 0.6):
        image = large.resize((round(large.width * share), round(large.height * share)), Image.Resampling.LANCZOS)
        assert of(image)["detail"] == pytest.approx(of(large)["detail"], abs=1.5)


def test_enlarging_takes_detail_at_full_size_only():
    photo = Image.fromarray(skimage.data.astronaut())
    found, sharp = of(enlarged(photo, 3)), of(photo)
    assert found["detail_full"] < -18 < sharp["detail_full"]
    assert found["detail"] > -18


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (31, 40), (33, 9), (3000, 32), (2000, 3)])
@pytest.mark.parametrize("noise", [0, 40])
def test_any_size_and_flat_images(size, noise):
    image = noisy(Image.new("RGB", size, (90, 90, 90)), noise, np.random.default_rng(0))
    found = of(image)
    assert noise or found["detail"] is found["detail_full"] is None
    assert all(value is None or math.isfinite(value) for value in found.values())


def naive_blocking(levels):
    found = []
    for lines in (levels.astype(int), levels.T.astype(int)):
        steps = [[] for _ in range(8)]
        for line in lines:
            for x in range((len(line) - 1) // 8 * 8):
                steps[x % 8].append(min(abs(line[x + 1] - line[x]), 32))
        means = sorted(np.mean(one) for one in steps)
        found.append(means[-1] / max(np.mean(means[:-1]), 0.25))
    return min(found)


def test_blocking_equals_the_definition(photo):
    for image in (photo.crop((0, 0, 90, 61)), resaved(photo, 10).crop((3, 5, 93, 66))):
        assert of(image)["blocking"] == pytest.approx(naive_blocking(np.asarray(image.convert("L"))))


def test_blocks_stay_after_cropping_and_saving_again(photo):
    assert of(photo)["blocking"] < 1.2
    by_quality = [of(resaved(photo, quality))["blocking"] for quality in (60, 30, 10)]
    assert by_quality == sorted(by_quality) and by_quality[-1] > 1.5
    assert of(resaved(resaved(photo, 8), 95).crop((3, 5, 250, 165)))["blocking"] > 1.5


def naive_banding(levels):
    shares = []
    for lines in (levels.astype(int), levels.T.astype(int)):
        counts, places = [0] * 8, 0
        for line in lines:
            for x in range(len(line) - 7):
                run = line[x : x + 8].tolist()
                places += 1
                flat = len(set(run[:4])) == len(set(run[4:])) == 1
                counts[x % 8] += flat and 2 <= abs(run[4] - run[3]) <= 40
        shares.append((sum(counts) - max(counts)) / places)
    return 50 * sum(shares)


def test_banding_equals_the_definition(photo):
    for image in (photo.crop((0, 0, 90, 61)), posterised(photo, 16).crop((3, 5, 93, 66))):
        assert of(image)["banding"] == pytest.approx(naive_banding(np.asarray(image.convert("L"))))


def test_few_levels_leave_bands_and_blocks_do_not(photo):
    for smooth in gradients(3, np.random.default_rng(0)):
        assert of(smooth)["banding"] == 0
        for levels in (64, 32, 16):
            assert of(posterised(smooth, levels))["banding"] > 0.06
    for image in (photo, resaved(photo, 30), resaved(photo, 10), blurred(photo, gaussian(2))):
        assert of(image)["banding"] < 0.06 < of(posterised(photo, 16))["banding"]


@pytest.mark.parametrize("quality", [1, 5, 10, 49, 50, 75, 90, 100])
def test_jpeg_quality_is_the_one_that_the_file_was_written_with(photo, quality):
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality)
    opened = Image.open(file)
    opened.load()
    found = of(opened, opened)["jpeg_quality"]
    assert module._SUMS[found - 1] == module._SUMS[quality - 1] and abs(found - quality) <= (quality < 5)
    assert of(photo)["jpeg_quality"] is None
