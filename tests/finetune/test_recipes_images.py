"""What the shipped recipes claim that an image costs, measured with the processors' published settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from finetune.data.image_costs import chat_about
from finetune.data.standard_images import STANDARD_IMAGES
from finetune.recipe import load
from tests.finetune import families, published
from winnow.vlm.inputs import InputSettings, apply_to_processor, cap_before, scaled_down

# Recipe → processor, most image tokens, and how many at least without the recipe's settings, if its comment says so.
CLAIMS = {
    "gemma3_16gb": (published.gemma3, 256, None),
    "gemma3_24gb": (published.gemma3, 256, None),
    "internvl3_16gb": (published.internvl, 1280, 3328),
    "internvl3_24gb": (published.internvl, 1280, 3328),
    "llava_1_5_16gb": (published.llava_1_5, 576, None),
    "llava_1_5_24gb": (published.llava_1_5, 576, None),
    "llava_onevision_16gb": (published.llava_onevision, 3699, 7000),
    "llava_onevision_24gb": (published.llava_onevision, 3699, 7000),
    "paligemma_16gb": (published.paligemma, 1024, None),
    "paligemma_24gb": (lambda: published.paligemma(224), 256, None),
    "qwen2_5_vl_16gb": (published.qwen2_5_vl, 668, None),
    "qwen2_5_vl_24gb": (published.qwen2_5_vl, 1337, None),
    "qwen3_vl_16gb": (published.qwen3_vl, 512, None),
    "qwen3_vl_24gb": (published.qwen3_vl, 1024, None),
    "smolvlm2_16gb": (published.smolvlm, 1377, None),
    "smolvlm2_24gb": (published.smolvlm, 1377, None),
}
SHAPES = [*STANDARD_IMAGES.values(), (640, 480), (1000, 1000), (1024, 768), (1500, 900), (700, 2100), (3200, 400)]


def most(processor, settings: InputSettings) -> int:
    """Most image tokens that an image of any of the shapes costs."""
    apply_to_processor(processor, settings)
    cap = cap_before(processor, settings)
    counts = []
    for shape in SHAPES:
        _, output = chat_about(processor, settings, [scaled_down(Image.new("RGB", shape), cap)])
        counts.append(list(output["input_ids"][0]).count(families.image_token(processor)))
    return max(counts)


def test_every_recipe_has_its_figure():
    assert set(CLAIMS) == {path.stem for path in Path("finetune/recipes").glob("*gb.yaml")}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLAIMS)
def test_an_image_costs_what_the_recipe_says(name):
    path = Path(f"finetune/recipes/{name}.yaml")
    make, claimed, unset = CLAIMS[name]
    recipe, text = load(path), path.read_text(encoding="utf-8")
    found = most(make(), recipe.input_settings)
    assert claimed * 0.97 < found <= claimed < recipe.max_length / 1.15
    if name != "llava_1_5_24gb":
        assert f"{claimed:,}" in text
    if unset is not None:
        assert most(make(), InputSettings()) >= unset and f"{unset:,}" in text


@pytest.mark.slow
def test_what_the_smolvlm_recipes_offer():
    size = {"size": {"longest_edge": 768}}
    assert most(published.smolvlm(), InputSettings(processor=size)) == 405
