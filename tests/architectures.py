"""Every architecture of AutoModelForImageTextToText on the meta device: shapes without weights, a few layers."""

from __future__ import annotations

from typing import Any

from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

# Configurations that do not build from their defaults, or lack their towers.
_CHANGES: dict[str, dict[str, Any]] = {
    "aya_vision": {"vision_config": {"model_type": "siglip_vision_model", "hidden_size": 1152,
                                     "num_attention_heads": 16, "patch_size": 14, "image_size": 364}},
    "chameleon": {"vocabulary_map": {"<image>": 8711}},
    "cohere_compass": {"text_config": {"num_hidden_layers": 2, "layer_types": ["full_attention"] * 2,
                                       "rope_parameters": {"full_attention": {"rope_type": "default",
                                                                              "rope_theta": 1e4}}}},
    "deepseek_ocr2": {"text_config": {"num_hidden_layers": 2, "mlp_layer_types": ["dense", "sparse"]}},
    "diffusion_gemma": {"text_config": {"num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 64,
                                        "num_hidden_layers": 6}, "vision_config": {"model_type": "gemma4_vision"}},
    "emu3": {"vocabulary_map": {"<image>": 151851, "<|extra_200|>": 151846}},
    "gemma4": {"vision_config": {"model_type": "gemma4_vision"}, "audio_config": {"model_type": "gemma4_audio"}},
    "gemma4_unified": {"vision_config": {"model_type": "gemma4_unified_vision"},
                       "audio_config": {"model_type": "gemma4_unified_audio"}},
    "granite4_vision": {"deepstack_layer_map": [[3, 0], [7, 1]], "spatial_target_layers": [0, 1],
                        "downsample_rate": "4/8", "image_grid_pinpoints": [[384, 384]]},
    "hunyuan_vl": {"text_config": {"head_dim": 128}},
    "idefics": {"use_resampler": True},
    "perception_lm": {"vision_config": {"model_type": "timm_wrapper", "model_args": {"embed_dim": 1024},
                                        "architecture": "vit_pe_core_large_patch14_336"}},
    "qwen4_exp": {"text_config": {"num_hidden_layers": 4, "indexer_n_heads": 2, "indexer_kv_heads": 1,
                                  "indexer_head_dim": 256, "indexer_budget": 512, "indexer_compress_ratio": 4}},
}  # fmt: skip
# Not of this auto class, though its list names it.
NOT_BUILT = {"evolla"}
NAMES = sorted(set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES) - NOT_BUILT)


def bare_config(name: str) -> Any:
    """A configuration of default sizes whose tower and decoder fit each other."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config = CONFIG_MAPPING[name](**_CHANGES.get(name, {}))
    vision, text = getattr(config, "vision_config", None), getattr(config, "text_config", None)
    if hasattr(vision, "out_hidden_size") and hasattr(text, "hidden_size"):
        vision.out_hidden_size = text.hidden_size
    return config


def bare(name: str) -> Any:
    """A model without weights, from ``bare_config``."""
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(bare_config(name))
