"""Tiny images and model folders for tests."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image


def noise(width=24, height=16, seed=0):
    """A reproducible RGB image that no other seed gives."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def shape(side=64, colour=(200, 30, 30), background=(245, 245, 250), box=(16, 20, 44, 50)):
    """A flat rectangle on a flat ground."""
    image = Image.new("RGB", (side, side), background)
    image.paste(colour, box)
    return image


def encoded(image, format="PNG", **options):
    """The bytes of an image in a file format."""
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def write(path: Path, data) -> Path:
    """Write bytes, or an image as PNG, making folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else encoded(data))
    return path


def clip_folder(folder: Path, *, side=16, embed=8, seed=0, resize_mode="squash") -> Path:
    """A random open_clip checkpoint of one layer, as open_clip's own folders are laid out."""
    import torch
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    model = {
        "embed_dim": embed,
        "vision_cfg": {"image_size": side, "patch_size": 8, "width": 16, "layers": 1, "head_width": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
    }
    preprocess = {
        "size": side,
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "interpolation": "bicubic",
        "resize_mode": resize_mode,
    }
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": preprocess}))
    torch.manual_seed(seed)
    tower = CLIP(embed, vision_cfg=model["vision_cfg"], text_cfg=model["text_cfg"])
    save_file(
        {name: value.contiguous() for name, value in tower.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder
