"""The vision tower of an open_clip checkpoint as a Hugging Face ``CLIPVisionModel``, same outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"

# Parts of an open_clip tower that CLIPVisionModel has no counterpart for.
_UNSUPPORTED = (
    "timm_model_name", "attentional_pool", "no_ln_pre", "ls_init_value", "act_kwargs", "block_type", "qk_norm",
    "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc",
)  # fmt: skip
_RENAMED = {
    "class_embedding": "embeddings.class_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "ln_pre.": "pre_layrnorm.",  # spelled so in transformers
    "ln_post.": "post_layernorm.",
    "transformer.resblocks.": "encoder.layers.",
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
    ".attn.out_proj.": ".self_attn.out_proj.",
}


def read_config(folder: Path) -> dict[str, Any]:
    """``open_clip_config.json`` of a checkpoint folder: ``model_cfg`` and ``preprocess_cfg``.

    Raises:
        UserError: the file is missing, or is no open_clip configuration.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the folder of an open_clip checkpoint with --clip")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        config["model_cfg"]["vision_cfg"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not an open_clip configuration (needs model_cfg.vision_cfg)") from error
    return dict(config)


def vision_config(model_cfg: dict[str, Any]) -> CLIPVisionConfig:
    """The Hugging Face configuration of the tower that ``model_cfg`` describes.

    Raises:
        UserError: the tower has a part that ``CLIPVisionModel`` does not have.
    """
    from open_clip.model import CLIPVisionCfg
    from transformers import CLIPVisionConfig

    tower = CLIPVisionCfg(**model_cfg["vision_cfg"])
    extras = [name for name in _UNSUPPORTED if getattr(tower, name) not in (None, False, "default")]
    if tower.pool_type != "tok":
        extras.append(f"pool_type={tower.pool_type}")
    if extras or not all(isinstance(size, int) for size in (tower.layers, tower.image_size, tower.patch_size)):
        raise UserError(
            f"CLIP vision tower cannot be converted ({', '.join(extras) or 'it is not a square ViT'}); "
            "use a plain ViT with class-token pooling"
        )
    return CLIPVisionConfig(
        hidden_size=tower.width,
        intermediate_size=int(tower.width * tower.mlp_ratio),
        projection_dim=model_cfg["embed_dim"],
        num_hidden_layers=tower.layers,
        num_attention_heads=tower.width // tower.head_width,
        image_size=tower.image_size,
        patch_size=tower.patch_size,
        hidden_act="quick_gelu" if model_cfg.get("quick_gelu") else "gelu",
        layer_norm_eps=(tower.norm_kwargs or {}).get("eps", 1e-5),
    )


def vision_tower(folder: Path) -> CLIPVisionModel:
    """Load the tower of the open_clip checkpoint in ``folder``, in float32 and eval mode.

    ``last_hidden_state`` equals open_clip's tokens before ``ln_post``, ``pooler_output`` its class
    token after it.

    Raises:
        UserError: a file is missing, or weights and configuration do not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import CLIPVisionModel

    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the folder of an open_clip checkpoint with --clip")
    model = CLIPVisionModel(vision_config(read_config(folder)["model_cfg"]))
    try:
        model.load_state_dict(renamed(load_file(path)))
    except (SafetensorError, RuntimeError) as error:
        raise UserError(f"{path}: does not fit {CONFIG_FILE} beside it: {' '.join(str(error).split())}") from error
    model.eval()
    return model


def renamed(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """open_clip's ``visual.*`` tensors under the names of ``CLIPVisionModel``, in float32.

    The joint ``in_proj`` of the attention is cut into query, key and value. The projection to the
    joint text-image space is left out; a vision-language model reads the features before it.
    """
    tower: dict[str, torch.Tensor] = {}
    for name, tensor in weights.items():
        if not name.startswith("visual.") or name == "visual.proj":
            continue
        name = name.removeprefix("visual.")
        for old, new in _RENAMED.items():
            name = name.replace(old, new)
        if ".attn.in_proj_" in name:
            block, kind = name.split(".attn.in_proj_")
            for part, piece in zip("qkv", tensor.float().chunk(3), strict=True):
                tower[f"{block}.self_attn.{part}_proj.{kind}"] = piece.contiguous()
        else:
            tower[name] = tensor.float()
    return tower


def image_processor(folder: Path) -> CLIPImageProcessor:
    """The image processor that feeds pixels as open_clip's evaluation transform does.

    Pixels are equal where nothing is resized; a resize may round a value two grey levels off, since
    open_clip resizes with Pillow and transformers with torchvision.

    Raises:
        UserError: the checkpoint asks for a resize mode that ``CLIPImageProcessor`` does not have.
    """
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
    from PIL.Image import Resampling
    from transformers import CLIPImageProcessor

    config = read_config(folder)
    preprocess = config.get("preprocess_cfg", {})
    side = config["model_cfg"]["vision_cfg"]["image_size"]
    square = {"height": side, "width": side}
    mode = preprocess.get("resize_mode") or "shortest"
    if mode not in ("shortest", "squash"):
        raise UserError(f"{folder / CONFIG_FILE}: resize_mode {mode!r} is not supported; use 'shortest' or 'squash'")
    return CLIPImageProcessor(
        size={"shortest_edge": side} if mode == "shortest" else square,
        crop_size=square,
        do_center_crop=mode == "shortest",
        resample=Resampling.BILINEAR if preprocess.get("interpolation") == "bilinear" else Resampling.BICUBIC,
        image_mean=list(preprocess.get("mean") or OPENAI_DATASET_MEAN),
        image_std=list(preprocess.get("std") or OPENAI_DATASET_STD),
    )
