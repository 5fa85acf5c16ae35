"""The parts of every architecture, against a table read from the source of each model in transformers."""

from __future__ import annotations

import pytest

from tests.architectures import NAMES, bare
from winnow.errors import UserError
from winnow.vlm.anatomy import find_parts

LM, TOWER, VISION, VISUAL = "model.language_model", "model.vision_tower", "model.vision_model", "model.visual"
PROJECTOR = "model.multi_modal_projector"
MERGER = f"{VISUAL}.merger"
DEEPSTACK = tuple(f"{VISUAL}.deepstack_merger_list.{number}" for number in range(3))
GLM = (f"{VISUAL}.downsample", MERGER)  # strided convolution to the decoder's width, then an MLP in it
LLAVA = (LM, TOWER, (PROJECTOR,), ())
QWEN2 = (LM, VISUAL, (MERGER,), ())
QWEN3 = (LM, VISUAL, (*DEEPSTACK, MERGER), ())
GLM4V = (LM, VISUAL, GLM, ())
MINICPM = (LM, TOWER, ("model.merger",), ())

# type: decoder, image tower, projector, other modules with weights
PARTS: dict[str, tuple[str, str | None, tuple[str, ...], tuple[str, ...]]] = {
    "apertus1p5": (LM, None, (), ("model.vision_tokenizer", "model.audio_tokenizer")),
    "aria": LLAVA,
    "aya_vision": LLAVA,
    "blip": ("text_decoder", "vision_model", (), ()),  # cross-attention to the tower
    "blip-2": ("language_model", "vision_model", ("qformer", "language_projection"), ()),
    "chameleon": ("model", None, (), ("model.vqmodel",)),
    "cohere2_vision": LLAVA,
    "cohere_compass": QWEN3,
    "cosmos3_edge": (LM, VISUAL, ("model.projector",), ()),
    "cosmos3_omni": QWEN3,
    "deepseek_ocr2": LLAVA,
    "deepseek_vl": (LM, VISION, ("model.aligner",), ()),
    "deepseek_vl_hybrid": (
        LM, VISION, ("model.high_res_vision_proj", "model.high_res_vision_neck", "model.aligner"),
        ("model.high_res_vision_model",),
    ),
    "diffusion_gemma": (
        "model.decoder", "model.encoder.vision_tower", ("model.encoder.embed_vision",),
        ("model.encoder.language_model",),
    ),
    "dots3_note": (LM, TOWER, (f"{TOWER}.merger",), ("model.audio_tower",)),
    "emu3": ("model.text_model", None, (), ("model.vqmodel",)),
    "ernie4_5_vl_moe": (LM, TOWER, ("model.resampler_model",), ()),
    "exaone4_5": QWEN2,
    "fast_vlm": LLAVA,
    "florence2": LLAVA,
    "fuyu": (LM, None, ("model.vision_embed_tokens",), ()),
    "gemma3": LLAVA,
    "gemma3n": (LM, TOWER, ("model.embed_vision",), ("model.audio_tower", "model.embed_audio")),
    "gemma4": (LM, TOWER, ("model.embed_vision",), ("model.audio_tower", "model.embed_audio")),
    "gemma4_unified": (LM, None, ("model.embed_vision",), ("model.embed_audio",)),
    "git": ("git", "git.image_encoder", ("git.visual_projection",), ()),
    "glm46v": GLM4V,
    "glm4v": GLM4V,
    "glm4v_moe": GLM4V,
    "glm5_next": GLM4V,
    "glm_ocr": GLM4V,
    "glmga": GLM4V,
    "got_ocr2": LLAVA,
    "granite4_vision": (
        LM, TOWER,
        (*(f"model.layerwise_projectors.{n}" for n in range(2)), *(f"model.spatial_projectors.{n}" for n in range(4))),
        (),
    ),
    "granite_docling": ("model.text_model", VISION, (f"{VISION}.connector",), ()),
    "hunyuan_vl": (LM, TOWER, (f"{TOWER}.patch_merger",), ()),
    "hy_v4_vl": (LM, TOWER, (f"{TOWER}.patch_merger",), ()),
    "hyperclovax_vision_v2": (LM, VISION, ("model.projector",), ()),
    "idefics": ("model", VISION, ("model.perceiver_resampler",), ()),
    "idefics2": ("model.text_model", VISION, ("model.connector",), ()),
    "idefics3": ("model.text_model", VISION, ("model.connector",), ()),
    "inkling2": (LM, TOWER, (f"{TOWER}.merger",), ()),
    "inkling2_loop": (LM, TOWER, (f"{TOWER}.merger",), ()),
    "inkling_mm_model": (LM, TOWER, (), ("model.audio_tower",)),  # its last block gives the decoder's width
    "instructblip": ("language_model.model.decoder", "vision_model", ("qformer", "language_projection"), ()),
    "instructblipvideo": ("language_model.model.decoder", "vision_model", ("qformer", "language_projection"), ()),
    "internvl": LLAVA,
    "janus": (
        LM, VISION, ("model.aligner",),
        ("model.vqmodel", "model.generation_embeddings", "model.generation_aligner", "model.generation_head"),
    ),
    "kimi_k25": (LM, TOWER, ("model.mm_projector",), ()),
    "kosmos-2": ("text_model", "vision_model", ("image_to_text_projection",), ()),
    "kosmos-2.5": ("text_model", "vision_model", ("image_to_text_projection",), ()),
    "lfm2_vl": LLAVA,
    "lfm3_vl": LLAVA,
    "lighton_ocr": (LM, "model.vision_encoder", ("model.vision_projection",), ()),
    "llama4": ("language_model", "vision_model", ("multi_modal_projector",), ()),
    "llava": LLAVA,
    "llava_next": LLAVA,
    "llava_next_video": LLAVA,
    "llava_onevision": LLAVA,
    "minicpm_ocr": MINICPM,
    "minicpmv4_6": MINICPM,
    "minicpmv4_7": MINICPM,
    "minimax_m3_vl": LLAVA,
    "mistral3": LLAVA,
    "mistral_large4": LLAVA,
    "mllama": (LM, VISION, (PROJECTOR,), ()),
    "molmo2": LLAVA,
    "muse_glimmer": (LM, TOWER, ("model.vision_adapter", "model.vision_projection"), ()),
    "muse_spark": (LM, TOWER, ("model.vision_adapter", "model.vision_projection"), ("model.audio_tower",)),
    "nemotron_h_omni": ("language_model", "vision_model", ("multi_modal_projector",), ()),
    "ovis2": (LM, TOWER, ("model.visual_embeddings_table",), ()),
    "paddleocr_vl": (LM, VISUAL, ("model.projector",), ()),
    "paligemma": LLAVA,
    "perception_lm": LLAVA,
    "pix2struct": ("decoder", "encoder", (), ()),
    "pp_chart2table": LLAVA,
    "pp_formulanet": ("model.decoder", "model.encoder", ("model.encoder.multi_modal_projector",), ()),
    "qianfan_ocr": LLAVA,
    "qwen2_5_omni_thinker": (LM, VISUAL, (MERGER,), ("model.audio_tower",)),
    "qwen2_5_vl": QWEN2,
    "qwen2_vl": QWEN2,
    "qwen3_5": QWEN2,
    "qwen3_5_moe": QWEN2,
    "qwen3_omni_moe_thinker": (
        LM, VISUAL, (*(f"{VISUAL}.merger_list.{number}" for number in range(3)), MERGER), ("model.audio_tower",)
    ),
    "qwen3_vl": QWEN3,
    "qwen3_vl_moe": QWEN3,
    "qwen4_exp": QWEN2,
    "shieldgemma2": LLAVA,
    "smolvlm": ("model.text_model", VISION, ("model.connector",), ()),
    "step3p7": (LM, VISION, (PROJECTOR,), ()),
    "t5gemma2": (
        "model.decoder", "model.encoder.vision_tower", ("model.encoder.multi_modal_projector",),
        ("model.encoder.text_model",),
    ),
    "unlimited_ocr": LLAVA,
    "video_llama_3": (LM, VISION, ("model.projector",), ()),
    "video_llava": (LM, "model.image_tower", (PROJECTOR,), ("model.video_tower",)),
    "vipllava": LLAVA,
    "vision-encoder-decoder": ("decoder", "encoder", (), ()),
}  # fmt: skip
REFUSED = {"mistral4": "no vision tower", "pi0": "no output layer", "udop": "no vision tower"}
# type: names of the fused expert parameters in a layer of the decoder
GATE_UP = {"gate_up_proj", "down_proj"}
EXPERTS = {
    "aria": GATE_UP, "deepseek_ocr2": GATE_UP, "dots3_note": GATE_UP, "ernie4_5_vl_moe": GATE_UP, "glm4v_moe": GATE_UP,
    "glm5_next": GATE_UP, "hy_v4_vl": GATE_UP, "inkling2": GATE_UP, "inkling2_loop": GATE_UP,
    "inkling_mm_model": GATE_UP | {"gate_proj", "up_proj"}, "kimi_k25": GATE_UP, "llama4": GATE_UP,
    "minimax_m3_vl": GATE_UP, "mistral_large4": GATE_UP, "muse_spark": GATE_UP,
    "nemotron_h_omni": {"up_proj", "down_proj"}, "qwen3_5_moe": GATE_UP, "qwen3_omni_moe_thinker": GATE_UP,
    "qwen3_vl_moe": GATE_UP, "qwen4_exp": GATE_UP, "step3p7": GATE_UP, "unlimited_ocr": GATE_UP,
}  # fmt: skip


