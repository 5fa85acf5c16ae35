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


def _qwen(name: str, words, vision: dict, rope: dict, **text):
    import transformers

    token = words.convert_tokens_to_ids
    return getattr(transformers, f"{name}Config")(
        text_config=_text("", words, rope_parameters=rope, **text) | {"model_type": f"{_MODEL_TYPES[name]}_text"},
        vision_config={"depth": 2, "num_heads": 2, "out_hidden_size": 64, **vision},
        image_token_id=token("<|image_pad|>"), video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"), vision_end_token_id=token("<|vision_end|>"),
    )  # fmt: skip


_MODEL_TYPES = {"Qwen2_5_VL": "qwen2_5_vl", "Qwen3VL": "qwen3_vl", "Qwen3VLMoe": "qwen3_vl_moe", "Qwen3_5": "qwen3_5"}


def qwen2_5_vl(words):
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    vision = {"hidden_size": 32, "intermediate_size": 64, "fullatt_block_indexes": [1]}
    return _qwen("Qwen2_5_VL", words, vision, rope)


def qwen3_vl(words):
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "mrope_interleaved": True, "rope_theta": 10000.0}
    vision = {"hidden_size": 32, "intermediate_size": 64, "deepstack_visual_indexes": [0], "patch_size": 14}
    return _qwen("Qwen3VL", words, vision, rope)


def qwen3_vl_moe(words):
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "mrope_interleaved": True, "rope_theta": 10000.0}
    vision = {"hidden_size": 32, "intermediate_size": 64, "deepstack_visual_indexes": [0], "patch_size": 14}
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 128, "decoder_sparse_step": 1}
    return _qwen("Qwen3VLMoe", words, vision, rope, **experts)


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


def llava_next(words):
    from transformers import LlavaNextConfig

    vision = {"model_type": "clip_vision_model", **_SIGLIP, "projection_dim": 32}
    return LlavaNextConfig(
        text_config=_text("llama", words), vision_config=vision, vision_feature_layer=-1,
        image_token_index=words.convert_tokens_to_ids("<image>"), image_grid_pinpoints=[[32, 64], [64, 32]],
    )  # fmt: skip


def idefics2(words):
    from transformers import Idefics2Config

    perceiver = {"resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": 2, "resampler_head_dim": 16,
                 "num_key_value_heads": 1}  # fmt: skip
    return Idefics2Config(
        text_config=_text("mistral", words), vision_config={**_SIGLIP, "patch_size": 14, "image_size": 56},
        perceiver_config=perceiver, image_token_id=words.convert_tokens_to_ids("<image>"),
    )  # fmt: skip


def idefics3(words):
    from transformers import Idefics3Config

    return Idefics3Config(
        text_config=_text("llama", words), vision_config=_SIGLIP, scale_factor=2,
        image_token_id=words.convert_tokens_to_ids("<image>"),
    )  # fmt: skip


def mistral3(words):
    from transformers import Mistral3Config

    vision = {"model_type": "pixtral", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
              "num_attention_heads": 2, "head_dim": 16, "image_size": 32, "patch_size": 16}  # fmt: skip
    return Mistral3Config(
        text_config=_text("mistral", words), vision_config=vision, spatial_merge_size=1,
        image_token_index=words.convert_tokens_to_ids("[IMG]"),
    )  # fmt: skip


def aya_vision(words):
    from transformers import AyaVisionConfig

    text = _text("cohere2", words, sliding_window=16)
    return AyaVisionConfig(
        text_config=text, vision_config={"model_type": "siglip_vision_model", **_SIGLIP}, downsample_factor=2,
        adapter_layer_norm_eps=1e-6, image_token_index=words.convert_tokens_to_ids("<|IMG_PATCH|>"),
    )  # fmt: skip


def mllama(words):
    from transformers import MllamaConfig

    text = _text("mllama_text_model", words, cross_attention_layers=[1], rope_parameters={"rope_type": "default",
                 "rope_theta": 10000.0})  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_global_layers": 1,
        "attention_heads": 2, "image_size": 28, "patch_size": 14, "max_num_tiles": 1, "vision_output_dim": 64,
        "intermediate_layers_indices": [0], "supported_aspect_ratios": [[1, 1]],
    }  # fmt: skip
    return MllamaConfig(
        text_config=text, vision_config=vision, image_token_index=words.convert_tokens_to_ids("<|image|>")
    )


def qwen2_vl(words):
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    import transformers

    token = words.convert_tokens_to_ids
    return transformers.Qwen2VLConfig(
        text_config=_text("", words, rope_parameters=rope) | {"model_type": "qwen2_vl_text"},
        vision_config={"depth": 2, "num_heads": 2, "embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2},
        image_token_id=token("<|image_pad|>"), video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"), vision_end_token_id=token("<|vision_end|>"),
    )  # fmt: skip


def qwen3_5(words):
    rope = {"rope_type": "default", "mrope_section": [1, 1, 0], "mrope_interleaved": True, "rope_theta": 10000.0,
            "partial_rotary_factor": 0.25}  # fmt: skip
    text = {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 16,
            "linear_value_head_dim": 16, "layer_types": ["linear_attention", "full_attention"]}  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 64, "patch_size": 14}
    return _qwen("Qwen3_5", words, vision, rope, **text)


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


def qwen2_5_omni_thinker(words):
    """Takes sounds too; its processor is in videos.py."""
    from transformers import Qwen2_5OmniThinkerConfig

    named = {"audio": "AUDIO", "image": "IMAGE", "video": "VIDEO", "audio_start": "audio_bos", "audio_end": "audio_eos",
             "vision_start": "vision_bos", "vision_end": "vision_eos"}  # fmt: skip
    ids = {f"{key}_token_id": words.convert_tokens_to_ids(f"<|{token}|>") for key, token in named.items()}
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    return Qwen2_5OmniThinkerConfig(
        audio_config={
            "num_mel_bins": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64,
            "d_model": 32, "output_dim": 64,
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64,
            "fullatt_block_indexes": [1],
        },
        text_config={**_TEXT, "vocab_size": len(words), "rope_parameters": rope}, pad_token_id=words.pad_token_id,
        **ids,
    )  # fmt: skip


CONFIGS = {made.__name__: made for made in (
    qwen2_vl, qwen2_5_vl, qwen3_vl, qwen3_vl_moe, qwen3_5, llava_1_5, llava_next, llava_onevision, idefics2, idefics3,
    smolvlm, internvl, mistral3, aya_vision, mllama, gemma3, paligemma)}  # fmt: skip


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
