"""Architectures of the models that the recipes name, with the dimensions of their ``config.json`` on the hub.

Dimensions are those that transformers' conversion scripts and the model cards give; a test compares the number of
parameters with the cards'.
"""

from __future__ import annotations

_SIGLIP = {"hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16, "patch_size": 14}


def _text(hidden: int, layers: int, heads: int, kv: int, inner: int, vocabulary: int, **more) -> dict:
    return {
        "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads, "head_dim": hidden // heads,
        "num_key_value_heads": kv, "intermediate_size": inner, "vocab_size": vocabulary, **more,
    }  # fmt: skip


def _qwen2_5_vl(text: dict, tied: bool):
    from transformers import Qwen2_5_VLConfig

    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "patch_size": 14,
              "out_hidden_size": text["hidden_size"], "fullatt_block_indexes": [7, 15, 23, 31]}  # fmt: skip
    rope = {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6}
    text = {**text, "rope_parameters": rope, "model_type": "qwen2_5_vl_text", "tie_word_embeddings": tied}
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=tied)


def _qwen3_vl(text: dict, tied: bool, vision: dict):
    from transformers import Qwen3VLConfig

    rope = {"rope_type": "default", "mrope_section": [24, 20, 20], "mrope_interleaved": True, "rope_theta": 5e6}
    text = {
        **text,
        "head_dim": 128,
        "rope_parameters": rope,
        "model_type": "qwen3_vl_text",
        "tie_word_embeddings": tied,
    }
    vision = {"num_heads": 16, "patch_size": 16, "out_hidden_size": text["hidden_size"], **vision}
    return Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=tied)


def _llava(text: dict):
    from transformers import LlavaConfig

    vision = {"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "image_size": 336,
              "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14, "projection_dim": 768}  # fmt: skip
    return LlavaConfig(text_config={**text, "model_type": "llama", "tie_word_embeddings": False}, vision_config=vision,
                       vision_feature_layer=-2, tie_word_embeddings=False)  # fmt: skip


def _onevision(text: dict, tied: bool):
    from transformers import LlavaOnevisionConfig

    vision = {**_SIGLIP, "model_type": "siglip_vision_model", "image_size": 384, "num_hidden_layers": 26,
              "vision_use_head": False}  # fmt: skip
    return LlavaOnevisionConfig(text_config={**text, "model_type": "qwen2", "tie_word_embeddings": tied},
                                vision_config=vision, vision_feature_layer=-1, tie_word_embeddings=tied)  # fmt: skip


def _internvl(text: dict):
    from transformers import InternVLConfig

    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
              "image_size": [448, 448], "patch_size": [14, 14]}  # fmt: skip
    text = {**text, "model_type": "qwen2", "tie_word_embeddings": False}
    return InternVLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False)


def _gemma3(text: dict):
    from transformers import Gemma3Config

    vision = {**_SIGLIP, "image_size": 896, "num_hidden_layers": 27, "vision_use_head": False}
    return Gemma3Config(text_config={**text, "head_dim": 256}, vision_config=vision, mm_tokens_per_image=256)


def _paligemma2(text: dict, edge: int):
    from transformers import PaliGemmaConfig

    vision = {**_SIGLIP, "image_size": edge, "num_hidden_layers": 27, "vision_use_head": False,
              "projection_dim": text["hidden_size"]}  # fmt: skip
    return PaliGemmaConfig(text_config={**text, "head_dim": 256, "model_type": "gemma2"}, vision_config=vision,
                           projection_dim=text["hidden_size"])  # fmt: skip


def _smolvlm2():
    from transformers import SmolVLMConfig

    text = _text(2048, 24, 32, 32, 8192, 49280, model_type="llama", tie_word_embeddings=False)
    vision = {**_SIGLIP, "image_size": 384, "num_hidden_layers": 27}
    return SmolVLMConfig(text_config=text, vision_config=vision, scale_factor=3, tie_word_embeddings=False)


