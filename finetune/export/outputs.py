"""A model's outputs on prompts kept at training time, and how close two models' outputs are.

``python -m finetune.export.outputs MODEL PROMPTS OUT DEVICE`` computes a checkpoint's in a process of its own.
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

from finetune.recipe import TrainRecipe
from finetune.training.prompts import Prompt
from winnow.errors import UserError
from winnow.files import write_json
from winnow.recipe import parse_recipe
from winnow.run import read_manifest
from winnow.vlm.inputs import InputSettings
from winnow.vlm.models import prepare_libraries

MAX_NEW_TOKENS = 32
MAX_ERROR = 0.05
# Two logits that rounding moves by a normal error each exchange places across a gap of six errors once in 50,000.
TIE = 6.0
COMPARED_TOKENS = 32


def open_run(run: Path) -> TrainRecipe:
    """The recipe of a finished run.

    Raises:
        UserError: the run is not finished, or its recipe has keys of another version.
    """
    manifest = read_manifest(run, finish_with="finetune train RECIPE")
    try:
        return parse_recipe(manifest["recipe"], TrainRecipe, where=str(run))
    except UserError as error:
        raise UserError(f"{error}; another version of Winnow made this run: train it again with --fresh") from error


def load_adapter(recipe: TrainRecipe, run: Path, place: Any = None) -> Any:
    """The model as it was trained, for inference: quantised base with its adapter.

    Args:
        place: see ``load_base``.
    """
    from finetune.model.load import load_base
    from winnow.vlm.experts import load_adapter as load_lora

    if recipe.decoder == "full":
        adapter = str(run / "adapter")
        return load_base(adapter, quantization="none", compute_dtype=recipe.compute_dtype, place=place).eval()
    base = load_base(
        recipe.model, quantization=recipe.quantization, compute_dtype=recipe.compute_dtype,
        settings=recipe.input_settings, place=place,
    )  # fmt: skip
    return load_lora(base, run / "adapter").eval()


@dataclass(frozen=True, slots=True)
class Greedy:
    """A greedy answer of at most 32 tokens.

    Attributes:
        text: without special tokens and blanks around it.
        tokens: its token ids, a stop token included.
        margins: for each of them, the distance of the two largest logits.
    """

    text: str
    tokens: list[int]
    margins: list[float]

    def margin_at_difference(self, tokens: Sequence[int]) -> float | None:
        """Margin of the first token that differs from other ones; None if none does."""
        pairs = zip(self.tokens, tokens, strict=False)
        place = next((i for i, (own, other) in enumerate(pairs) if own != other), min(len(self.tokens), len(tokens)))
        if place == len(self.tokens) == len(tokens):
            return None
        return self.margins[place] if place < len(self.margins) else float("inf")


@dataclass(frozen=True)
class ReferenceOutputs:
    """A model's outputs on the kept prompts.

    Attributes:
        logits: float32 (answer tokens, vocabulary), predicting the first 32 tokens of each reference answer.
        answers: greedy answers.
        prompt_tokens: token ids of each prompt, from this model's processor.
    """

    logits: Any
    answers: list[Greedy]
    prompt_tokens: list[list[int]]

    @property
    def scale(self) -> float:
        """Root mean square of the logits."""
        return float(self.logits.square().mean().sqrt())


def reference_outputs(
    model: Any, processor: Any, prompts: Sequence[Prompt], settings: InputSettings
) -> ReferenceOutputs:
    """Run ``model`` on every prompt, one at a time."""
    import torch

    logits, answers, ids = [], [], []
    for prompt in prompts:
        inputs = _to_model(model, prompt.inputs(processor, settings))
        length = inputs["input_ids"].shape[1]
        ids.append(inputs["input_ids"][0].tolist())
        with_answer, answer = prompt.answered(processor, settings)
        with torch.inference_mode():
            scores = model(**_to_model(model, with_answer)).logits[0, :-1][answer[1:].to(model.device)].float().cpu()
            generated = model.generate(
                **inputs, do_sample=False, max_new_tokens=MAX_NEW_TOKENS, return_dict_in_generate=True,
                output_logits=True,
            )  # fmt: skip
        logits.append(scores[:COMPARED_TOKENS])
        chosen = generated.sequences[0, length:].tolist()
        best = torch.cat(generated.logits).float().topk(2).values
        text = processor.tokenizer.decode(chosen, skip_special_tokens=True).strip()
        answers.append(Greedy(text, chosen, (best[:, 0] - best[:, 1]).tolist()))
    return ReferenceOutputs(torch.cat(logits), answers, ids)


def _to_model(model: Any, inputs: Any) -> dict[str, Any]:
    """The inputs on the model's device, floats in its dtype."""
    inputs = {key: value for key, value in inputs.items() if key != "labels"}
    inputs = {k: v.to(model.dtype) if v.is_floating_point() else v for k, v in inputs.items()}
    return {key: value.to(model.device) for key, value in inputs.items()}


