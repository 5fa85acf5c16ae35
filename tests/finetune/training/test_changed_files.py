"""A file that is deleted or exchanged while a run trains on it: a sentence that names it, and a run that goes on."""

from __future__ import annotations

import shutil

import pytest
from PIL import Image
from safetensors.torch import load_file

from finetune.data.collate import Collator
from finetune.data.plan import make_plan
from finetune.data.rows import RowError, open_rows
from finetune.training.run import train
from tests.finetune import families
from tests.finetune.toys import record, write_rows
from winnow.errors import UserError
from winnow.run import Stages


@pytest.fixture
def data(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(8):
        Image.new("RGB", (56, 56), (30 * number, 0, 0)).save(tmp_path / "images" / f"{number}.png")
    rows = [record(number, f"{number}.png", "<image>\nred?", "yes") for number in range(8)]
    return write_rows(tmp_path / "images" / "rows.jsonl", rows)


@pytest.mark.slow
def test_a_deleted_image_is_named_and_the_run_goes_on_once_it_is_back(recipe_of, data, tmp_path, monkeypatch):
    from finetune.training.trainer import SampleLossTrainer

    options = {"data": data, "num_workers": 1, "max_steps": 8, "save_steps": 2, "questions_per_image": 1}
    whole = train(recipe_of(**options, out=tmp_path / "whole"))
    original = SampleLossTrainer._save_checkpoint
    broken = recipe_of(**options, out=tmp_path / "broken")

    def save_then_delete(self, model, trial):
        original(self, model, trial)
        for image in data.parent.glob("*.png"):
            shutil.move(image, tmp_path / image.name)

    with monkeypatch.context() as patch:
        patch.setattr(SampleLossTrainer, "_save_checkpoint", save_then_delete)
        with pytest.raises(UserError) as stopped:
            train(broken)
    words = str(stopped.value)
    number = words.split(":")[1].strip().removesuffix(".png")
    assert words.startswith(f"row toy/train/{number}: {number}.png: missing (No such file or directory); the file was")
    assert "run the same command" in words and "\n" not in words
    for image in tmp_path.glob("*.png"):
        shutil.move(image, data.parent)
    left, right = (load_file(run / "adapter" / "adapter_model.safetensors") for run in (whole, train(broken)))
    assert all((left[name] == right[name]).all() for name in left)


def test_an_image_that_has_grown_is_named(recipe_of, data, tmp_path):
    recipe = recipe_of(data=data, max_length=60, model="m")
    rows, processor = open_rows(recipe), families.qwen2_5_vl()
    plan = make_plan(recipe, rows, processor, stages=Stages(tmp_path), inputs={})
    collator = Collator(processor, rows.image_root, max_length=int(plan.checked.accepted.tokens.max()))
    conversations = [plan.schedules[0].conversation(number) for number in range(8)]
    assert len(collator(conversations)["input_ids"]) == 8
    Image.new("RGB", (560, 560)).save(data.parent / "3.png")
    with pytest.raises(RowError, match=r"row toy/train/3: 3.png: has \d+ tokens now, max_length is \d+; the file was"):
        collator(conversations)
