"""What a run leaves: the card, what other programs expect of an adapter folder, the start-of-run record."""

from __future__ import annotations

import json

import pytest
import yaml
from safetensors import safe_open

from finetune.training.run import START, train
from winnow.errors import UserError
from winnow.run import Stages


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_model, toy_data):
    """A run on a curated folder."""
    from finetune.recipe import TrainRecipe

    folder = tmp_path_factory.mktemp("handover")
    curated = folder / "curated"
    curated.mkdir()
    (curated / "samples.jsonl").write_bytes(toy_data.read_bytes())
    manifest = {"image_root": str(toy_data.parent), "recipe_digest": "c0ffee" * 8, "git_commit": "abc123",
                "counts": {"rows": 50, "keep": 42, "drop": 8}, "inputs": {"raw/vqa.jsonl": "f00d"}}  # fmt: skip
    (curated / "manifest.json").write_text(json.dumps(manifest))
    return train(TrainRecipe(
        name="h", out=folder / "run", model=str(tiny_model), data=curated, lora_rank=2, batch_size=2, max_steps=2,
        num_workers=0, max_length=128, report_to=["tensorboard"],
    ))  # fmt: skip


def test_card_names_the_origin_of_the_data(run):
    text = (run / "adapter" / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["library_name"] == "peft" and front["pipeline_tag"] == "image-text-to-text" and front["base_model"]
    for words in ("c0ffee", "`raw/vqa.jsonl`: sha256 `f00d`", "rows 50, keep 42, drop 8", "rejected: none", "nf4"):
        assert words in text


def test_what_peft_swift_and_llama_factory_look_for(run):
    """PEFT's file names and key prefix; ms-swift reads base model and type from adapter_config.json and without an
    args.json needs --load_args false; LLaMA-Factory passes the folder to PeftModel; both want a LoRA of a causal
    model and a tokenizer with its template beside it. No pickle."""
    adapter = run / "adapter"
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA" and config["task_type"] == "CAUSAL_LM" and config["base_model_name_or_path"]
    assert config["inference_mode"] is True and isinstance(config["target_modules"], str)
    assert config["modules_to_save"] == ["model.multi_modal_projector"]
    with safe_open(adapter / "adapter_model.safetensors", "pt") as file:
        names = list(file.keys())
    assert names and all(name.startswith("base_model.model.") and ".default" not in name for name in names)
    found = {path.name for path in adapter.iterdir()}
    assert {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "processor_config.json"} <= found
    assert not {path.suffix for path in adapter.iterdir()} & {".bin", ".pt", ".pth", ".pkl"}


def test_the_start_is_recorded_before_the_first_step(run):
    start = Stages(run).get(START)
    assert start["packages"]["torch"] and start["recipe"]["name"] == "h" and set(start["inputs"]) == {"model", "data"}
    assert {(group["part"], group["state"]) for group in start["modules"]} >= {
        ("decoder", "4-bit"),
        ("decoder", "LoRA"),
    }


def test_reporters_get_the_losses(run):
    assert list((run / "tensorboard" / "train").glob("events.out.tfevents.*"))


def test_an_unknown_reporter(recipe_of):
    with pytest.raises(UserError, match="report_to: "):
        train(recipe_of(report_to=["nothing"]))


def test_image_costs_and_memory(run):
    lines = json.loads((run / "image_costs.json").read_text())
    assert lines[0]["max_pixels"] is None and lines[0]["image_max"] == 4 and lines[0]["memory"] > 0
    assert lines[0]["longest"] >= lines[0]["image_max"]
