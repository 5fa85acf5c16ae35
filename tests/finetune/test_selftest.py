"""The selftest finds what works, what does not and what cannot be checked here."""

import json
from pathlib import Path

import pytest
import torch

import finetune
from finetune.selftest.selftest import CHECKS, Check, _Bench, selftest
from tests.forks import python
from winnow.errors import UserError


@pytest.mark.slow
def test_what_works_what_fails_and_what_cannot_be_checked_here(monkeypatch, capsys):
    checks = {
        "works": Check({"quantization": "none"}),
        "refused": Check({"lora_targets": ["no_such_layer"]}),
        "absent": Check(package="no_such_package"),
        "float16": CHECKS["float16"],
        "FSDP2": CHECKS["FSDP2"],
    }
    monkeypatch.setattr("finetune.selftest.selftest.CHECKS", checks)
    monkeypatch.setattr("finetune.selftest.selftest._FINETUNE", python("-m", "finetune"))
    found = {result.name: (result.state, result.reason) for result in selftest(gpu=False, only=[])}
    assert found["works"][0] == "ok" and "→" in found["works"][1]
    assert found["refused"][0] == "failed" and "no_such_layer" in found["refused"][1]
    assert found["absent"] == ("skipped", "no_such_package is not installed")
    assert (found["float16"], found["FSDP2"]) == (("skipped", "needs a GPU (--gpu)"), ("skipped", "needs 2 GPUs"))
    printed = capsys.readouterr().out
    assert "on the CPU" in printed and "logs: " in printed


@pytest.mark.parametrize(
    ("losses", "resumed", "state", "reason"),
    [
        ([6, 5, 4, 3, 2, 1], [6, 5, 4, 3, 2, 1], "ok", "loss 6.00 → 2.50"),
        ([6, 6, 6, 5, 6, 6], [6, 6, 6, 5, 6, 6], "failed", "does not learn: loss 6.000 → 5.750"),
        ([6, 5, 4, 3, 2, 1], [6, 5, 4, 3, 2, 2], "failed", "its losses are up to 1.000 from those after a kill"),
        ([6, 5, 4, 3, 2, 1], [6, 5, 4], "failed", "6 lines of losses, 3 after a kill"),
        ([6, 5, float("nan"), 3, 2, 1], [6], "failed", "the loss is nan"),
    ],
)
def test_what_a_check_looks_at(losses, resumed, state, reason, tmp_path, monkeypatch):
    def train(self, name, check, *, kill=False, cpu=False):
        folder = tmp_path / name.replace(" ", "-")
        folder.mkdir()
        lines = [json.dumps({"loss": loss}) + "\n" for loss in (resumed if kill else losses)]
        (folder / "metrics.jsonl").write_text("".join(lines))
        return folder

    monkeypatch.setattr(_Bench, "_train", train)
    found = _Bench(tmp_path, tmp_path, 0).result("toy", Check(resume=True))
    assert (found.state, found.reason) == (state, reason)


def test_unknown_checks_and_a_gpu_that_is_not_there():
    with pytest.raises(UserError, match="no check is called 'nf5'; did you mean nf4"):
        selftest(gpu=False, only=["nf5"])
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="torch sees no GPU here"):
            selftest(gpu=True, only=[])


def test_every_way_to_launch_ships():
    folder = Path(finetune.__file__).parent / "accelerate"
    assert all((folder / f"{check.launch}.yaml").is_file() for check in CHECKS.values() if check.launch)
