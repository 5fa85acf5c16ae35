"""Whether a merged checkpoint or a served model answers like the trained model: the command, and servers."""

from __future__ import annotations

import base64
import json
import mimetypes
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from finetune.data.rows import open_image
from finetune.data.template import TemplateForm
from finetune.export.outputs import (
    MAX_ERROR,
    MAX_NEW_TOKENS,
    Greedy,
    compare,
    load_adapter,
    open_run,
    outputs_in_new_process,
    parity_sentence,
    reference_outputs,
)
from finetune.processes import device
from finetune.recipe import TrainRecipe
from finetune.training.prompts import Prompt, read_prompts
from winnow.errors import UserError
from winnow.files import write_json
from winnow.vlm.inputs import InputSettings, cap_before

ANSWERS = "parity_answers.json"


@dataclass(frozen=True, slots=True)
class ServerParity:
    """How close a served model is to the adapter model.

    Attributes:
        answers: share of prompts with the same greedy answer.
        prompt_tokens: share of prompts with as many tokens as in training; None if the server
            reports no usage.
        differing: sample_id, adapter's answer and server's answer where the two differ.
        unexplained: how many of those part where the adapter model prefers its token by more than 5 % of the
            root mean square of its logits, the largest error that a merged model passes with.
        passed: nothing unexplained, and every prompt has the same length.
    """

    url: str
    model: str
    prompts: int
    answers: float
    prompt_tokens: float | None
    differing: list[tuple[str, str, str]]
    unexplained: int
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
    from finetune.model.load import load_processor

    recipe, prompts = open_run(run), read_prompts(run, count)
    processor = load_processor(str(run / "adapter"))
    console = Console(stderr=True, highlight=False)
    if target.startswith(("http://", "https://")):
        prompts = [prompt for prompt in prompts if not prompt.videos and not prompt.audios]
        if not prompts:
            raise UserError(f"{run}: its prompts hold videos or sounds, which servers take in no common form")
        cap = cap_before(processor, recipe.input_settings)
        asked = ask_server(target, model, prompts, recipe.input_settings, cap)
        wanted, scale = greedy_answers(recipe, run, prompts, processor)
        found = compare_server(target, asked, wanted, scale, prompts, processor.tokenizer)
        tokens = "not reported" if found.prompt_tokens is None else f"{found.prompt_tokens:.0%}"
        console.print(f"{target}: same greedy answer {found.answers:.0%}, same number of prompt tokens {tokens}")
        verdict, passed = asdict(found), found.passed
    else:
        folder = Path(target)
        if not (folder / "config.json").is_file():
            raise UserError(f"{target}: neither a URL nor a checkpoint folder (it has no config.json)")
        outputs = outputs_in_new_process(folder, prompts, recipe.input_settings, device())
        own = reference_outputs(load_adapter(recipe, run, device()), processor, prompts, recipe.input_settings)
        measured = compare(own, outputs, prompts)
        console.print(f"{target}: {parity_sentence(measured)}")
        verdict, passed = {**asdict(measured), "folder": target}, measured.passed
    if out:
        write_json(out, verdict)
    if not passed:
        raise UserError(f"{target}: does not answer like {run}" + (f"; see {out}" if out else ""))


def greedy_answers(recipe: TrainRecipe, run: Path, prompts: list[Prompt], processor: Any) -> tuple[list[Greedy], float]:
    """The adapter model's answers and the root mean square of its logits; computed once, stored in the run folder."""
    stored = run / ANSWERS
    if stored.is_file():
        kept = json.loads(stored.read_text(encoding="utf-8"))
        answers = kept.get("answers", {})
        if all(prompt.sample_id in answers for prompt in prompts):
            return [Greedy(**answers[prompt.sample_id]) for prompt in prompts], kept["scale"]
    outputs = reference_outputs(load_adapter(recipe, run, device()), processor, prompts, recipe.input_settings)
    named = {prompt.sample_id: asdict(answer) for prompt, answer in zip(prompts, outputs.answers, strict=True)}
    write_json(stored, {"scale": outputs.scale, "answers": named})
    return outputs.answers, outputs.scale


def ask_server(
    url: str, model: str | None, prompts: list[Prompt], settings: InputSettings, max_pixels: int | None,
    max_tokens: int = MAX_NEW_TOKENS,
) -> tuple[str, list[tuple[str, int | None]]]:  # fmt: skip
    """Name of the served model, and its answer and number of prompt tokens for every prompt, at temperature 0.

    Args:
        max_pixels: larger images are scaled down to this area before they are sent.
        max_tokens: limit of each answer.

    Raises:
        UserError: the server cannot be reached or refuses.
    """
    from openai import OpenAI, OpenAIError

    client = OpenAI(base_url=url, api_key=os.environ.get("OPENAI_API_KEY", "none"), max_retries=2)
    try:
        name = model or client.models.list().data[0].id
        answers = []
        for prompt in prompts:
            messages: Any = prompt_messages(prompt, max_pixels)
            tools: Any = {"tools": prompt.tools} if prompt.tools else {}
            variables = {"chat_template_kwargs": dict(settings.chat_template_kwargs)}
            reply = client.chat.completions.create(
                model=name, messages=messages, temperature=0, max_tokens=max_tokens, **tools,
                extra_body=variables if settings.chat_template_kwargs else None,
            )  # fmt: skip
            text = (reply.choices[0].message.content or "").strip()
            answers.append((text, reply.usage.prompt_tokens if reply.usage else None))
    except (OpenAIError, IndexError) as error:
        raise UserError(f"{url}: does not answer ({' '.join(str(error).split())[:200]})") from error
    return name, answers


def prompt_messages(prompt: Prompt, max_pixels: int | None) -> list[dict[str, Any]]:
    """The prompt in OpenAI's format: text parts, and images as data URIs."""
    images = iter(prompt.images)
    converted = []
    for message in prompt.messages(TemplateForm(json_arguments=True)):
        if isinstance(message["content"], str):
            converted.append(message)
            continue
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
    url: str, asked: tuple[str, list[tuple[str, int | None]]], wanted: list[Greedy], scale: float,
    prompts: list[Prompt], tokenizer: Any,
) -> ServerParity:  # fmt: skip
    """Compare a server's answers and prompt lengths with the adapter model's.

    Args:
        asked: see ``ask_server``.
        wanted, scale: see ``greedy_answers``.
    """
    name, got = asked
    triples = list(zip(prompts, wanted, got, strict=True))
    differing = [(prompt.sample_id, own.text, text) for prompt, own, (text, _) in triples if own.text != text]
    margins = [_margin_where_texts_part(own, text, tokenizer) for _, own, (text, _) in triples if own.text != text]
    unexplained = sum(margin > MAX_ERROR * scale for margin in margins)
    counted = [count == len(prompt.tokens) for prompt, _, (_, count) in triples if count is not None]
    tokens = sum(counted) / len(counted) if counted else None
    answers = 1 - len(differing) / max(len(prompts), 1)
    passed = not unexplained and tokens in (None, 1.0)
    return ServerParity(url, name, len(prompts), answers, tokens, differing, unexplained, passed)


def _margin_where_texts_part(answer: Greedy, text: str, tokenizer: Any) -> float:
    """Margin of the first token of ``answer`` with which its text is no longer the beginning of another text."""
    for place, margin in enumerate(answer.margins):
        begun = tokenizer.decode(answer.tokens[: place + 1], skip_special_tokens=True).strip().rstrip("\ufffd")
        if not text.startswith(begun):
            return margin
    return answer.margins[-1]  # the other text goes on where this one stops
