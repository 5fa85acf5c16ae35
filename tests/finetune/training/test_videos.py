"""A whole run on real video files: Qwen2.5-VL trains on them, and the merged model answers as the adapter does."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from finetune.data.chat import TrainingConversation
from finetune.data.collate import EXTRA_KEYS, Collator
from finetune.export.merge import merge
from finetune.training.run import train
from tests.finetune import models
from tests.finetune.toys import record, write_rows
from tests.finetune.videos import AUDIO, VIDEO, write_sound, write_video
from winnow.rows.records import Turn
from winnow.vlm.inputs import InputSettings

pytestmark = pytest.mark.slow  # it trains


@pytest.fixture
def qwen(tmp_path):
    import torch
    from transformers import AutoModelForImageTextToText

    processor = VIDEO["qwen2_5_vl"]()
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(models.qwen2_5_vl(processor.tokenizer)).bfloat16()
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_run_on_videos_images_and_text(recipe_of, qwen, tmp_path):
    Image.new("RGB", (30, 30), (250, 0, 0)).save(tmp_path / "red.png")
    rows = []
    for number in range(6):
        write_video(tmp_path / f"{number}.mp4", 6 + number)
        rows.append({**record(number, None, "<video>\nwhat happens?", "a red square"), "videos": [f"{number}.mp4"]})
    rows += [record(6, "red.png", "<image>red?", "yes"), record(7, None, "red?", "no")]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    run = train(recipe_of(
        model=str(qwen), data=data, max_frames=4, max_pixels=3000, max_length=200, max_steps=8, num_workers=1,
        questions_per_image=1, quantization="none", compute_dtype="float32", save_steps=4,
    ))  # fmt: skip
    losses = pd.read_parquet(run / "losses.parquet")
    assert set(losses.sample_id) == {row["id"] for row in rows}
    assert np.isfinite(losses.loss).all()
    first, last = (losses[losses.epoch == epoch].loss.mean() for epoch in (0, 1))
    assert last < first
    prompts = [json.loads(line) for line in (run / "parity.jsonl").read_text().splitlines()]
    assert sum(bool(prompt["videos"]) for prompt in prompts) == 6
    parity = merge(run, tmp_path / "merged", into=None, count=8)
    assert parity.passed and parity.prompt_tokens == 1.0
    assert json.loads((tmp_path / "merged" / "input_settings.json").read_text())["max_frames"] == 4


def answers_that_depend_on_files(model, processor, talks, folder):
    """For each conversation, whether the logits of its answer change if all its pixels and sounds are zero."""
    import torch

    batch = Collator(processor, folder, InputSettings(max_frames=4))(talks)
    inputs = {key: value for key, value in batch.items() if key not in EXTRA_KEYS}
    zeroed = {
        key: torch.zeros_like(value) if "pixel" in key or key == "input_features" else value
        for key, value in inputs.items()
    }
    with torch.no_grad():
        seen, unseen = (model(**given, use_cache=False).logits for given in (inputs, zeroed))
    assert seen.shape[:2] == batch["input_ids"].shape
    answers = batch["owners"] >= 0
    return [bool((seen[row][answers[row]] != unseen[row][answers[row]]).any()) for row in range(len(talks))]


def talk(question: str, **files) -> TrainingConversation:
    turns = (Turn("user", question), Turn("assistant", "red"))
    return TrainingConversation(turns, **{"images": (), "rows": (0,), **files})


@pytest.mark.parametrize("family", ["qwen3_vl", "llava_onevision", "internvl"])
def test_answers_depend_on_the_frames(family, tmp_path):
    from transformers import AutoModelForImageTextToText

    write_video(tmp_path / "long.mp4", 20)
    write_video(tmp_path / "short.mp4", 3, size=(32, 64))
    Image.new("RGB", (60, 40), (200, 0, 0)).save(tmp_path / "red.png")
    processor = VIDEO[family]()
    model = AutoModelForImageTextToText.from_config(models.CONFIGS[family](processor.tokenizer))
    talks = [
        talk("what?", images=("red.png",), videos=("short.mp4",)),
        talk("<video>?", videos=("long.mp4",)),
        talk("?"),
    ]
    assert answers_that_depend_on_files(model, processor, talks, tmp_path) == [True, True, False]


def test_answers_depend_on_the_sound(tmp_path):
    from transformers import AutoModelForImageTextToText

    write_sound(tmp_path / "a.wav", 0.5)
    write_sound(tmp_path / "b.wav", 1.0)
    write_video(tmp_path / "a.mp4", 8)
    processor = AUDIO["qwen2_5_omni"]()
    model = AutoModelForImageTextToText.from_config(models.qwen2_5_omni_thinker(processor.tokenizer))
    talks = [
        talk("<audio>or<audio>?", audios=("a.wav", "b.wav")), talk("<audio>?", audios=("a.wav",), videos=("a.mp4",)),
        talk("?"),
    ]  # fmt: skip
    assert answers_that_depend_on_files(model, processor, talks, tmp_path) == [True, True, False]
