"""Whole runs on the tiny model: exact resume, per-sample losses, what changes and what must not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.torch import load_file

from finetune.training import run as training
from finetune.training.run import train
from tests.forks import python
from winnow.errors import UserError
from winnow.files import digest_of

pytestmark = pytest.mark.slow  # they train

SAME = ("step", "stage", "epoch", "loss", "grad_norm", "learning_rate")


def adapter_of(folder: Path):
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def metrics_of(folder: Path):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_same_result(one: Path, other: Path):
    left, right = adapter_of(one), adapter_of(other)
    assert left.keys() == right.keys()
    assert all((left[name] == right[name]).all() for name in left)
    pd.testing.assert_frame_equal(pd.read_parquet(one / "losses.parquet"), pd.read_parquet(other / "losses.parquet"))
    for line, twin in zip(metrics_of(one), metrics_of(other), strict=True):
        assert {key: line[key] for key in SAME} == {key: twin[key] for key in SAME}


class Killed(Exception):
    """Stands for a kill right after a checkpoint."""


def die_after(monkeypatch, step: int):
    from finetune.training import trainer

    original = trainer.SampleLossTrainer._save_checkpoint

    def save_then_die(self, model, trial):
        original(self, model, trial)
        if self.state.global_step == step:
            raise Killed

    monkeypatch.setattr(trainer.SampleLossTrainer, "_save_checkpoint", save_then_die)


def test_four_steps_equal_two_and_two_resumed(recipe_of, tmp_path, monkeypatch):
    whole = train(recipe_of(out=tmp_path / "whole"))
    with monkeypatch.context() as patch:
        die_after(patch, 2)
        with pytest.raises(Killed):
            train(recipe_of(out=tmp_path / "halves"))
    assert not (tmp_path / "halves" / "manifest.json").exists()
    halves = train(recipe_of(out=tmp_path / "halves"))
    assert_same_result(whole, halves)
    assert not (halves / "checkpoints").exists()


def recipe_file(path: Path, recipe) -> Path:
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")), encoding="utf-8")
    return path


def start(recipe: Path) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(python("-m", "finetune", "train", str(recipe)), env=environment)


def test_kill_9_and_the_same_command_again(recipe_of, tmp_path):
    stages = [
        {"name": "align", "train": ["projector"], "filter": {"source": "captions"}, "max_steps": 3},
        {"name": "all", "max_steps": 7},
    ]
    whole = train(recipe_of(out=tmp_path / "whole", stages=stages))
    killed = recipe_of(out=tmp_path / "killed", stages=stages)
    process = start(recipe_file(tmp_path / "recipe.yaml", killed))
    second = tmp_path / "killed" / "checkpoints" / "stage-1" / "checkpoint-2" / "complete.json"
    while not second.exists() and process.poll() is None:
        time.sleep(0.02)
    process.terminate()  # which is SIGKILL for the program
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "manifest.json").exists()
    assert start(tmp_path / "recipe.yaml").wait() == 0
    assert_same_result(whole, tmp_path / "killed")


def test_a_checkpoint_cut_short_is_not_resumed_from(recipe_of, tmp_path, monkeypatch):
    whole = train(recipe_of(out=tmp_path / "whole"))
    with monkeypatch.context() as patch:
        die_after(patch, 4)
        with pytest.raises(Killed):
            train(recipe_of(out=tmp_path / "cut"))
    last = tmp_path / "cut" / "checkpoints" / "stage-0" / "checkpoint-4"
    (last / "complete.json").unlink()
    (last / "adapter_model.safetensors").write_bytes(b"half a file")
    assert_same_result(whole, train(recipe_of(out=tmp_path / "cut")))


@pytest.fixture
def spied(monkeypatch):
    """What ``train`` loaded, and its parameters before training."""
    import copy

    seen = {}
    load = training.load_learner

    def spy(recipe, after=None):
        seen["learner"] = load(recipe, after)
        seen["before"] = {name: copy.deepcopy(p.data) for name, p in seen["learner"].model.named_parameters()}
        return seen["learner"]

    monkeypatch.setattr(training, "load_learner", spy)
    return seen


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"vision": "lora"},
        {"vision": {"last_n": 1}},
        {"vision": "full"},
        {"decoder": "full", "quantization": "none"},
    ],
    ids=["frozen", "vision lora", "last_n", "vision full", "decoder full"],
)
def test_trained_parts_change_and_nothing_else(recipe_of, spied, deep_model, changes):
    import torch

    recipe = recipe_of(model=str(deep_model), max_steps=4, **changes)  # A moves one step after B, which starts at zero
    folder = train(recipe)
    learner = spied["learner"]
    changed = {n for n, p in learner.model.named_parameters() if not torch.equal(p, spied["before"][n])}
    trained = set(learner.trained_in(recipe.resolved_stages()[0]))
    # Token embeddings and CLIP's class token of tokens that never occur stay; all else moves.
    assert changed <= trained
    assert all("embed" in name for name in trained - changed)
    assert {learner.parameter_parts[name] for name in changed} == set(recipe.parts())
    assert not any("encoder.layers.2." in name or "post_layernorm" in name for name in changed)
    if changes.get("decoder") == "full":
        _is_whole_checkpoint(recipe, folder, learner.model)
    else:
        saved = load_file(folder / "adapter" / "adapter_model.safetensors")
        assert {name.replace(".modules_to_save.default", "").replace(".default", "") for name in trained} <= set(saved)


def _is_whole_checkpoint(recipe, folder, model):
    """The folder loads by itself with the trained weights, parity loads the same, and there is nothing to merge."""
    import torch
    from transformers import AutoModelForImageTextToText

    from finetune.export.merge import merge
    from finetune.export.outputs import load_adapter

    plain = dict(AutoModelForImageTextToText.from_pretrained(folder / "adapter").named_parameters())
    ours = dict(load_adapter(recipe, folder).named_parameters())
    for name, parameter in model.named_parameters():
        assert torch.equal(plain[name], parameter.to(plain[name].dtype)) and torch.equal(plain[name], ours[name])
    with pytest.raises(UserError, match="whole checkpoint already"):
        merge(folder, folder / "merged", into=None, count=1)


def test_a_batch_of_text_leaves_the_tower_alone(recipe_of, spied, toy_data, tmp_path):
    import torch

    rows = [json.loads(line) for line in toy_data.read_text().splitlines()]
    for row in rows:
        row.pop("image")
        row["conversations"][0]["value"] = row["conversations"][0]["value"].replace("<image>\n", "")
    data = tmp_path / "text.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train(recipe_of(data=data, vision="full", max_steps=2))
    for name, parameter in spied["learner"].model.named_parameters():
        if spied["learner"].parameter_parts.get(name) in ("vision", "projector"):
            assert torch.equal(parameter, spied["before"][name])


def test_an_alignment_stage_leaves_lora_alone(recipe_of):
    folder = train(recipe_of(stages=[{"train": ["projector"], "max_steps": 2}]))
    weights = adapter_of(folder)
    assert not any(weights[name].any() for name in weights if "lora_B" in name)
    assert any("multi_modal_projector" in name for name in weights)


def test_losses_are_those_of_a_naive_forward(recipe_of, toy_data, spied):
    """Learning rate next to zero: the losses of one epoch equal one plain forward per conversation."""
    import torch

    recipe = recipe_of(
        learning_rate=1e-12, max_steps=None, epochs=1, compute_dtype="float32", quantization="none", lora_dropout=0.0
    )
    folder = train(recipe)
    table = pd.read_parquet(folder / "losses.parquet").set_index("sample_id")
    lines = [json.loads(line) for line in toy_data.read_text().splitlines()]
    assert sorted(table.index) == sorted(line["id"] for line in lines)  # every row once
    assert set(table["epoch"]) == {0}
    assert dict(table["source"]) == {line["id"]: line["source"] for line in lines}

    from finetune.data.collate import Collator
    from finetune.data.plan import input_digests, make_plan
    from finetune.data.rows import open_rows
    from finetune.model.load import load_processor
    from winnow.run import Stages

    rows, processor = open_rows(recipe), load_processor(recipe.model)
    inputs = input_digests(recipe, rows)
    (schedule,) = make_plan(recipe, rows, processor, stages=Stages(recipe.folder), inputs=inputs).schedules
    collator = Collator(processor, rows.image_root)
    model = spied["learner"].model.eval()
    for position in range(len(schedule)):
        conversation = schedule[position]
        batch = collator([conversation])
        labels, owners = batch.pop("labels"), batch.pop("owners")
        del batch["rows"], batch["epochs"]
        with torch.no_grad():
            logits = model(**batch).logits[0]
        chances = logits.log_softmax(-1)
        for answer, row in enumerate(conversation.rows):
            places = (owners[0] == answer).nonzero()[:, 0]
            loss = -np.mean([chances[p - 1, labels[0, p]].item() for p in places])
            assert table.loc[rows[row].id, "loss"] == pytest.approx(loss, abs=2e-5)
            assert table.loc[rows[row].id, "tokens"] == len(places)


def test_finished_run_returns_at_once_and_another_recipe_is_refused(recipe_of, monkeypatch):
    folder = train(recipe_of(max_steps=2))
    stamp = (folder / "manifest.json").stat().st_mtime_ns
    monkeypatch.setattr(training, "load_learner", None)  # any attempt to train would fail
    assert train(recipe_of(max_steps=2)) == folder
    assert (folder / "manifest.json").stat().st_mtime_ns == stamp
    with pytest.raises(UserError, match=r"differs in learning_rate \(0.005 there, 0.001 now\).*--fresh"):
        train(recipe_of(max_steps=2, learning_rate=1e-3))


def test_a_run_of_an_older_version_is_up_to_date(recipe_of, monkeypatch):
    """Its recipe lacks today's newer keys, in stages too; another value of such a key is another run."""
    stages = [{"name": "only", "max_steps": 2}]
    folder = train(recipe_of(stages=stages))
    manifest, state = (json.loads((folder / name).read_text()) for name in ("manifest.json", "state.json"))
    for recipe in (manifest["recipe"], state["start"]["recipe"]):
        for key in ("packing", "optim", "trainer", "best"):
            del recipe[key]
        del recipe["stages"][0]["replay"]
    manifest["recipe_digest"] = digest_of(manifest["recipe"])
    del state["digest of all this"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "state.json").write_text(json.dumps(state))
    monkeypatch.setattr(training, "load_learner", None)  # any attempt to train would fail
    assert train(recipe_of(stages=stages)) == folder
    with pytest.raises(UserError, match=r"differs in packing \(False there, True now\); give this one another name"):
        train(recipe_of(stages=stages, packing=True))


