"""How closely a merged checkpoint or a served model answers like the trained model, on prompts kept at training time.

``python -m finetune.export.parity MODEL PROMPTS OUT`` computes a checkpoint's outputs in a process of its own.
"""

from __future__ import annotations

import argparse
import base64
import json
import mimetypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from finetune.data.rows import open_image
from finetune.recipe import TrainRecipe
from finetune.training.prompts import Prompt, read_prompts
from winnow.errors import UserError
from winnow.files import write_json, write_text
from winnow.models import prepare_libraries
from winnow.recipe import parse_recipe
from winnow.run import read_manifest

MAX_NEW_TOKENS = 32
MAX_ERROR = 0.05
MIN_AGREEMENT = 0.97
MIN_ANSWERS = 0.9
_COMPARED_TOKENS = 32
ANSWERS = "parity_answers.json"


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


def load_adapter(recipe: TrainRecipe, run: Path) -> Any:
    """The model as it was trained, for inference: quantised base with its adapter."""
    from peft import PeftModel

    from finetune.model.load import load_base

    if recipe.decoder == "full":
        return load_base(str(run / "adapter"), quantization="none", compute_dtype=recipe.compute_dtype).eval()
    base = load_base(recipe.model, quantization=recipe.quantization, compute_dtype=recipe.compute_dtype)
    return PeftModel.from_pretrained(base, str(run / "adapter")).eval()


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
            [sys.executable, "-m", "finetune.export.parity", *arguments], capture_output=True, text=True,
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


@dataclass(frozen=True, slots=True)
class ServerParity:
    """How close a served model is to the adapter model.

    Attributes:
        answers: share of prompts with the same greedy answer.
        prompt_tokens: share of prompts with as many tokens as in training; None if the server
            reports no usage.
        differing: sample_id, adapter's answer and server's answer where the two differ.
        passed: answers ≥ 0.9, and every prompt has the same length.
    """

    url: str
    model: str
    prompts: int
    answers: float
    prompt_tokens: float | None
    differing: list[tuple[str, str, str]]
    passed: bool


def parity(run: Path, target: str, *, model: str | None, count: int, out: Path | None) -> None:
    """Compare ``target`` with a run's model.

    Args:
        target: URL of an OpenAI-compatible server, or a checkpoint folder.
        model: name of the served model; None: the first that the server lists.
        count: how many of the kept prompts to compare on.
        out: JSON file for the verdict.

    Raises:
        UserError: the run is not finished, ``target`` does not answer, or its answers differ.
    """
    recipe, prompts = open_run(run), read_prompts(run, count)
    console = Console(stderr=True, highlight=False)
    if target.startswith(("http://", "https://")):
        asked = ask_server(target, model, prompts, recipe.max_pixels)
        found = compare_server(target, asked, greedy_answers(recipe, run, prompts), prompts)
        tokens = "not reported" if found.prompt_tokens is None else f"{found.prompt_tokens:.0%}"
        console.print(f"{target}: same greedy answer {found.answers:.0%}, same number of prompt tokens {tokens}")
        verdict, passed = asdict(found), found.passed
    else:
        folder = Path(target)
        if not (folder / "config.json").is_file():
            raise UserError(f"{target}: neither a URL nor a checkpoint folder (it has no config.json)")
        from finetune.model.load import load_processor

        processor = load_processor(str(run / "adapter"))
        wanted = reference_outputs(load_adapter(recipe, run), processor, prompts, recipe.max_pixels)
        measured = compare(wanted, outputs_in_new_process(folder, prompts, recipe.max_pixels), prompts)
        console.print(f"{target}: {parity_sentence(measured)}")
        verdict, passed = {**asdict(measured), "folder": target}, measured.passed
    if out:
        write_json(out, verdict)
    if not passed:
        raise UserError(f"{target}: does not answer like {run}" + (f"; see {out}" if out else ""))


