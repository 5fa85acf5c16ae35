"""Align the demo's projector, as LLaVA's first stage does: captions in, everything else frozen.

Trains on clean easy-vqa train images (none of the demo's defects, no test image) with `finetune`,
then writes the projector beside the CLIP that it belongs to.

    python -m data.demo.align_projector
"""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from curate import console
from curate.atomic import atomic_path
from curate.sample import Sample, Turn, to_line
from data.demo.build_vlm import CLIP_FOLDER, PROJECTOR_FILE
from data.demo.captions import caption_samples
from data.demo.package import by_image, image_paths, load_questions

app = typer.Typer(add_completion=False, rich_markup_mode=None)


def clean_rows(seed: int) -> list[Sample]:
    """Caption rows and the questions that name a colour or a shape, of train images as they ship."""
    grouped = by_image(load_questions("train", None))
    rows = caption_samples(grouped, "train", random.Random(seed))
    for question in (question for asked in grouped.values() for question in asked):
        if question.answer not in ("yes", "no"):
            turns = (Turn("user", question.text), Turn("assistant", question.answer))
            rows.append(Sample(f"easy_vqa/train/{question.number}", (f"{question.image_id}.png",), turns))
    return [replace(row, image=(Path(row.image[0]).name,)) for row in rows]


@app.command()
def main(
    model: Annotated[Path, typer.Option(help="Checkpoint of build_vlm, made without a projector file.")],
    out: Annotated[Path, typer.Option(help="Folder of the CLIP checkpoint.")] = CLIP_FOLDER,
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 300,
    batch: Annotated[int, typer.Option(help="Conversations a step.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Of the projector.")] = 2e-3,
    seed: int = 0,
) -> None:
    """Train the projector alone and write projector.safetensors beside the CLIP checkpoint."""
    from safetensors.torch import load_file, save_file

    from finetune.recipe import TrainRecipe
    from finetune.train import train

    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "clean.jsonl"
        data.write_text("".join(to_line(row) + "\n" for row in clean_rows(seed)), encoding="utf-8")
        recipe = TrainRecipe(
            name="align", out=Path(scratch) / "run", model=str(model), data=data,
            image_root=next(iter(image_paths("train").values())).parent, quantization="none", lora_rank=0,
            learning_rate=learning_rate, warmup=0.05, max_steps=steps, batch_size=batch, join_turns=3,
            answers="first", max_length=512, num_workers=1, save_steps=100, seed=seed,
        )  # fmt: skip
        folder = train(recipe)
        tensors = load_file(folder / "adapter" / "adapter_model.safetensors")
    prefix = "multi_modal_projector."
    projector = {name.rpartition(prefix)[2]: tensor.half() for name, tensor in tensors.items() if prefix in name}
    with atomic_path(out / PROJECTOR_FILE) as temporary:
        save_file(projector, temporary)
    print(f"{out / PROJECTOR_FILE}: {sum(tensor.numel() for tensor in projector.values()):,} parameters")


if __name__ == "__main__":
    console.run(app)
