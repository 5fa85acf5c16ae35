"""A model's outputs on the prompts kept at training time, and how close two models' outputs are.

``python -m finetune.export.reference_outputs MODEL PROMPTS OUT`` computes them in a process of its own.
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

MAX_NEW_TOKENS = 32
MAX_ERROR = 0.05
MIN_AGREEMENT = 0.97
MIN_ANSWERS = 0.9
_COMPARED_TOKENS = 32


@dataclass(frozen=True)
class ReferenceOutputs:
    """A model's outputs on the kept prompts.

    Attributes:
        logits: float32 (answer tokens, vocabulary), predicting the first 32 tokens of each reference answer.
        answers: greedy answers of at most 32 tokens, without special tokens.
        prompt_tokens: token ids of each prompt, from this model's processor.
    """

    logits: Any
    answers: list[str]
    prompt_tokens: list[list[int]]


def reference_outputs(
    model: Any, processor: Any, prompts: Sequence[Prompt], max_pixels: int | None
) -> ReferenceOutputs:
    """Run ``model`` on every prompt, one at a time."""
    import torch

    logits, answers, ids = [], [], []
    for prompt in prompts:
        inputs = _to_model(model, prompt.inputs(processor, max_pixels))
        length = inputs["input_ids"].shape[1]
        ids.append(inputs["input_ids"][0].tolist())
        with_answer, answer = prompt.answered(processor, max_pixels)
        with torch.inference_mode():
            scores = model(**_to_model(model, with_answer)).logits[0, :-1][answer[1:].to(model.device)].float().cpu()
            generated = model.generate(**inputs, do_sample=False, max_new_tokens=MAX_NEW_TOKENS)
        logits.append(scores[:_COMPARED_TOKENS])
        answers.append(processor.tokenizer.decode(generated[0, length:], skip_special_tokens=True).strip())
    return ReferenceOutputs(torch.cat(logits), answers, ids)


def _to_model(model: Any, inputs: Any) -> dict[str, Any]:
    """The inputs on the model's device, floats in its dtype."""
    inputs = {key: value for key, value in inputs.items() if key != "labels"}
    inputs = {k: v.to(model.dtype) if v.is_floating_point() else v for k, v in inputs.items()}
    return {key: value.to(model.device) for key, value in inputs.items()}


def outputs_in_new_process(model: Path, prompts: Sequence[Prompt], max_pixels: int | None) -> ReferenceOutputs:
    """Outputs of a checkpoint folder, computed in a new process so that nothing in memory can influence them.

    Raises:
        UserError: the checkpoint does not load or run there.
    """
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_json(folder / "prompts.json", {"prompts": [asdict(p) for p in prompts], "max_pixels": max_pixels})
        arguments = [str(model), str(folder / "prompts.json"), str(folder)]
        done = subprocess.run(
            [sys.executable, "-m", "finetune.export.reference_outputs", *arguments], capture_output=True, text=True,
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}, check=False,
        )  # fmt: skip
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"{model}: does not work in a new process ({last})")
        stored = json.loads((folder / "outputs.json").read_text(encoding="utf-8"))
        logits = load_file(folder / "logits.safetensors")["logits"]
    return ReferenceOutputs(logits, stored["answers"], stored["prompt_tokens"])


@dataclass(frozen=True, slots=True)
class Parity:
    """How close a model's outputs are to the adapter model's.

    Attributes:
        prompts, tokens: how many were compared.
        held_out: whether no stage was trained on the prompts.
        error: |other - adapter| / |adapter|, norms over all logits of the reference answers.
        agreement: share of answer tokens with the same most likely token.
        answers: share of prompts with the same greedy answer.
        prompt_tokens: share of prompts with the same token ids.
        passed: error ≤ 0.05, agreement ≥ 0.97, answers ≥ 0.9 and all prompts the same.
    """

    prompts: int
    tokens: int
    held_out: bool
    error: float
    agreement: float
    answers: float
    prompt_tokens: float
    passed: bool


def compare(wanted: ReferenceOutputs, got: ReferenceOutputs, prompts: list[Prompt]) -> Parity:
    """Parity of two models' outputs on the same prompts."""
    error = float((wanted.logits - got.logits).norm() / wanted.logits.norm())
    agreement = float((wanted.logits.argmax(1) == got.logits.argmax(1)).double().mean())
    answers = _share_equal(wanted.answers, got.answers)
    same = _share_equal([prompt.tokens for prompt in prompts], got.prompt_tokens)
    passed = error <= MAX_ERROR and agreement >= MIN_AGREEMENT and answers >= MIN_ANSWERS and same == 1.0
    held_out = all(prompt.held_out for prompt in prompts)
    return Parity(len(prompts), len(wanted.logits), held_out, error, agreement, answers, same, passed)


def _share_equal(left: Sequence[object], right: Sequence[object]) -> float:
    return sum(a == b for a, b in zip(left, right, strict=True)) / max(len(left), 1)


def parity_sentence(parity: Parity) -> str:
    """The figures of a comparison in a sentence."""
    kind = "held-out" if parity.held_out else "training"
    return (
        f"on {parity.prompts} {kind} rows relative logit error {parity.error:.4f}, same top token "
        f"{parity.agreement:.1%}, same greedy answer {parity.answers:.0%}, same prompt {parity.prompt_tokens:.0%}"
    )


def main() -> None:
    """Write ``outputs.json`` and ``logits.safetensors`` for a checkpoint folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("model", "prompts", "out"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    from safetensors.torch import save_file
    from transformers import AutoModelForImageTextToText

    from finetune.model.load import load_processor

    prepare_libraries()
    asked = json.loads(arguments.prompts.read_text(encoding="utf-8"))
    model: Any = AutoModelForImageTextToText.from_pretrained(arguments.model, dtype="auto", trust_remote_code=False)
    prompts = [Prompt(**line) for line in asked["prompts"]]
    outputs = reference_outputs(model.eval(), load_processor(str(arguments.model)), prompts, asked["max_pixels"])
    save_file({"logits": outputs.logits.contiguous()}, arguments.out / "logits.safetensors")
    write_json(arguments.out / "outputs.json", {"answers": outputs.answers, "prompt_tokens": outputs.prompt_tokens})


if __name__ == "__main__":
    main()
