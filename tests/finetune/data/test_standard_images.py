"""`finetune plan` shows what images of well-known shapes cost, and which settings do nothing."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from finetune.data.standard_images import STANDARD_IMAGES, standard_costs, standard_table
from tests.finetune import families
from winnow.vlm.inputs import InputSettings

# Gemma 3's processor passes its own values on, whatever its image processor has.
PAN_AND_SCAN = {
    "do_pan_and_scan": True, "pan_and_scan_min_crop_size": 8, "pan_and_scan_max_num_crops": 4,
    "pan_and_scan_min_ratio_to_activate": 1.2,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "settings", "warnings"),
    [
        ("internvl", InputSettings(processor={"max_patches": 4}), []),
        ("internvl", InputSettings(processor={"max_patches": 4, "crop_to_patches": False}), ["crop_to_patches has no"]),
        ("gemma3", InputSettings(processor=PAN_AND_SCAN), ["do_pan_and_scan has no effect with Gemma3"]),
        ("llava_1_5", InputSettings(max_pixels=100_000), ["saves no token with LlavaProcessor"]),
        ("qwen2_5_vl", InputSettings(max_pixels=6_000), []),
        ("qwen2_5_vl", InputSettings(max_pixels=200_000, processor={"image_mean": [0.0, 0.0, 0.0]}), []),
    ],
)
def test_settings_that_do_nothing_are_named(family, settings, warnings):
    found = standard_costs(getattr(families, family)(), settings)
    assert len(found.warnings) == len(warnings), found.warnings
    assert all(part in text for part, text in zip(warnings, found.warnings, strict=True))


@pytest.mark.slow
def test_table_with_and_without_the_settings():
    plain = families.internvl()
    costs = standard_costs(plain, InputSettings(processor={"max_patches": 4}))
    assert costs.tokens["photo, 4:3"] == 5 * 4 + 1 and costs.plain["photo, 4:3"] == 13 * 4 + 1
    assert costs.plain == standard_costs(plain, InputSettings()).tokens  # the processor given is not changed
    buffer = io.StringIO()
    Console(file=buffer, width=120).print(standard_table(costs))
    printed = buffer.getvalue()
    assert all(name in printed for name in STANDARD_IMAGES) and "with the model's own settings" in printed


@pytest.mark.slow
def test_a_shape_that_the_processor_refuses(monkeypatch):
    monkeypatch.setitem(STANDARD_IMAGES, "strip", (900, 4))
    assert standard_costs(families.qwen2_5_vl(), InputSettings()).tokens["strip"] is None
