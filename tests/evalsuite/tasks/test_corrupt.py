"""Corrupted images are Pillow's operations, the same in every run, and never a surprise."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from evalsuite.tasks.corrupt import Corruption, corrupted_file


@pytest.fixture
def image() -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return Image.fromarray(values)


def packed(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def changed(image: Image.Image, folder: Path, **settings: float) -> Image.Image:
    data = packed(image)
    key = hashlib.sha256(data).hexdigest()
    return Image.open(corrupted_file(data, key, Corruption.model_validate(settings), folder))


def test_dark_and_blur_are_pillows(image: Image.Image, tmp_path: Path) -> None:
    dark = ImageEnhance.Brightness(image).enhance(0.3)
    assert changed(image, tmp_path, dark=0.3).tobytes() == dark.tobytes()
    blurred = dark.filter(ImageFilter.GaussianBlur(1.5))
    assert changed(image, tmp_path, blur=1.5, dark=0.3).tobytes() == blurred.tobytes()


def test_jpeg_is_saved_at_its_quality(image: Image.Image, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=10)
    data = packed(image)
    file = corrupted_file(data, hashlib.sha256(data).hexdigest(), Corruption(jpeg=10), tmp_path)
    assert file.read_bytes() == buffer.getvalue() and file.suffix == ".jpg"


def test_noise_has_its_deviation_and_is_drawn_by_image(tmp_path: Path) -> None:
    gray, other = (Image.new("RGB", (64, 64), (value, 128, 128)) for value in (128, 129))
    noise = np.asarray(changed(gray, tmp_path, noise=10), dtype=float) - 128
    assert abs(noise.mean()) < 0.4 and abs(noise.std() - 10) < 0.3  # 4 standard errors
    assert changed(gray, tmp_path / "again", noise=10).tobytes() == changed(gray, tmp_path, noise=10).tobytes()
    assert (np.asarray(changed(other, tmp_path, noise=10), dtype=float) - np.asarray(other) != noise).any()
    dots = changed(Image.new("RGB", (16, 16)), tmp_path, noise=200)
    assert set(dots.tobytes()) >= {0, 255}, "values are clipped, not wrapped"


def test_a_file_is_made_once_and_what_is_no_image_is_refused(image: Image.Image, tmp_path: Path) -> None:
    data = packed(image)
    first = corrupted_file(data, "ab" * 32, Corruption(blur=1), tmp_path)
    made = first.stat().st_mtime_ns
    assert corrupted_file(data, "ab" * 32, Corruption(blur=1), tmp_path) == first
    assert first.stat().st_mtime_ns == made
    assert corrupted_file(data, "ab" * 32, Corruption(blur=2), tmp_path) != first
    with pytest.raises(ValueError, match=r"."):
        corrupted_file(b"no image", "cd" * 32, Corruption(blur=1), tmp_path)
    assert Corruption(jpeg=10, blur=2).label == "blur 2, jpeg 10"
