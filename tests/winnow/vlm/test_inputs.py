"""Image settings act on the processors that transformers has; they are kept beside the weights."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from PIL import Image

from winnow.errors import UserError
from winnow.vlm.inputs import (
    InputSettings,
    apply_to_model,
    apply_to_processor,
    area_limits,
    cap_before,
    read_input_settings,
    save_input_settings,
    scaled_down,
)


def pixels_seen(images, size, frames: int) -> float:
    """Area of the image as the model sees it."""
    values = images(images=[Image.new("RGB", size)], return_tensors="pt")["pixel_values"]
    return values.numel() / 3 / frames


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("Qwen2VLImageProcessor", 2),
        ("Glm4vImageProcessor", 2),  # its limit counts both frames
        ("VideoLlama3ImageProcessor", 1),
        ("HunYuanVLImageProcessor", 1),  # its least area is above the cap
        ("Apertus1p5ImageProcessor", 1),  # size has min_pixels and max_pixels
    ],
)
def test_a_cap_becomes_the_area_limit_of_processors_that_have_one(name, frames):
    import transformers

    processor = SimpleNamespace(image_processor=getattr(transformers, name)())
    before = processor.image_processor
    settings = InputSettings(max_pixels=150_000)
    apply_to_processor(processor, settings)
    assert cap_before(processor, settings) is None and area_limits(processor)[1] == 150_000
    for size in ((1600, 1200), (1000, 1000), (2000, 400)):
        assert 0.75 * 150_000 < pixels_seen(processor.image_processor, size, frames) <= 150_000
    assert pixels_seen(before, (1600, 1200), frames) > 900_000  # what others hold is not changed


def test_elsewhere_images_are_scaled_down_before():
    from transformers import Idefics2ImageProcessor

    processor = SimpleNamespace(image_processor=Idefics2ImageProcessor())  # its longest_edge is a length
    settings = InputSettings(max_pixels=100_000)
    apply_to_processor(processor, settings)
    assert cap_before(processor, settings) == 100_000 and area_limits(processor) is None
    assert scaled_down(Image.new("RGB", (1000, 400)), 100_000).size == (500, 200)
    assert cap_before(SimpleNamespace(), settings) is None  # a processor without images


def test_a_processor_that_was_not_given_the_cap_gets_scaled_images():
    from transformers import Qwen2VLImageProcessor

    processor = SimpleNamespace(image_processor=Qwen2VLImageProcessor())
    assert cap_before(processor, InputSettings(max_pixels=100_000)) == 100_000


def test_the_model_gets_the_settings_that_it_has_too():
    model = SimpleNamespace(config=SimpleNamespace(image_grid_pinpoints=[[1, 1]]))
    apply_to_model(model, InputSettings(processor={"image_grid_pinpoints": [[2, 2]], "size": {"height": 3}}))
    assert vars(model.config) == {"image_grid_pinpoints": [[2, 2]]}


def test_settings_are_kept_beside_the_weights(tmp_path):
    assert read_input_settings(tmp_path) == InputSettings()
    settings = InputSettings(
        max_pixels=5, processor={"max_patches": 2}, chat_template_kwargs={"enable_thinking": False}
    )
    save_input_settings(tmp_path, settings)
    assert read_input_settings(tmp_path) == settings
    (tmp_path / "input_settings.json").write_text('{"pixels": 3}')
    with pytest.raises(UserError, match="not written by Winnow"):
        read_input_settings(tmp_path)
