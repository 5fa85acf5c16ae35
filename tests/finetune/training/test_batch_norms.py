"""A frozen tower with batch norms, as FastVLM has, computes in training as at inference."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from finetune.recipe import TrainRecipe
from finetune.training.run import train
from tests.finetune.toys import CHATML, build_tokenizer, save_data


def fast_vlm(folder: Path) -> Path:
    from transformers import (
        CLIPImageProcessor,
        FastVlmConfig,
        FastVlmForConditionalGeneration,
        LlamaConfig,
        LlavaProcessor,
    )

    words = build_tokenizer()
    side = {"height": 64, "width": 64}
    processor = LlavaProcessor(
        CLIPImageProcessor(size=side, crop_size=side), words, patch_size=32, vision_feature_select_strategy="full",
        num_additional_image_tokens=0, chat_template=CHATML,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, tie_word_embeddings=True, pad_token_id=words.pad_token_id,
        eos_token_id=words.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    tower = {"model_type": "timm_wrapper", "architecture": "resnet10t", "hidden_size": 512, "do_pooling": False}
    torch.manual_seed(0)
    model = FastVlmForConditionalGeneration(
        FastVlmConfig(
            vision_config=tower,
            text_config=text,
            image_token_index=words.convert_tokens_to_ids("<image>"),
            tie_word_embeddings=True,
        )
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_statistics_of_a_frozen_tower_stay(tmp_path):
    base = fast_vlm(tmp_path / "model")
    rows = save_data(tmp_path)
    recipe = TrainRecipe(
        name="norms", out=tmp_path / "run", model=str(base), data=rows, quantization="none", compute_dtype="float32",
        decoder="full", batch_size=4, max_steps=2, max_length=128, num_workers=0,
    )  # fmt: skip
    train(recipe)
    before, after = (load_file(folder / "model.safetensors") for folder in (base, tmp_path / "run/adapter"))
    of_tower = [name for name in before if "vision_tower" in name]
    assert any(name.endswith("running_mean") for name in of_tower)
    assert all(torch.equal(before[name], after[name]) for name in of_tower)
    assert any(not torch.equal(before[name], after[name]) for name in before.keys() - set(of_tower))
