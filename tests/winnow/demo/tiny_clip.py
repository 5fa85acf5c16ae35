"""A tiny open_clip checkpoint, so that these tests need no trained one."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from open_clip.model import CLIP
from safetensors.torch import save_file

TINY_CLIP = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "patch_size": 16, "width": 96, "layers": 2, "head_width": 48},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
PREPROCESS = {
    "size": 64, "mode": "RGB", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4],
    "interpolation": "bicubic", "resize_mode": "squash", "fill_color": 0,
}  # fmt: skip


def write_clip(folder: Path, **changes: object) -> Path:
    """A random open_clip checkpoint folder; ``changes`` go into its model configuration."""
    torch.manual_seed(0)
    model_cfg = TINY_CLIP | changes
    folder.mkdir(parents=True, exist_ok=True)
    save_file(CLIP(**model_cfg).state_dict(), folder / "open_clip_model.safetensors")
    config = {"model_cfg": model_cfg, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder
