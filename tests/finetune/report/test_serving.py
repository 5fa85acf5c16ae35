"""What a run says about servers."""

import json

import pytest

from finetune.report.serving import lora_options, serving_sentence


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"r": 8}, ["vLLM loads the adapter as LoRA", "--enable-lora"]),
        ({"r": 48}, ["--max-lora-rank 64"]),
        ({"modules_to_save": ["model.multi_modal_projector"]}, ["cannot load", "multi_modal_projector", "--lora-only"]),
        ({"target_parameters": ["experts.down_proj"]}, ["cannot load", "fused experts"]),
        ({"use_dora": True}, ["cannot load", "DoRA", "finetune merge RUN --out DIR"]),
        ({"r": 1024}, ["cannot load", "rank is above 512"]),
    ],
)
def test_what_vllm_loads(values, words, tmp_path):
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps({"r": 8, "target_modules": "x", "bias": "none", **values}))
    sentence = serving_sentence(config, "RUN", tower=False)
    assert all(word in sentence for word in words)
    assert ("--lora-only" in sentence) == ("modules_to_save" in values)


def test_lora_of_the_tower_needs_an_option_of_its_own():
    assert lora_options("a=b", 16, tower=False) == "--enable-lora --lora-modules a=b"
    assert lora_options("a=b", 17, tower=True) == (
        "--enable-lora --lora-modules a=b --max-lora-rank 32 --enable-tower-connector-lora"
    )