def test_killed_between_manifest_and_clearing_up(recipe_of, monkeypatch):
    """The same command again clears up; what is kept can be loaded all the same."""
    with monkeypatch.context() as patch:
        patch.setattr(training, "_remove_checkpoints", lambda recipe: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            train(recipe_of(keep_checkpoints=1))
    folder = train(recipe_of(keep_checkpoints=1))
    left = {path.name for path in (folder / "checkpoints").rglob("*") if path.is_dir()}
    assert left == {"stage-0", "checkpoint-4"}
    assert (folder / "checkpoints/stage-0/checkpoint-4/processor_config.json").is_file()


def test_a_folder_with_other_results_is_left_alone(recipe_of, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text('{"stage": "curate"}')
    with pytest.raises(UserError, match="holds other results"):
        train(recipe_of())
    with pytest.raises(UserError, match="is not a run folder of `finetune train`, so --fresh does not delete it"):
        train(recipe_of(), fresh=True)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["manifest.json"]


def test_other_data_is_refused_and_fresh_replaces(recipe_of, toy_data, tmp_path):
    data = tmp_path / "rows.jsonl"
    data.write_bytes(toy_data.read_bytes())
    options = {"data": data, "image_root": toy_data.parent, "max_steps": 1}
    folder = train(recipe_of(**options))
    data.write_text("\n".join(data.read_text().splitlines()[:20]) + "\n")
    with pytest.raises(UserError, match="the files of data"):
        train(recipe_of(**options))
    train(recipe_of(**options), fresh=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["counts"]["rows"] == 20


def test_adapter_folder_loads_with_plain_transformers(recipe_of):
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = train(recipe_of(max_steps=2))
    model = AutoModelForImageTextToText.from_pretrained(folder / "adapter")
    processor = AutoProcessor.from_pretrained(folder / "adapter")
    weights, state = adapter_of(folder), model.state_dict()
    assert len(weights) == 2 * 2 * 7 + 4  # A and B of seven linear layers in two blocks, projector
    for name, weight in weights.items():
        plain = name.removeprefix("base_model.model.")
        key = next(key for key in state if key.replace(".default", "").replace(".modules_to_save", "") == plain)
        torch.testing.assert_close(state[key].float(), weight.float(), atol=1e-2, rtol=1e-2)
    assert processor.chat_template


def test_outputs_and_manifest(recipe_of):
    folder = train(recipe_of(max_steps=2))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {"losses.parquet", "metrics.jsonl", "loss_curve.png", "rejects.jsonl", "adapter/adapter_config.json"} <= set(
        manifest["outputs"]
    )
    assert manifest["quantization"] == "nf4"
    assert manifest["masks"]["stops"] is True
    assert (folder / "loss_curve.png").read_bytes().startswith(b"\x89PNG")
    states = {(group["part"], group["state"]) for group in manifest["modules"]}
    assert ("decoder", "4-bit") in states and ("vision tower", "4-bit") not in states
    line = metrics_of(folder)[-1]
    assert line["step"] == 2 and line["tokens_per_second"] > 0
