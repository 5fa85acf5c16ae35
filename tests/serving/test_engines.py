"""The command of every engine for exports, merged models, LoRA; and what is refused before anything starts."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from finetune.export.record import ExportRecord
from finetune.recipe import TrainRecipe
from serving.engines import ENGINES, Options, check_installed, launch, length_of
from serving.model import Servable, open_model
from serving.start import start_engine
from winnow.errors import UserError, chosen
from winnow.vlm.inputs import InputSettings, apply_to_processor, save_input_settings

LLAVA = {
    "architectures": ["LlavaForConditionalGeneration"], "model_type": "llava",
    "text_config": {"max_position_embeddings": 4096},
}  # fmt: skip


@pytest.fixture(scope="session")
def processor_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from finetune.selftest.toy import build_processor

    folder = tmp_path_factory.mktemp("processor")
    build_processor().save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(processor_folder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(processor_folder, folder)
    (folder / "config.json").write_text(json.dumps(LLAVA))
    save_input_settings(folder, InputSettings())
    return folder


def recipe(**changes) -> TrainRecipe:
    return TrainRecipe.model_validate({"name": "toy", "model": "base", "data": "rows.jsonl", **changes})


def values(command: list[str]) -> dict[str, str]:
    """Option → what follows it."""
    return {name: value for name, value in itertools.pairwise(command) if name.startswith("--")}


def test_vllm(checkpoint: Path) -> None:
    made = launch("vllm", open_model(checkpoint), Options(port=9000))
    assert made.command[:3] == ["vllm", "serve", str(checkpoint)]
    assert values(made.command) == {
        "--host": "127.0.0.1", "--port": "9000", "--served-model-name": "model", "--max-model-len": "4096",
        "--chat-template": str(checkpoint / "chat_template.jinja"),
    }  # fmt: skip
    assert (made.url, made.health, made.model) == ("http://127.0.0.1:9000/v1", "http://127.0.0.1:9000/health", "model")
    other = launch("vllm", open_model(checkpoint), Options(python=Path("/opt/vllm/bin/python"))).command
    assert other[:5] == ["/opt/vllm/bin/python", "-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint)]


def test_options_of_the_engine_itself_cannot_undo_what_is_set_here(checkpoint: Path) -> None:
    made = launch("vllm", open_model(checkpoint), Options(own=("--enforce-eager", "--max-num-seqs", "4")))
    assert made.command[-3:] == ["--enforce-eager", "--max-num-seqs", "4"]
    for undone in (("--enforce-eager", "--host", "0.0.0.0"), ("--host=0.0.0.0",)):
        with pytest.raises(UserError, match="--host: `serve start` sets it itself"):
            launch("vllm", open_model(checkpoint), Options(own=undone))
    with pytest.raises(UserError, match="second: give one MODEL"):
        launch("vllm", open_model(checkpoint), Options(own=("second",)))


def test_lmdeploy_listens_here_and_lets_no_web_page_ask(checkpoint: Path) -> None:
    given = values(launch("lmdeploy", open_model(checkpoint), Options(max_length=512)).command)
    assert given["--server-name"] == "127.0.0.1" and given["--allow-origins"] == "http://127.0.0.1:8000"
    assert given["--session-len"] == "512" and given["--model-name"] == "model"


def test_transformers_is_asked_by_the_folder(checkpoint: Path) -> None:
    save_input_settings(checkpoint, InputSettings(chat_template_kwargs={"enable_thinking": False}))
    made = launch("transformers", open_model(checkpoint), Options())
    assert made.model == str(checkpoint) and made.command[3:5] == ["serve", str(checkpoint)]
    assert json.loads(values(made.command)["--chat-template-kwargs"]) == {"enable_thinking": False}


def test_no_engine_is_started_for_openvinos_form(checkpoint: Path) -> None:
    (checkpoint / "openvino_language_model.xml").write_text("<net/>")
    for engine in ENGINES:
        with pytest.raises(UserError, match=r"is in OpenVINO's form.*--to gptq"):
            launch(engine, open_model(checkpoint), Options())


def test_an_architecture_that_is_not_in_the_engines_list(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text(json.dumps({**LLAVA, "architectures": ["NoSuchModel"]}))
    for engine in ("vllm", "lmdeploy"):
        with pytest.raises(UserError, match=f"{engine} has no NoSuchModel in its list"):
            launch(engine, open_model(checkpoint), Options())
    (checkpoint / "config.json").write_text(json.dumps({**LLAVA, "model_type": "no_such_model"}))
    with pytest.raises(UserError, match="no_such_model"):
        launch("transformers", open_model(checkpoint), Options())


def test_quantised_weights_are_named(checkpoint: Path) -> None:
    config = {**LLAVA, "quantization_config": {"quant_method": "compressed-tensors"}}
    (checkpoint / "config.json").write_text(json.dumps(config))
    model = open_model(checkpoint)
    assert values(launch("vllm", model, Options()).command)["--quantization"] == "compressed-tensors"
    assert values(launch("lmdeploy", model, Options()).command)["--model-format"] == "compressed-tensors"


def test_inputs_are_prepared_as_in_training(checkpoint: Path, processor_folder: Path, tmp_path: Path) -> None:
    """Against the base's own processor, what training changed goes onto vLLM's command line."""
    from finetune.selftest.toy import build_processor

    base = tmp_path / "base"
    shutil.copytree(processor_folder, base)
    (base / "config.json").write_text(json.dumps(LLAVA))
    settings = InputSettings(processor={"do_center_crop": False}, max_pixels=9000)
    trained = build_processor()
    apply_to_processor(trained, settings)
    trained.save_pretrained(checkpoint)
    save_input_settings(checkpoint, settings)
    made = launch("vllm", replace(open_model(checkpoint), recipe=recipe(model=str(base))), Options())
    assert json.loads(values(made.command)["--mm-processor-kwargs"]) == {"do_center_crop": False}
    assert any("at most 9,000 pixels" in note for note in made.notes)


def test_a_lora_goes_to_vllm_alone(checkpoint: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(checkpoint, adapter)
    config = {"r": 32, "modules_to_save": None, "bias": "none", "base_model_name_or_path": str(checkpoint)}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    model = Servable("mine", checkpoint, adapter, LLAVA, None, recipe(model=str(checkpoint), quantization="none"))
    made = launch("vllm", model, Options())
    given = values(made.command)
    assert given["--lora-modules"] == f"mine={adapter}" and given["--max-lora-rank"] == "32"
    assert made.model == "mine" and given["--served-model-name"] == "mine-base"
    for engine in ("lmdeploy", "transformers"):
        with pytest.raises(UserError, match="loads no adapter of a model with images; serve a merged model"):
            launch(engine, model, Options())
    with pytest.raises(UserError, match="was trained on a base in nf4"):
        launch("vllm", replace(model, recipe=recipe(quantization="nf4")), Options())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "modules_to_save": ["projector"]}))
    with pytest.raises(UserError, match="does not load it as LoRA: it holds trained copies"):
        launch("vllm", model, Options())


def test_the_length_is_the_models_within_reason(checkpoint: Path) -> None:
    model = open_model(checkpoint)
    assert length_of(model, None) == 4096 and length_of(model, 100) == 100
    long = replace(model, config={"text_config": {"max_position_embeddings": 128_000}})
    assert length_of(long, None) == 8192
    assert length_of(replace(long, recipe=recipe(max_length=20_000)), None) == 20_000
    assert length_of(replace(model, config={}), None) is None
    with pytest.raises(UserError, match="made for 4,096 tokens"):
        length_of(model, 5000)


def record_of(accepts: dict[str, bool], *, passed: bool = True, method: str = "gptq") -> ExportRecord:
    engines = {name: {"accepts": taken, "basis": "rules", "why": "its rules"} for name, taken in accepts.items()}
    agreement = {
        "prompts": 4, "tokens": 9, "held_out": True, "logit_error": 0.1, "top_token": 1.0, "answers": 0.75,
        "prompt_tokens": 1.0,
    }  # fmt: skip
    return ExportRecord.model_validate({
        "name": "toy-gptq", "method": method, "model": "model", "base_run": "no-run", "base": "base", "adapter": "0",
        "calibration": {}, "ignored": [], "group_size": 32, "symmetric": True, "act_order": None, "size_bytes": 1,
        "merged_bytes": 4, "seconds": {}, "packages": {}, "agreement": agreement,
        "accuracy": {"tasks": [], "max_loss": 0.01, "passed": passed, "settled": True},
        "speed": {
            "library": "x", "device": "cpu", "questions": 1, "batch_size": 1, "seconds": 1, "tokens_per_second": 1,
        },
        "engines": engines, "notes": [],
    })  # fmt: skip


def test_an_export_says_itself_who_takes_it(checkpoint: Path, tmp_path: Path) -> None:
    accepts = {"vllm": True, "lmdeploy": False, "transformers": True, "openvino": False}
    (tmp_path / "export.json").write_text(record_of(accepts).model_dump_json())
    model = open_model(tmp_path)
    assert model.name == "toy-gptq" and launch("vllm", model, Options()).command[2] == str(checkpoint)
    with pytest.raises(UserError, match="lmdeploy does not take this export: its rules"):
        launch("lmdeploy", model, Options())
    (tmp_path / "export.json").write_text(record_of(accepts, passed=False).model_dump_json())
    with pytest.raises(UserError, match="did not pass"):
        open_model(tmp_path)


def test_what_is_no_model(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(UserError, match="holds no model"):
        open_model(tmp_path)
    (checkpoint / "config.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        open_model(checkpoint)
    with pytest.raises(UserError, match="did you mean vllm"):
        chosen("--engine", "vlm", ENGINES)


def test_what_is_not_installed_is_told_before_it_starts(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(UserError, match="pip install vllm"):
        check_installed("vllm", Options(), ["vllm"])
    import torch

    if not torch.accelerator.is_available():
        with pytest.raises(UserError, match="has no engine for CPUs"):
            check_installed("lmdeploy", Options(), ["lmdeploy"])


def test_print_prints_the_command_and_starts_nothing(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start_engine(checkpoint, "lmdeploy", Options(), timeout=1, show=True, allow_remote=False)
    printed = capsys.readouterr()
    assert printed.out.startswith("lmdeploy serve api_server ") and printed.out.count("\n") == 1
    assert "never run" in printed.err


def test_other_machines_are_let_in_only_when_asked_for(checkpoint: Path) -> None:
    with pytest.raises(UserError, match="lets other machines ask without a key"):
        start_engine(checkpoint, "vllm", Options(host="0.0.0.0"), timeout=1, show=True, allow_remote=False)
