"""Does a server or a folder answer like the trained model? Prompt tokens and greedy answers, compared."""

from __future__ import annotations

import base64
import json
import mimetypes
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from finetune.data.rows import open_image
from finetune.export.merge import load_adapter, open_run
from finetune.export.reference_outputs import (
    MIN_ANSWERS,
    compare,
    outputs_in_new_process,
    parity_sentence,
    reference_outputs,
)
from finetune.recipe import TrainRecipe
from finetune.training.prompts import Prompt, read_prompts
from winnow.errors import UserError
from winnow.files import write_json, write_text

ANSWERS = "parity_answers.json"
_MAX_NEW = 32


@dataclass(frozen=True, slots=True)
class ServerParity:
    """How close a server is to the adapter model.

    Attributes:
        answers: share of prompts with the same greedy answer.
        prompt_tokens: share of prompts for which the server counts as many tokens as training did;
            None if it reports no usage.
        differing: sample_id, the adapter's answer and the server's, where they differ.
        passed: answers ≥ 0.9, and no prompt of another length.
    """

    url: str
    model: str
    prompts: int
    answers: float
    prompt_tokens: float | None
    differing: list[tuple[str, str, str]]
    passed: bool


def parity(run: Path, target: str, *, model: str | None, count: int, out: Path | None) -> None:
    """Compare ``target`` (URL of an OpenAI-compatible server, or a checkpoint folder) with a run's model.

    Raises:
        UserError: no finished run, nothing at ``target``, or it differs.
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
    """The adapter model's answers; computed once and kept in the run folder."""
    stored = run / ANSWERS
    if stored.is_file():
        known = json.loads(stored.read_text(encoding="utf-8"))
        if all(prompt.sample_id in known for prompt in prompts):
            return [known[prompt.sample_id] for prompt in prompts]
    from finetune.model.load import load_processor

    said = reference_outputs(
        load_adapter(recipe, run), load_processor(str(run / "adapter")), prompts, recipe.max_pixels
    )
    answers = {prompt.sample_id: answer for prompt, answer in zip(prompts, said.answers, strict=True)}
    write_text(stored, json.dumps(answers, ensure_ascii=False, indent=2) + "\n")
    return said.answers


def ask_server(
    url: str, model: str | None, prompts: list[Prompt], max_pixels: int | None
) -> tuple[str, list[tuple[str, int | None]]]:
    """Name of the served model, and (answer, prompt tokens) of every prompt at temperature 0.

    Raises:
        UserError: no server there, or it refuses.
    """
    import os

    from openai import OpenAI, OpenAIError

    client = OpenAI(base_url=url, api_key=os.environ.get("OPENAI_API_KEY", "none"), max_retries=2)
    try:
        name = model or client.models.list().data[0].id
        answers = []
        for prompt in prompts:
            messages: Any = _messages(prompt, max_pixels)
            reply = client.chat.completions.create(model=name, messages=messages, temperature=0, max_tokens=_MAX_NEW)
            text = (reply.choices[0].message.content or "").strip()
            answers.append((text, reply.usage.prompt_tokens if reply.usage else None))
    except (OpenAIError, IndexError) as error:
        raise UserError(f"{url}: does not answer ({' '.join(str(error).split())[:200]})") from error
    return name, answers


def _messages(prompt: Prompt, max_pixels: int | None) -> list[dict[str, Any]]:
    """The prompt in OpenAI's form: text parts, and images as data URIs."""
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
        open_image(root, name)  # the same checks as in training
        return f"data:{kind};base64,{base64.b64encode((root / name).read_bytes()).decode()}"
    buffer = BytesIO()
    open_image(root, name, max_pixels).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def compare_server(
    url: str, asked: tuple[str, list[tuple[str, int | None]]], wanted: list[str], prompts: list[Prompt]
) -> ServerParity:
    """Answers and prompt lengths of a server against the adapter's."""
    name, got = asked
    pairs = list(zip(prompts, wanted, got, strict=True))
    differing = [(prompt.sample_id, mine, theirs) for prompt, mine, (theirs, _) in pairs if mine != theirs]
    counted = [count == len(prompt.tokens) for prompt, _, (_, count) in pairs if count is not None]
    tokens = sum(counted) / len(counted) if counted else None
    answers = 1 - len(differing) / max(len(prompts), 1)
    passed = answers >= MIN_ANSWERS and tokens in (None, 1.0)
    return ServerParity(url, name, len(prompts), answers, tokens, differing, passed)
