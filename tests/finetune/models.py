"""Tiny models of the families, built offline from bare configurations; their processors are in families.py."""

from __future__ import annotations

from tests.finetune import families

_TEXT = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 512,
}  # fmt: skip
_SIGLIP = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip


def _text(model_type: str, words, **more) -> dict:
    ids = {"pad_token_id": words.pad_token_id, "eos_token_id": words.eos_token_id, "bos_token_id": words.bos_token_id}
    return {"model_type": model_type, "vocab_size": len(words), **_TEXT, **ids, **more}


def _qwen(name: str, words, vision: dict, rope: dict):
    import transformers

    token = words.convert_tokens_to_ids
    return getattr(transformers, f"{name}Config")(
        text_config=_text("", words, rope_parameters=rope) | {"model_type": f"{_MODEL_TYPES[name]}_text"},
        vision_config={"depth": 2, "num_heads": 2, "out_hidden_size": 64, **vision},
        image_token_id=token("<|image_pad|>"), video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"), vision_end_token_id=token("<|vision_end|>"),
    )  # fmt: skip


_MODEL_TYPES = {"Qwen2_5_VL": "qwen2_5_vl", "Qwen3VL": "qwen3_vl"}


def qwen2_5_vl(words):
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    vision = {"hidden_size": 32, "intermediate_size": 64, "fullatt_block_indexes": [1]}
    return _qwen("Qwen2_5_VL", words, vision, rope)


def qwen3_vl(words):
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "mrope_interleaved": True, "rope_theta": 10000.0}
    vision = {"hidden_size": 32, "intermediate_size": 64, "deepstack_visual_indexes": [0], "patch_size": 14}
    return _qwen("Qwen3VL", words, vision, rope)


def llava_1_5(words):
    from tests.finetune.toys import llava_config

    return llava_config(words)


def llava_onevision(words):
    from transformers import LlavaOnevisionConfig

    return LlavaOnevisionConfig(
        text_config=_text("qwen2", words), vision_config={"model_type": "siglip_vision_model", **_SIGLIP},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"), vision_feature_layer=-1,
        image_grid_pinpoints=[[32, 32], [32, 64]],
    )  # fmt: skip


def smolvlm(words):
    from transformers import SmolVLMConfig

    return SmolVLMConfig(
        text_config=_text("llama", words), vision_config=_SIGLIP, scale_factor=2,
        image_token_id=words.convert_tokens_to_ids("<image>"),
    )  # fmt: skip


def internvl(words):
    from transformers import InternVLConfig

    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": [28, 28], "patch_size": [7, 7],
    }  # fmt: skip
    token = words.convert_tokens_to_ids("<IMG_CONTEXT>")
    return InternVLConfig(text_config=_text("qwen2", words), vision_config=vision, image_token_id=token)


def gemma3(words):
    from transformers import Gemma3Config

    ids = words.convert_tokens_to_ids
    text = _text("gemma3_text", words, sliding_window=16, query_pre_attn_scalar=16)
    return Gemma3Config(
        text_config=text, vision_config=_SIGLIP, mm_tokens_per_image=4, image_token_id=ids("<image_soft_token>"),
        boi_token_id=ids("<start_of_image>"), eoi_token_id=ids("<end_of_image>"),
    )  # fmt: skip


def paligemma(words):
    from transformers import PaliGemmaConfig

    vision = {**_SIGLIP, "patch_size": 16, "projection_dim": 64}
    return PaliGemmaConfig(
        text_config=_text("gemma", words), vision_config=vision, projection_dim=64,
        image_token_id=words.convert_tokens_to_ids("<image>"),
    )  # fmt: skip


CONFIGS = {made.__name__: made for made in (
    qwen2_5_vl, qwen3_vl, llava_1_5, llava_onevision, smolvlm, internvl, gemma3, paligemma)}  # fmt: skip


def checkpoint(family: str, folder, *, weights: bool):
    """Write a tiny checkpoint of a family; without ``weights`` its configuration and processor only."""
    import torch
    from transformers import AutoModelForImageTextToText

    processor = getattr(families, family)()
    config = CONFIGS[family](processor.tokenizer)
    processor.save_pretrained(folder)
    if weights:
        torch.manual_seed(0)
        AutoModelForImageTextToText.from_config(config).bfloat16().save_pretrained(folder)
    else:
        config.architectures = None
        config.save_pretrained(folder)
    return folder
