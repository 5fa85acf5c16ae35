"""Tiny datasets on disk for tests: images, rows, a recipe."""

import io
import json
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from curate.recipe import CurateRecipe

RULES = {
    "unreadable": {"when": "error IS NOT NULL", "action": "drop"},
    "tiny": {"when": "width < 20", "action": "drop"},
    "shouting": {"when": "question LIKE '%!%'", "action": "flag"},
}


def scene(seed, side=64):
    """A smooth image that no other seed comes near to."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def save(path: Path, picture, **options) -> Path:
    """Write an image by its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return path


def jpeg(picture, quality=70):
    """The bytes of an image as JPEG."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def row(own_id, image, question="What is it?", answer="a cat", **more):
    """A record in Winnow's form."""
    record = {"id": f"set/train/{own_id}", "conversations": [{"from": "user", "value": question}]}
    if image is not None:
        record["image"] = image
    if answer is not None:
        record["conversations"].append({"from": "assistant", "value": answer})
    return {**record, "source": "set", "split": "train", "meta": {}, **more}


def write_lines(path: Path, records) -> Path:
    """Records, or raw lines, as JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (record if isinstance(record, str) else json.dumps(record) for record in records)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def recipe(folder: Path, **changes) -> CurateRecipe:
    """A recipe for ``folder/rows.jsonl`` with images below ``folder/images``."""
    values = {
        "name": "set",
        "out": str(folder / "out"),
        "sources": [{"location": str(folder / "rows.jsonl"), "image_root": str(folder / "images")}],
        "signals": {"workers": 1},
        "rules": RULES,
        **changes,
    }
    return CurateRecipe.model_validate(values)


def write_recipe(folder: Path, **changes) -> Path:
    """The same as a YAML file."""
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(folder, **changes).model_dump(mode="json", exclude_defaults=True)))
    return path
