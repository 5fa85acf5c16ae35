"""What ``finetune doctor`` says of a model, and when it says that training would be refused."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from typer.testing import CliRunner

from finetune.cli import app
from finetune.doctor import doctor
from tests.finetune import models
from tests.finetune.toys import CHATML, build_processor
from winnow.errors import UserError


def lines(model, **options):
    return {finding.subject: (finding.state, finding.detail) for finding in doctor(str(model), **options)}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    made = {}

    def make(family):
        if family not in made:
            made[family] = models.checkpoint(family, tmp_path_factory.mktemp(family), weights=False)
        return made[family]

    return make


def test_a_model_that_trains(folder_of, capsys):
    found = lines(folder_of("qwen2_5_vl"))
    assert all(state != "refused" for state, _ in found.values())
    for subject in ("architecture", "nf4", "int8", "recipe", "vLLM", "LMDeploy", "processor", "chat template", "mask",
                    "stop token", "generation prompt"):  # fmt: skip
        assert found[subject][0] == "ok", subject
    assert found["tools"] == ("note", "the chat template shows none")
    assert found["audio"][0] == "note"
    printed = capsys.readouterr().out
    assert "model.visual.merger" in printed and "model.visual (2 blocks)" in printed
    assert "1,920 × 1,080" in printed


def test_experts(folder_of, capsys):
    found = lines(folder_of("qwen3_vl_moe"))
    assert found["nf4"][0] == "ok" and found["nf4"][1].startswith("99")
    assert found["int8"][0] == "note" and float(found["int8"][1].split("%")[0]) < 20
    assert found["recipe"] == ("ok", "must set lora_dropout: 0")
    assert "experts" in capsys.readouterr().out


def test_a_server_that_does_not_list_it(folder_of):
    assert lines(folder_of("paligemma"))["LMDeploy"][0] == "note"


def test_masks_that_cannot_be_located(folder_of):
    state, detail = lines(folder_of("idefics2"))["mask"]
    assert state == "refused" and "this processor cannot be used for training" in detail


def test_templates(tiny_model, tmp_path):
    """Tools are shown by some templates; a missing stop token and another generation prompt are found."""
    tools = tmp_path / "tools.jinja"
    tools.write_text("{% if tools %}{{ tools | tojson }}{% endif %}" + CHATML)
    assert lines(tiny_model, chat_template=tools)["tools"] == (
        "note", "the chat template shows their definitions, but no calls",
    )  # fmt: skip
    endless = tmp_path / "endless.jinja"
    endless.write_text(CHATML.replace("<|im_end|>", ""))
    assert lines(tiny_model, chat_template=endless)["stop token"][0] == "note"
    thinking = tmp_path / "thinking.jinja"
    thinking.write_text(CHATML.replace("assistant\n{% endif %}", "assistant\nthought{% endif %}"))
    assert lines(tiny_model, chat_template=thinking)["generation prompt"][0] == "note"


def test_exit_codes(folder_of, tmp_path):
    assert CliRunner().invoke(app, ["doctor", str(folder_of("llava_1_5"))]).exit_code == 0
    bare = tmp_path / "bare"
    models.checkpoint("llava_1_5", bare, weights=False)
    (bare / "chat_template.jinja").unlink()
    result = CliRunner().invoke(app, ["doctor", str(bare)])
    assert result.exit_code == 1 and "chat template: there is none; name a Jinja file" in result.output
    with pytest.raises(UserError, match="no such folder"):
        doctor(str(tmp_path / "nothing" / "there"))


def test_a_language_model(tmp_path):
    processor = build_processor()
    processor.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    state, detail = lines(tmp_path)["architecture"]
    assert state == "refused" and "is no vision-language model of transformers" in detail


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_config": {"num_attention_heads": "four"}}, "num_attention_heads.* expected int"),
        ({"quantization_config": {"quant_method": "awq"}}, r"quantised already \(awq\); give the checkpoint in 16 bit"),
        ({"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}, "code of its own repository, .* never run"),
    ],
)
def test_configurations_that_cannot_be(folder_of, tmp_path, changes, message):
    folder = shutil.copytree(folder_of("llava_1_5"), tmp_path / "model")
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | changes))
    (folder / "own.py").write_text("raise SystemExit")
    state, detail = lines(folder)["architecture"]
    assert state == "refused" and re.search(message, detail)


def test_an_adapter_and_pickles(folder_of, tmp_path):
    adapter = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": str(folder_of("llava_1_5"))}
    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter))
    found = lines(tmp_path)
    assert str(folder_of("llava_1_5")) in found["adapter"][1] and found["recipe"][0] == "ok"
    pickles = shutil.copytree(folder_of("llava_1_5"), tmp_path / "pickles")
    (pickles / "pytorch_model.bin").touch()
    assert lines(pickles)["weights"][0] == "refused"