def test_every_architecture_is_in_the_table():
    assert set(NAMES) == {*PARTS, *REFUSED}


@pytest.mark.parametrize("name", PARTS)
def test_parts(name):
    model = bare(name)
    parts = find_parts(model)
    assert (parts.decoder, parts.encoder, parts.projector, parts.other) == PARTS[name]
    assert {expert.rsplit(".", 1)[-1] for expert in parts.experts} == EXPERTS.get(name, set())
    modules = dict(model.named_modules())
    assert all(module in modules for module in (parts.decoder, *parts.projector, *parts.blocks, *parts.other))
    assert modules[parts.head] is (model.get_output_embeddings() or modules[parts.decoder].get_output_embeddings())
    if parts.encoder is not None:
        assert parts.blocks and all(block.startswith(f"{parts.encoder}.") for block in parts.blocks)


@pytest.mark.parametrize("name", REFUSED)
def test_no_way_from_images_to_text(name):
    with pytest.raises(UserError, match=REFUSED[name]):
        find_parts(bare(name))


# type: number of blocks of the default tower that feed the projector, first and last of them
BLOCKS = {
    "llava": (23, "encoder.layers.0", "encoder.layers.22"),  # reads the last but one
    "mllama": (40, "transformer.layers.0", "global_transformer.layers.7"),
    "qwen3_omni_moe_thinker": (27, "blocks.0", "blocks.26"),
    "florence2": (12, "blocks.0.0", "blocks.3.0"),
    "fast_vlm": (44, "timm_model.stages.0.blocks.0", "timm_model.stages.4.blocks.1"),
    "gemma3n": (84, "timm_model.blocks.0.0", "timm_model.blocks.3.38"),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks(name):
    parts = find_parts(bare(name))
    number, first, last = BLOCKS[name]
    assert len(parts.blocks) == number
    assert (parts.blocks[0], parts.blocks[-1]) == (f"{parts.encoder}.{first}", f"{parts.encoder}.{last}")


def test_the_longest_name_decides():
    idefics, qwen, llama = (find_parts(bare(name)) for name in ("idefics", "qwen3_vl", "llama4"))
    assert idefics.part_of("model.vision_model.encoder.layers.0") == "vision tower"
    assert idefics.part_of("model.layers.0.self_attn.q_proj.weight") == "decoder"
    assert idefics.part_of("model.perceiver_resampler.blocks.0") == "projector"
    assert qwen.part_of("model.visual.merger.linear_fc1.weight") == "projector"
    assert qwen.part_of("model.visual.merger_of_another.weight") == "vision tower"
    assert llama.part_of("language_model.lm_head.weight") == "output head"
    assert llama.part_of("something_else.weight") == "other"
