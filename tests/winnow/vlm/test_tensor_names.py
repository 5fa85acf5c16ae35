"""Checkpoints are written under the names that their families publish."""

from __future__ import annotations

import pytest
import torch

from tests.finetune import families, models
from winnow.vlm.models import empty_model
from winnow.vlm.tensor_names import published_names, save_under_published_names, unpublished

# Written from memory of the published checkpoints, not copied from their index files.
PUBLISHED = {
    "llava_1_5": (
        "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight",
        "language_model.model.layers.0.self_attn.q_proj.weight",
        "multi_modal_projector.linear_1.weight",
    ),
    "qwen2_5_vl": ("visual.blocks.0.attn.qkv.weight", "model.layers.0.self_attn.q_proj.weight"),
    "gemma3": (
        "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight",
        "language_model.model.layers.0.self_attn.q_proj.weight",
        "multi_modal_projector.mm_input_projection_weight",
    ),
    "paligemma": (
        "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight",
        "language_model.model.layers.0.self_attn.q_proj.weight",
        "multi_modal_projector.linear.weight",
    ),
}


@pytest.mark.parametrize("family", PUBLISHED)
def test_a_new_model_is_saved_under_the_published_names(family, tmp_path):
    """And loads again, each weight in its place."""
    from safetensors.torch import load_file
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(models.CONFIGS[family](getattr(families, family)().tokenizer))
    save_under_published_names(model)
    model.save_pretrained(tmp_path)
    keys = load_file(tmp_path / "model.safetensors").keys()
    assert set(PUBLISHED[family]) <= keys
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    wanted, got = model.state_dict(), loaded.state_dict()
    assert wanted.keys() == got.keys()
    assert all(torch.equal(wanted[name], got[name]) for name in wanted)
    names = published_names(empty_model(str(tmp_path)))
    tied = loaded.all_tied_weights_keys
    assert {names[name] for name in wanted if name not in tied and name in names} >= set(keys)


def test_only_names_that_nobody_publishes_are_to_be_mended(tmp_path):
    """Those of a model that was saved as it was built; older spellings that transformers reads are left alone."""
    model = empty_model(str(models.checkpoint("llava_1_5", tmp_path, weights=False)))
    inner = "model.vision_tower.embeddings.class_embedding"
    published = "vision_tower.vision_model.embeddings.class_embedding"
    fresh = {"vision_tower.embeddings.class_embedding": inner}
    assert unpublished(fresh, model) == {"vision_tower.embeddings.class_embedding": published}
    assert unpublished({inner: inner}, model) == {inner: published}
    assert unpublished({published: inner, "model.vision_tower.vision_model.old": inner}, model) == {}
