"""A small set curated for real: 14 images of easy-vqa, one blurred, one copied, one contradicted."""

from __future__ import annotations

import json
from pathlib import Path

from easy_vqa import get_train_image_paths, get_train_questions
from PIL import Image, ImageFilter

from curate.pipeline import run
from curate.recipe import CurateRecipe
from winnow.recipe import parse_recipe

CLIP = Path(__file__).parents[2] / "winnow" / "demo" / "clip"


def curate(root: Path) -> Path:
    """Write ``root/curated/small`` with its input below ``root/raw/small``; returns the data folder."""
    raw = root / "raw" / "small"
    (raw / "images").mkdir(parents=True)
    paths = get_train_image_paths()
    for number in range(14):
        Image.open(paths[number]).convert("RGB").save(raw / "images" / f"{number}.png")
    Image.open(raw / "images/1.png").filter(ImageFilter.GaussianBlur(3)).save(raw / "images/blurred.png")
    Image.open(raw / "images/2.png").save(raw / "images/copy.jpg", quality=80)
    rows = [
        {"id": f"t/train/{number}", "image": f"images/{image}.png", "question": question, "answer": answer}
        for number, (question, answer, image) in enumerate(zip(*get_train_questions(), strict=True))
        if image < 14
    ][:80]
    about = [row for row in rows if row["image"] == "images/2.png"]
    rows += [{**row, "id": f"{row['id']}-copy", "image": "images/copy.jpg"} for row in about]
    rows += [
        {"id": "t/train/blurred", "image": "images/blurred.png", "question": "what shape is this?", "answer": "circle"}
    ]
    records = [
        {
            "id": row["id"], "image": row["image"], "source": "t", "split": "train",
            "conversations": [
                {"from": "user", "value": row["question"]}, {"from": "assistant", "value": row["answer"]},
            ],
        }
        for row in rows
    ]  # fmt: skip
    (raw / "rows.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    held = {**records[0], "id": "t/test/0", "split": "test", "image": "images/0.png"}
    (raw / "test.jsonl").write_text(json.dumps(held) + "\n")
    run(recipe(root), "small.yaml")
    return root


def recipe(root: Path) -> CurateRecipe:
    """The recipe of ``curate``."""
    raw = root / "raw" / "small"
    return parse_recipe(
        {
            "name": "small",
            "out": str(root / "curated" / "small"),
            "sources": [{"location": str(raw / "rows.jsonl"), "image_root": str(raw)}],
            "signals": {"clip": {"model": str(CLIP)}, "workers": 1},
            "rules": {
                "blurry": {"when": "sharpness < 40 AND entropy > -1.5", "action": "drop"},
                "misaligned": {"when": "clip_alignment < -0.5", "action": "flag"},
            },
            "duplicates": {"hash": "both", "radius": 8, "max_mean_diff": 4.0, "max_cell_diff": 36},
            "contamination": {
                "against": [
                    {"location": str(raw / "test.jsonl"), "image_root": str(raw), "source": "t", "split": "test"}
                ]
            },
            "corrections": str(root / "corrections"),
        },
        CurateRecipe,
        where="small.yaml",
    )