def config_of(model: str):
    """Configuration of a model by its id on the hub."""
    return {
        "Qwen/Qwen2.5-VL-3B-Instruct": lambda: _qwen2_5_vl(_text(2048, 36, 16, 2, 11008, 151936), True),
        "Qwen/Qwen2.5-VL-7B-Instruct": lambda: _qwen2_5_vl(_text(3584, 28, 28, 4, 18944, 152064), False),
        "Qwen/Qwen3-VL-4B-Instruct": lambda: _qwen3_vl(
            _text(2560, 36, 32, 8, 9728, 151936), True,
            {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "deepstack_visual_indexes": [5, 11, 17]}),
        "Qwen/Qwen3-VL-8B-Instruct": lambda: _qwen3_vl(
            _text(4096, 36, 32, 8, 12288, 151936), False,
            {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "deepstack_visual_indexes": [8, 16, 24]}),
        "llava-hf/llava-1.5-7b-hf": lambda: _llava(_text(4096, 32, 32, 32, 11008, 32064)),
        "llava-hf/llava-1.5-13b-hf": lambda: _llava(_text(5120, 40, 40, 40, 13824, 32064)),
        "llava-hf/llava-onevision-qwen2-0.5b-ov-hf": lambda: _onevision(_text(896, 24, 14, 2, 4864, 152000), True),
        "llava-hf/llava-onevision-qwen2-7b-ov-hf": lambda: _onevision(_text(3584, 28, 28, 4, 18944, 152128), False),
        "OpenGVLab/InternVL3-2B-hf": lambda: _internvl(_text(1536, 28, 12, 2, 8960, 151674)),
        "OpenGVLab/InternVL3-8B-hf": lambda: _internvl(_text(3584, 28, 28, 4, 18944, 151674)),
        "google/gemma-3-4b-it": lambda: _gemma3(_text(2560, 34, 8, 4, 10240, 262208)),
        "google/gemma-3-12b-it": lambda: _gemma3(_text(3840, 48, 16, 8, 15360, 262208)),
        "google/paligemma2-3b-pt-448": lambda: _paligemma2(_text(2304, 26, 8, 4, 9216, 257216), 448),
        "google/paligemma2-10b-pt-224": lambda: _paligemma2(_text(3584, 42, 16, 8, 14336, 257216), 224),
        "HuggingFaceTB/SmolVLM2-2.2B-Instruct": _smolvlm2,
    }[model]()  # fmt: skip


def qwen_7b():
    """The first Qwen-7B, as the decoder of a LLaVA with next to no vision tower."""
    from transformers import LlavaConfig

    vision = {"model_type": "clip_vision_model", "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1,
              "num_attention_heads": 1}  # fmt: skip
    text = _text(4096, 32, 32, 32, 11008, 151936, model_type="llama", tie_word_embeddings=False, attention_bias=True)
    return LlavaConfig(text_config=text, vision_config=vision, vision_feature_layer=-1, tie_word_embeddings=False)


# Tokens → GB of GPU memory for QLoRA with batch size 1 on one A100, from the table in the README of QwenLM/Qwen.
QWEN_7B_QLORA = {512: 11.5, 1024: 12.3, 2048: 13.9, 4096: 16.9, 8192: 23.5}

# Billions of parameters, as the model cards' safetensors summaries give them.
BILLIONS = {
    "Qwen/Qwen2.5-VL-3B-Instruct": 3.75, "Qwen/Qwen2.5-VL-7B-Instruct": 8.29, "Qwen/Qwen3-VL-4B-Instruct": 4.44,
    "Qwen/Qwen3-VL-8B-Instruct": 8.77, "llava-hf/llava-1.5-7b-hf": 7.06, "llava-hf/llava-1.5-13b-hf": 13.4,
    "llava-hf/llava-onevision-qwen2-0.5b-ov-hf": 0.89, "llava-hf/llava-onevision-qwen2-7b-ov-hf": 8.03,
    "OpenGVLab/InternVL3-2B-hf": 2.09, "OpenGVLab/InternVL3-8B-hf": 7.94, "google/gemma-3-4b-it": 4.3,
    "google/gemma-3-12b-it": 12.2, "google/paligemma2-3b-pt-448": 3.03, "google/paligemma2-10b-pt-224": 9.66,
    "HuggingFaceTB/SmolVLM2-2.2B-Instruct": 2.25,
}  # fmt: skip
