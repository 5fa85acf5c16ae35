"""Outputs of an exported model, loaded in a new process by the library that will serve it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune.data.chat import prompt_and_suffix, uses_prompt_suffix
from finetune.data.media import open_media
from finetune.data.spans import prompt_text
from finetune.export.environment import library_of, run_worker
from finetune.export.outputs import COMPARED_TOKENS, MAX_NEW_TOKENS, Greedy, ReferenceOutputs
from finetune.export.worker.answer import LOGITS, OUTPUTS, REPLIES, read_replies
from finetune.export.worker.job import Answered, AnswerJob, Method, Scored
from finetune.training.prompts import Prompt
from winnow.files import atomic_path, write_text
from winnow.vlm.inputs import InputSettings


def ask_exported(
    model: Path, folder: Path, *, method: Method, python: Path, prompts: list[Scored], questions: Path,
    batch_size: int, end_tokens: Sequence[int], device: str,
) -> None:  # fmt: skip
    """Score the prompts and ask the questions; what ``folder`` has already is not computed again.

    Args:
        python: of the environment that the library lives in.
        questions: see ``write_questions``.

    Raises:
        UserError: the checkpoint does not load or answer there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    job = AnswerJob(
        library=library_of(method), model=model.absolute(), out=folder.absolute(), prompts=prompts,
        questions=questions.absolute(), batch_size=batch_size, max_new_tokens=MAX_NEW_TOKENS,
        compared_tokens=COMPARED_TOKENS, end_tokens=sorted(end_tokens), device=device,
    )  # fmt: skip
    write_text(folder / "job.json", job.model_dump_json(indent=2))
    run_worker(python, "answer", [str((folder / "job.json").absolute())], folder / "log.txt")


def scored_prompts(
    prompts: Sequence[Prompt], processor: Any, settings: InputSettings, images: Path
) -> list[Scored]:  # fmt: skip
    """The prompts as a worker takes them, their images as PNG in ``images``."""
    images.mkdir(parents=True, exist_ok=True)
    return [_scored(number, prompt, processor, settings, images) for number, prompt in enumerate(prompts)]


def _scored(number: int, prompt: Prompt, processor: Any, settings: InputSettings, images: Path) -> Scored:
    conversation = prompt.conversation()
    if uses_prompt_suffix(processor):
        text, special = prompt_and_suffix(conversation)[0], True
    else:
        text = prompt_text(processor, conversation, settings)
        bos = processor.tokenizer.bos_token
        special = not (bool(bos) and text.startswith(bos))
    opened = open_media(conversation, Path(prompt.root), processor, settings)
    files = [images / f"prompt-{number:03d}-{place}.png" for place in range(len(opened.images))]
    for image, file in zip(opened.images, files, strict=True):
        with atomic_path(file) as temporary:
            image.save(temporary, "PNG")
    with_answer, answer = prompt.answered(processor, settings)
    start = len(prompt.tokens)
    return Scored(
        text=text, images=[file.absolute() for file in files], add_special_tokens=special,
        continuation=with_answer["input_ids"][0, start:].tolist(),
        predicted=[place - start for place in answer.nonzero()[:, 0].tolist()],
    )  # fmt: skip


def exported_outputs(folder: Path) -> tuple[ReferenceOutputs, list[Answered], dict[str, str]]:
    """What ``ask_exported`` wrote: outputs on the prompts, replies to the questions, versions of the libraries."""
    from safetensors.torch import load_file

    stored = json.loads((folder / OUTPUTS).read_text(encoding="utf-8"))
    logits = load_file(folder / LOGITS)["logits"]
    outputs = ReferenceOutputs(logits, [Greedy(**answer) for answer in stored["answers"]], stored["prompt_tokens"])
    return outputs, read_replies(folder / REPLIES), stored["packages"]
