"""Image settings of a run reach its adapter, its merged model, evaluation and whoever serves it."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from evalsuite.backends import Request
from evalsuite.backends import model as evaluated
from evalsuite.backends.transformers import generate_replies, render
from evalsuite.recipe import ModelSettings
from finetune.export.merge import merge
from finetune.recipe import TrainRecipe
from finetune.training.prompts import read_prompts
from finetune.training.run import train
from tests.finetune import models
from tests.finetune.toys import record, write_rows

GRIDS = [[32, 32], [32, 64], [64, 32], [64, 64]]  # more than the checkpoint has: its model must know them as well


@pytest.mark.slow
def test_grids_and_cap_hold_in_training_merge_and_evaluation(tmp_path):
    base = models.checkpoint("llava_onevision", tmp_path / "base", weights=True)
    for number, size in enumerate([(200, 200), (60, 30), (30, 60), (90, 80)]):
        Image.radial_gradient("L").resize(size).convert("RGB").save(tmp_path / f"{number}.png")
    data = write_rows(tmp_path / "rows.jsonl", [record(n, f"{n}.png", "what color?", "red") for n in range(4)])
    run = train(
        TrainRecipe(
            name="r", out=tmp_path / "run", model=str(base), data=data, batch_size=4, max_steps=1, max_length=512,
            num_workers=0, max_pixels=9_000, processor={"image_grid_pinpoints": GRIDS}, quantization="none",
            compute_dtype="float32",
        )
    )  # fmt: skip
    card = (run / "adapter" / "README.md").read_text()
    assert "--mm-processor-kwargs" in card and "--hf-overrides" in card and "server.max_pixels: 9000" in card
    prompts = read_prompts(run, 4)
    merged = tmp_path / "merged"
    assert merge(run, merged, into=None, count=4).prompt_tokens == 1.0
    assert json.loads((merged / "config.json").read_text())["image_grid_pinpoints"] == GRIDS
    notes = json.loads((merged / "merge.json").read_text())["serving"]
    assert json.dumps(GRIDS) in notes[0] and notes[0].startswith(f"vLLM: vllm serve {merged}") and "9000" in notes[1]

    for settings in (ModelSettings(path=str(base), adapter=run / "adapter"), ModelSettings(path=str(merged))):
        loaded = evaluated.load_model(settings, evaluated.load_processor(settings))
        requests = [
            Request(prompt.sample_id, render(loaded.processor, "what color?", 1, None),
                    (f"{prompt.root}/{prompt.images[0]}",), tuple(prompt.images), 3, ())
            for prompt in prompts
        ]  # fmt: skip
        replies = [
            reply
            for unit in generate_replies(loaded, requests, batch_size=4, share_prefix=False, known=lambda key: False)
            for reply in unit
        ]
        counted = {reply.key: reply.input_tokens for reply in replies}
        assert counted == {prompt.sample_id: len(prompt.tokens) for prompt in prompts}
        assert not any(reply.error for reply in replies)
