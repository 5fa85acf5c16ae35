"""What a model says to kept prompts: logits on the reference answers, and greedy answers.

``python -m finetune.export.reference_outputs MODEL PROMPTS OUT`` does it in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finetune.training.prompts import Prompt
from winnow.errors import UserError
from winnow.files import write_json
from winnow.models import prepare_libraries

LOOKED_AT = 32
_MAX_NEW = 32


@dataclass(frozen=True)
class ReferenceOutputs:
    """Answers of one model.

    Attributes:
        logits: float32 (answer tokens, vocabulary): what predicts each token of the reference answers,
            at most 32 of each.
        answers: greedy answers of at most 32 tokens, without special tokens.
        prompt_tokens: token ids of each prompt as this model's processor makes them.
    """

    logits: Any
    answers: list[str]
    prompt_tokens: list[list[int]]


def reference_outputs(
    model: Any, processor: Any, prompts: Sequence[Prompt], max_pixels: int | None
) -> ReferenceOutputs:
    """Ask ``model`` every prompt, one at a time."""
    import torch

    logits, answers, ids = [], [], []
    for prompt in prompts:
        asked = _on(model, prompt.inputs(processor, max_pixels))
        length = asked["input_ids"].shape[1]
        ids.append(asked["input_ids"][0].tolist())
        told, answer = prompt.answered(processor, max_pixels)
        with torch.inference_mode():
            scores = model(**_on(model, told)).logits[0, :-1][answer[1:].to(model.device)].float().cpu()
            produced = model.generate(**asked, do_sample=False, max_new_tokens=_MAX_NEW)
        logits.append(scores[:LOOKED_AT])
        answers.append(processor.tokenizer.decode(produced[0, length:], skip_special_tokens=True).strip())
    return ReferenceOutputs(torch.cat(logits), answers, ids)


def _on(model: Any, inputs: Any) -> dict[str, Any]:
    inputs = {key: value for key, value in inputs.items() if key != "labels"}
    inputs = {k: v.to(model.dtype) if v.is_floating_point() else v for k, v in inputs.items()}
    return {key: value.to(model.device) for key, value in inputs.items()}


def outputs_in_new_process(model: Path, prompts: Sequence[Prompt], max_pixels: int | None) -> ReferenceOutputs:
    """The outcome of a checkpoint folder in a new process, so that nothing in memory can help it.

    Raises:
        UserError: it does not load or does not answer there.
    """
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_json(folder / "prompts.json", {"prompts": [asdict(p) for p in prompts], "max_pixels": max_pixels})
        command = [
            sys.executable,
            "-m",
            "finetune.export.reference_outputs",
            str(model),
            str(folder / "prompts.json"),
            str(folder),
        ]
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"{model}: does not work in a new process ({last})")
        stored = json.loads((folder / "outcome.json").read_text(encoding="utf-8"))
        logits = load_file(folder / "logits.safetensors")["logits"]
    return ReferenceOutputs(logits, stored["answers"], stored["prompt_tokens"])


def main() -> None:
    """Write ``outcome.json`` and ``logits.safetensors`` for a checkpoint folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("model", "prompts", "out"):
        parser.add_argument(name, type=Path)
    chosen = parser.parse_args()
    from safetensors.torch import save_file
    from transformers import AutoModelForImageTextToText

    from finetune.model.load import load_processor

    prepare_libraries()
    asked = json.loads(chosen.prompts.read_text(encoding="utf-8"))
    model = AutoModelForImageTextToText.from_pretrained(chosen.model, dtype="auto", trust_remote_code=False).eval()
    said = reference_outputs(
        model, load_processor(str(chosen.model)), [Prompt(**line) for line in asked["prompts"]], asked["max_pixels"]
    )
    save_file({"logits": said.logits.contiguous()}, chosen.out / "logits.safetensors")
    write_json(chosen.out / "outcome.json", {"answers": said.answers, "prompt_tokens": said.prompt_tokens})


if __name__ == "__main__":
    main()


MAX_ERROR = 0.05


MIN_AGREEMENT = 0.97


MIN_ANSWERS = 0.9


@dataclass(frozen=True, slots=True)
class Parity:
    """How close a model is to the adapter model.

    Attributes:
        prompts, tokens: how many were compared.
        held_out: whether no stage was trained on them.
        error: |other - adapter| / |adapter|, norms over all logits of the reference answers.
        agreement: share of answer tokens with the same most likely token.
        answers: share of prompts with the same greedy answer.
        prompt_tokens: share of prompts with the same token ids.
        passed: error ≤ 0.05, agreement ≥ 0.97, answers ≥ 0.9, every prompt the same.
    """

    prompts: int
    tokens: int
    held_out: bool
    error: float
    agreement: float
    answers: float
    prompt_tokens: float
    passed: bool


def parity_sentence(parity: Parity) -> str:
    """The comparison in words."""
    kind = "held-out" if parity.held_out else "training"
    return (
        f"on {parity.prompts} {kind} rows relative logit error {parity.error:.4f}, same top token "
        f"{parity.agreement:.1%}, same greedy answer {parity.answers:.0%}, same prompt {parity.prompt_tokens:.0%}"
    )


def compare(wanted: ReferenceOutputs, got: ReferenceOutputs, prompts: list[Prompt]) -> Parity:
    """Parity of two outcomes on the same prompts."""
    error = float((wanted.logits - got.logits).norm() / wanted.logits.norm())
    agreement = float((wanted.logits.argmax(1) == got.logits.argmax(1)).double().mean())
    answers = _share(wanted.answers, got.answers)
    same = _share([prompt.tokens for prompt in prompts], got.prompt_tokens)
    passed = error <= MAX_ERROR and agreement >= MIN_AGREEMENT and answers >= MIN_ANSWERS and same == 1.0
    held_out = all(prompt.held_out for prompt in prompts)
    return Parity(len(prompts), len(wanted.logits), held_out, error, agreement, answers, same, passed)


def _share(left: list[Any], right: list[Any]) -> float:
    return sum(one == other for one, other in zip(left, right, strict=True)) / max(len(left), 1)