def greedy_answers(recipe: TrainRecipe, run: Path, prompts: list[Prompt]) -> list[str]:
    """The adapter model's answers; computed once and stored in the run folder."""
    stored = run / ANSWERS
    if stored.is_file():
        answers = json.loads(stored.read_text(encoding="utf-8"))
        if all(prompt.sample_id in answers for prompt in prompts):
            return [answers[prompt.sample_id] for prompt in prompts]
    from finetune.model.load import load_processor

    processor = load_processor(str(run / "adapter"))
    outputs = reference_outputs(load_adapter(recipe, run), processor, prompts, recipe.max_pixels)
    answers = {prompt.sample_id: answer for prompt, answer in zip(prompts, outputs.answers, strict=True)}
    write_text(stored, json.dumps(answers, ensure_ascii=False, indent=2) + "\n")
    return outputs.answers


def ask_server(
    url: str, model: str | None, prompts: list[Prompt], max_pixels: int | None
) -> tuple[str, list[tuple[str, int | None]]]:
    """Name of the served model, and its answer and number of prompt tokens for every prompt, at temperature 0.

    Raises:
        UserError: the server cannot be reached or refuses.
    """
    from openai import OpenAI, OpenAIError

    client = OpenAI(base_url=url, api_key=os.environ.get("OPENAI_API_KEY", "none"), max_retries=2)
    try:
        name = model or client.models.list().data[0].id
        answers = []
        for prompt in prompts:
            messages: Any = _messages(prompt, max_pixels)
            reply = client.chat.completions.create(
                model=name, messages=messages, temperature=0, max_tokens=MAX_NEW_TOKENS
            )
            text = (reply.choices[0].message.content or "").strip()
            answers.append((text, reply.usage.prompt_tokens if reply.usage else None))
    except (OpenAIError, IndexError) as error:
        raise UserError(f"{url}: does not answer ({' '.join(str(error).split())[:200]})") from error
    return name, answers


def _messages(prompt: Prompt, max_pixels: int | None) -> list[dict[str, Any]]:
    """The prompt in OpenAI's format: text parts, and images as data URIs."""
    images = iter(prompt.images)
    converted = []
    for message in prompt.messages():
        parts = [
            {"type": "image_url", "image_url": {"url": _data_uri(Path(prompt.root), next(images), max_pixels)}}
            if block["type"] == "image" else block
            for block in message["content"]
        ]  # fmt: skip
        text_only = message["role"] == "system"
        converted.append({"role": message["role"], "content": parts[0]["text"] if text_only else parts})
    return converted


def _data_uri(root: Path, name: str, max_pixels: int | None) -> str:
    from io import BytesIO

    if max_pixels is None and (kind := mimetypes.guess_type(name)[0]) in ("image/png", "image/jpeg"):
        open_image(root, name)  # the checks of training
        return f"data:{kind};base64,{base64.b64encode((root / name).read_bytes()).decode()}"
    buffer = BytesIO()
    open_image(root, name, max_pixels).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def compare_server(
    url: str, asked: tuple[str, list[tuple[str, int | None]]], wanted: list[str], prompts: list[Prompt]
) -> ServerParity:
    """Compare a server's answers and prompt lengths with the adapter model's.

    Args:
        asked: see ``ask_server``.
        wanted: the adapter model's answers.
    """
    name, got = asked
    pairs = list(zip(prompts, wanted, got, strict=True))
    differing = [(prompt.sample_id, ours, theirs) for prompt, ours, (theirs, _) in pairs if ours != theirs]
    counted = [count == len(prompt.tokens) for prompt, _, (_, count) in pairs if count is not None]
    tokens = sum(counted) / len(counted) if counted else None
    answers = 1 - len(differing) / max(len(prompts), 1)
    passed = answers >= MIN_ANSWERS and tokens in (None, 1.0)
    return ServerParity(url, name, len(prompts), answers, tokens, differing, passed)


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
