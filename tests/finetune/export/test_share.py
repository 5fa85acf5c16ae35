"""A run for others: split for servers that load LoRA only, and uploaded to a hub."""

import json

import pytest
from safetensors.torch import load_file

from finetune.export.lora_only import split
from finetune.export.push import local_base, push
from finetune.training.run import train
from tests.winnow.hub_server import mirror
from winnow.errors import UserError

pytestmark = pytest.mark.slow  # they train


@pytest.fixture(scope="module")
def run(tiny_model, toy_data, tmp_path_factory):
    from finetune.recipe import TrainRecipe

    return train(TrainRecipe(
        name="toy", out=tmp_path_factory.mktemp("share") / "run", model=str(tiny_model), data=toy_data, lora_rank=4,
        learning_rate=5e-2, batch_size=2, max_steps=4, num_workers=0, max_length=128,
    ))  # fmt: skip


def test_base_and_lora_answer_like_the_trained_model(run, tiny_model, tmp_path):
    parity = split(run, tmp_path / "split", into=None, count=4)
    assert parity.passed and parity.error < 0.01
    config = json.loads((tmp_path / "split/adapter/adapter_config.json").read_text())
    assert config["modules_to_save"] is None and config["base_model_name_or_path"] == str(tmp_path / "split/base")
    lora = load_file(tmp_path / "split/adapter/adapter_model.safetensors")
    assert lora and all(".lora_" in name for name in lora)
    before, after = load_file(tiny_model / "model.safetensors"), load_file(tmp_path / "split/base/model.safetensors")
    projector = [name for name in before if "multi_modal_projector" in name]
    assert projector and all((before[name] != after[name]).any() for name in projector)
    assert (tmp_path / "split/base/input_settings.json").is_file()
    with pytest.raises(UserError, match="is not empty"):
        split(run, tmp_path / "split", into=None, count=4)


def test_the_adapter_arrives_whole_and_loads_from_there(run, tmp_path, monkeypatch):
    with mirror(tmp_path, monkeypatch) as server:
        with pytest.raises(UserError, match="no token: set HF_TOKEN"):
            push(run, "me/mine", private=True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        assert push(run, "me/mine", private=True) == f"{server.url}/me/mine"
        sent = server.repos["model", "me/mine"]
        assert {name: (run / "adapter" / name).read_bytes() for name in sent} == sent
        assert {"adapter_model.safetensors", "adapter_config.json", "README.md", "input_settings.json"} <= sent.keys()
        assert server.private == ["me/mine"] and server.tokens == {"Bearer hf_secret"}
        server.faults["*"] = [403] * 5
        with pytest.raises(UserError, match=r"me/mine: http.* refuses \(HTTP 403"):
            push(run, "me/mine", private=True)
    assert local_base(run / "adapter")


def test_what_cannot_be_uploaded(run, tmp_path):
    with pytest.raises(UserError, match="neither a finished run nor"):
        push(tmp_path, "me/mine", private=False)
    with pytest.raises(UserError, match="give owner/name"):
        push(run, "mine", private=False)
