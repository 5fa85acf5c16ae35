"""`finetune export`: the verdict is measured, what is broken fails, and nothing is done twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from finetune.export import pipeline
from finetune.export.calibration import accepted_rows, write_calibration
from finetune.export.environment import COMPRESS, OPENVINO, python_for
from finetune.export.outputs import open_run
from finetune.export.pipeline import Settings, export, parse_method
from finetune.export.record import read_record
from winnow.errors import UserError

ROOT = Path(__file__).parents[3]
needs_quantiser = pytest.mark.skipif(
    not (ROOT / COMPRESS / "bin/python").exists(), reason="no .venv-export; `make export-env` makes it"
)


class Killed(BaseException):
    pass


def die(*_, **__):
    raise Killed


@pytest.fixture(scope="module")
def merged(colours_run, tmp_path_factory):
    """Settings of an export without quantisation, and its record."""
    settings = Settings(method="merged", out=tmp_path_factory.mktemp("export") / "merged", rows=30)
    return settings, export(colours_run, settings)


@pytest.mark.slow
def test_a_merged_export_loses_nothing(merged, colours_run):
    settings, record = merged
    assert settings.out is not None
    (task,) = record.accuracy.tasks
    assert task.adapter > 0.2 and task.loss == 0 and task.rows == 30  # the toy has learned some of it
    assert record.passed and record.agreement.prompt_tokens == record.agreement.answers == 1.0
    assert record.agreement.logit_error < 1e-3
    assert record.size_bytes == (settings.out / "model" / "model.safetensors").stat().st_size
    assert record.engines["transformers"].basis == "run" and record.engines["vllm"].basis == "rules"
    assert record.speed.tokens_per_second > 0 and not record.calibration.rows
    assert read_record(settings.out) == record
    keys = load_file(settings.out / "model" / "model.safetensors").keys()
    assert any(key.startswith("vision_tower.vision_model.") for key in keys)
    assert "Nothing is quantised" in (settings.out / "README.md").read_text()
    assert not settings.out.with_name(".merged.work").exists()


@pytest.mark.slow
def test_a_finished_export_is_left_alone(merged, colours_run, monkeypatch):
    settings, record = merged
    before = (settings.out / "manifest.json").stat().st_mtime_ns
    monkeypatch.setattr(pipeline._Export, "make", die)
    assert export(colours_run, settings) == record
    assert (settings.out / "manifest.json").stat().st_mtime_ns == before
    with pytest.raises(Killed):
        export(colours_run, replace(settings, seed=1))


@pytest.mark.slow
def test_weights_that_changed_are_found_out_after_a_kill(colours_run, tmp_path, monkeypatch):
    """A checkpoint that loads and answers nonsense: the command fails and says so, the second time too."""
    settings = Settings(method="merged", out=tmp_path / "broken", rows=30)
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "ask_exported", die)
        with pytest.raises(Killed):
            export(colours_run, settings)
    weights = tmp_path / ".broken.work" / "model" / "model.safetensors"
    tensors = load_file(weights)
    save_file({key: -tensor if "down_proj" in key or "o_proj" in key else tensor for key, tensor in tensors.items()},
              weights, metadata={"format": "pt"})  # fmt: skip
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "merge", die)  # is done
        patched.setattr(pipeline, "ask_trained", die)
        with pytest.raises(UserError, match=r"loses \d+\.\d points, more than --max-loss 1"):
            export(colours_run, settings)
    record = read_record(tmp_path / "broken")
    assert not record.passed and record.accuracy.tasks[0].loss > 0.1
    with pytest.raises(UserError, match="loses"):  # a second call says it again
        export(colours_run, settings)


def test_calibration_rows_are_trained_ones_and_never_evaluation_rows(colours_run, toy_data, tmp_path):
    from winnow.files import sha256_file

    recipe, rows = open_run(colours_run), [json.loads(line) for line in toy_data.read_text().splitlines()]
    image = rows[0]["image"]
    asked = {sha256_file(toy_data.parent / image)}
    drawn = {}
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        drawn[folder] = write_calibration(
            recipe, colours_run, tmp_path / folder, count=8, seed=seed, images=asked, ids={rows[5]["id"]}
        ).sample_ids
    assert drawn["a"] == drawn["b"] != drawn["c"] and len(drawn["a"]) == 8
    everything = write_calibration(
        recipe, colours_run, tmp_path / "d", count=99, seed=0, images=asked, ids={rows[5]["id"]}
    )
    forbidden = {row["id"] for row in rows if row.get("image") == image} | {rows[5]["id"]}
    assert not forbidden & set(everything.sample_ids) and everything.left_out == len(forbidden)
    accepted = {rows[number]["id"] for number in accepted_rows(colours_run) if "image" in rows[number]}
    assert set(everything.sample_ids) == accepted - forbidden
    tensors = load_file(tmp_path / "a" / "00000.safetensors")
    assert tensors["input_ids"].shape == tensors["attention_mask"].shape and "labels" not in tensors
    with pytest.raises(UserError, match="nothing can be calibrated on"):
        every = {sha256_file(path) for path in toy_data.parent.glob("*.png")}
        write_calibration(recipe, colours_run, tmp_path / "e", count=4, seed=0, images=every, ids=set())


def test_what_cannot_be_done_is_said_before_anything_is_loaded(colours_run, tmp_path):
    with pytest.raises(UserError, match="NF4 rounds the merged weights"):
        parse_method("nf4")
    with pytest.raises(UserError, match="gptq"):
        parse_method("gtpq")
    with pytest.raises(UserError, match="make export-env"):
        python_for("gptq", tmp_path)
    with pytest.raises(UserError, match="make openvino-env"):
        python_for("openvino-int4", tmp_path)
    with pytest.raises(UserError, match="--task"):
        export(colours_run, Settings(method="merged", out=tmp_path / "x", tasks=()))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    with pytest.raises(UserError, match="not made by this command"):
        export(colours_run, Settings(method="merged", out=tmp_path / "mine"))


@needs_quantiser
@pytest.mark.slow
@pytest.mark.parametrize("method", ["gptq", "rtn", "awq", "fp8", "int8"])
def test_every_quantiser_makes_a_model_that_answers(colours_run, tmp_path, method):
    settings = Settings(
        method=method, out=tmp_path / method, rows=4, calibration=8, max_loss=100, environment=ROOT / COMPRESS
    )
    record = export(colours_run, settings)
    assert record.group_size == (32 if method in ("gptq", "rtn", "awq") else None)
    assert bool(record.calibration.rows) == (method in ("gptq", "awq"))
    assert record.size_bytes < record.merged_bytes and record.agreement.prompt_tokens == 1.0
    config = json.loads((tmp_path / method / "model" / "config.json").read_text())
    assert all(name.startswith("re:") for name in config["quantization_config"]["ignore"])
    assert record.agreement.logit_error > 0  # it is another model


@pytest.mark.skipif(
    not (ROOT / OPENVINO / "bin/python").exists(), reason="no .venv-openvino; `make openvino-env` makes it"
)
@pytest.mark.slow
@pytest.mark.parametrize("bits", [4, 8])
def test_openvino_answers_as_the_trained_model_does(colours_run, tmp_path, bits):
    """The toy's images are five tokens, and its configuration says 576, as a fresh one does."""
    settings = Settings(
        method=f"openvino-int{bits}", out=tmp_path / "ov", rows=30, max_loss=20, environment=ROOT / OPENVINO
    )
    record = export(colours_run, settings)
    assert record.passed and record.agreement.prompt_tokens == 1.0 and record.agreement.top_token > 0.9
    assert 0 < record.agreement.logit_error < 0.2 and record.size_bytes < record.merged_bytes
    assert record.engines["openvino"].basis == "run" and not record.ignored
    assert "output layer in 8 bits" in (tmp_path / "ov" / "README.md").read_text()


@needs_quantiser
@pytest.mark.slow
def test_a_broken_ignore_list_fails_the_command(colours_run, tmp_path, monkeypatch):
    """The names that llm-compressor writes: by the check of the list, and without it by what the library misses."""
    settings = Settings(method="rtn", out=tmp_path / "rtn", rows=30, max_loss=20, environment=ROOT / COMPRESS)
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "ask_exported", die)
        with pytest.raises(Killed):
            export(colours_run, settings)
    path = tmp_path / ".rtn.work" / "model" / "config.json"
    config = json.loads(path.read_text())
    # As llm-compressor writes it, with another version's names of the tower's layers: 0 of 300 answers were right.
    tower = [f"vision_tower.vision_model.encoder.layers.0.{name}_proj" for name in ("self_attn.q", "self_attn.k")]
    config["quantization_config"]["ignore"] = ["lm_head", "re:.*multi_modal_projector.*", *tower]
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match="not the export's patterns"):
        export(colours_run, settings)
    monkeypatch.setattr(pipeline, "check_layout", lambda *_, **__: None)
    with pytest.raises(UserError, match=r"tensors are missing"):
        export(colours_run, settings)