def outputs_in_new_process(
    model: Path, prompts: Sequence[Prompt], settings: InputSettings, place: Any = "cpu"
) -> ReferenceOutputs:
    """Outputs of a checkpoint folder, computed in a new process so that nothing in memory can influence them.

    Args:
        place: device of all weights.

    Raises:
        UserError: the checkpoint does not load or run there.
    """
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_json(folder / "prompts.json", {"prompts": [asdict(p) for p in prompts], "settings": asdict(settings)})
        arguments = [str(model), str(folder / "prompts.json"), str(folder), str(place)]
        done = subprocess.run(
            [sys.executable, "-m", "finetune.export.outputs", *arguments], capture_output=True, text=True,
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}, check=False,
        )  # fmt: skip
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"{model}: does not work in a new process ({last})")
        stored = json.loads((folder / "outputs.json").read_text(encoding="utf-8"))
        logits = load_file(folder / "logits.safetensors")["logits"]
    return ReferenceOutputs(logits, [Greedy(**answer) for answer in stored["answers"]], stored["prompt_tokens"])


@dataclass(frozen=True, slots=True)
class Parity:
    """How close a model's outputs are to the adapter model's.

    Attributes:
        prompts, tokens: how many were compared.
        held_out: whether no stage was trained on the prompts.
        error: |other - adapter| / |adapter|, norms over all logits of the reference answers.
        logit_error: root mean square difference of the logits.
        agreement: share of answer tokens with the same most likely token.
        answers: share of prompts with the same greedy answer.
        prompt_tokens: share of prompts with the same token ids.
        unexplained: answer tokens and greedy answers that differ where rounding cannot be why: the adapter model
            prefers its token by more than six logit errors.
        passed: error ≤ 0.05, nothing unexplained and all prompts the same.
    """

    prompts: int
    tokens: int
    held_out: bool
    error: float
    logit_error: float
    agreement: float
    answers: float
    prompt_tokens: float
    unexplained: int
    passed: bool


def compare(wanted: ReferenceOutputs, got: ReferenceOutputs, prompts: list[Prompt]) -> Parity:
    """Parity of two models' outputs on the same prompts."""
    difference = wanted.logits - got.logits
    error = float(difference.norm() / wanted.logits.norm())
    logit_error = float(difference.square().mean().sqrt())
    best, other = wanted.logits.argmax(1, keepdim=True), got.logits.argmax(1, keepdim=True)
    gaps = (wanted.logits.gather(1, best) - wanted.logits.gather(1, other)).squeeze(1)  # 0 where both are the same
    pairs = zip(wanted.answers, got.answers, strict=True)
    margins = [margin for own, its in pairs if (margin := own.margin_at_difference(its.tokens)) is not None]
    unexplained = int((gaps > TIE * logit_error).sum()) + sum(margin > TIE * logit_error for margin in margins)
    agreement = float((best == other).double().mean())
    answers = _share_equal([answer.text for answer in wanted.answers], [answer.text for answer in got.answers])
    same = _share_equal([prompt.tokens for prompt in prompts], got.prompt_tokens)
    held_out = all(prompt.held_out for prompt in prompts)
    return Parity(
        prompts=len(prompts), tokens=len(wanted.logits), held_out=held_out, error=error, logit_error=logit_error,
        agreement=agreement, answers=answers, prompt_tokens=same, unexplained=unexplained,
        passed=error <= MAX_ERROR and not unexplained and same == 1.0,
    )  # fmt: skip


def _share_equal(left: Sequence[object], right: Sequence[object]) -> float:
    return sum(a == b for a, b in zip(left, right, strict=True)) / max(len(left), 1)


def parity_sentence(parity: Parity) -> str:
    """The figures of a comparison in a sentence."""
    kind = "held-out" if parity.held_out else "training"
    limit = f" (more than {MAX_ERROR})" if parity.error > MAX_ERROR else ""
    return (
        f"on {parity.prompts} {kind} rows relative logit error {parity.error:.4f}{limit}, same top token "
        f"{parity.agreement:.1%}, same greedy answer {parity.answers:.0%}, same prompt {parity.prompt_tokens:.0%}, "
        f"{parity.unexplained} differences beyond rounding"
    )


def main() -> None:
    """Write ``outputs.json`` and ``logits.safetensors`` for a checkpoint folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("model", "prompts", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("device")
    arguments = parser.parse_args()
    from safetensors.torch import save_file
    from transformers import AutoModelForImageTextToText

    from finetune.model.load import load_processor

    prepare_libraries()
    asked = json.loads(arguments.prompts.read_text(encoding="utf-8"))
    model: Any = AutoModelForImageTextToText.from_pretrained(
        arguments.model, dtype="auto", device_map={"": arguments.device}, trust_remote_code=False
    )
    prompts = [Prompt(**line) for line in asked["prompts"]]
    outputs = reference_outputs(
        model.eval(), load_processor(str(arguments.model)), prompts, InputSettings(**asked["settings"])
    )
    save_file({"logits": outputs.logits.contiguous()}, arguments.out / "logits.safetensors")
    write_json(
        arguments.out / "outputs.json",
        {"answers": [asdict(answer) for answer in outputs.answers], "prompt_tokens": outputs.prompt_tokens},
    )


if __name__ == "__main__":
    main()
