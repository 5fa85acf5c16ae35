"""From rows of a task to requests, and from replies back to rows of ``predictions.parquet``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from evalsuite.backends import Backend, Render, Reply, Request, no_answer
from evalsuite.backends.images import TaskImage, identify
from evalsuite.reading.read import Extraction
from evalsuite.reading.strip import cut_at_stop, without_special_tokens, without_thinking
from evalsuite.recipe import EvalRecipe
from evalsuite.store import base_id
from evalsuite.tasks.corrupt import Corruption, corrupted_file
from evalsuite.tasks.load import IMAGES, Task
from evalsuite.tasks.rows import TaskRow, repeat_id
from evalsuite.tasks.spec import TaskSpec
from winnow.corrections import content_hash
from winnow.files import digest_of, sha256_file
from winnow.progress import track
from winnow.rows.conversations import IMAGE_MARKER


@dataclass(frozen=True, slots=True)
class RowRequest:
    """A row of a task and the request made from it; without a request ``error`` says why.

    Attributes:
        image_keys: sha256 of the row's images as the source has them; what the model sees may be another image
            (``corrupt``) or none (``blind``).
        image_files: their absolute paths.
    """

    task: str
    row: TaskRow
    extraction: Extraction
    chat: str
    image_keys: tuple[str, ...]
    request: Request | None
    error: str | None
    image_files: tuple[str, ...] = ()


def hash_images(task: Task) -> dict[str, TaskImage]:
    """Every image that the task's rows name, by path."""
    paths = list(dict.fromkeys(path for row in task.rows for path in row.images))
    label = f"{task.spec.name}: reading images"
    return {found.path: found for found in track(identify(paths, task.image_root), label, len(paths))}


def build_requests(
    task: Task,
    images: dict[str, TaskImage],
    render: Render,
    identity: str,
    *,
    turn: int = 0,
    answered: Mapping[str, str | None] | None = None,
) -> list[RowRequest]:
    """Render every row of a turn. A row with a missing image, or that the backend refuses to render, is not asked.

    Args:
        identity: digest of the model; with chat, image bytes and generation settings it makes the request's key.
        turn: 0 for single questions and the first of a conversation, 1 for the second …
        answered: what the model answered to earlier turns, by ``sample_id``; None where it did not.
    """
    spec = task.spec
    rows = [row for row in task.rows if len(row.earlier) == turn]
    shown = _shown(task, images, rows)
    asked: list[RowRequest] = []
    for row in rows:
        files = [images[path] for path in row.images]
        seen = [] if spec.blind else [shown[path] for path in row.images]
        keys = tuple(file.key for file in files if file.key)
        error = next((file.error for file in seen if file.error), None)
        first = base_id(row.sample_id, row.repeat)
        answers = [(answered or {}).get(repeat_id(first, number)) for number in range(turn)]
        if None in answers:
            error = error or "an earlier question of the conversation has no answer"
        chat = ""
        if error is None:
            earlier = [
                (_visible(prompt, spec), answer or "") for prompt, answer in zip(row.earlier, answers, strict=True)
            ]
            chat, error = render(_visible(row.prompt, spec), len(seen), row.system, earlier)
        request = None if error else _request(spec, row, chat, seen, identity)
        kept = tuple(file.file for file in files if file.file)
        asked.append(RowRequest(spec.name, row, spec.extraction, chat, keys, request, error, kept))
    return asked


def _visible(prompt: str, spec: TaskSpec) -> str:
    return prompt.replace(IMAGE_MARKER, "") if spec.blind else prompt


def _request(spec: TaskSpec, row: TaskRow, chat: str, seen: Sequence[TaskImage], identity: str) -> Request:
    keys = tuple(file.key for file in seen if file.key)
    settings, sample = spec.generation, row.repeat if spec.samples > 1 else 0
    named = {name: value for name, value in settings.model_dump().items() if value is not None and value is not False}
    if sample:  # the first sample is what a single one would be
        named["sample"] = sample
    return Request(
        key=digest_of({"model": identity, "chat": chat, "images": keys, "generation": named}),
        chat=chat,
        images=tuple(file.file for file in seen if file.file),
        image_keys=keys,
        max_new_tokens=settings.max_new_tokens,
        stop=tuple(settings.stop),
        temperature=settings.temperature,
        seed=sample,
        logprobs=settings.logprobs,
        thinking_budget=settings.thinking_budget,
    )


def _shown(task: Task, images: dict[str, TaskImage], rows: Sequence[TaskRow]) -> dict[str, TaskImage]:
    """The images as the model sees them, by path."""
    if task.spec.corrupt is None:
        return images
    paths = list(dict.fromkeys(path for row in rows for path in row.images))
    folder = IMAGES / quote(task.spec.name, safe="") / "corrupted"
    label = f"{task.spec.name}: changing images"
    return {path: _corrupted(images[path], task.spec.corrupt, folder) for path in track(paths, label, len(paths))}


def _corrupted(image: TaskImage, corruption: Corruption, folder: Path) -> TaskImage:
    if image.file is None or image.key is None:
        return image
    try:
        file = corrupted_file(Path(image.file).read_bytes(), image.key, corruption, folder).absolute()
        return TaskImage(image.path, str(file), sha256_file(file))
    except (OSError, ValueError) as error:
        return TaskImage(image.path, None, None, f"image {image.path}: {error}")


def earlier_answers(asked: Sequence[RowRequest], replies: Mapping[str, Reply]) -> dict[str, str | None]:
    """What the model answered to each row, without its thinking, for the chat of the next turn; by ``sample_id``."""
    return {entry.row.sample_id: _answer_to(entry, replies) for entry in asked}


def _answer_to(entry: RowRequest, replies: Mapping[str, Reply]) -> str | None:
    reply = replies.get(entry.request.key) if entry.request else None
    if entry.request is None or reply is None or reply.finish_reason in ("error", "content_filter"):
        return None
    text = without_special_tokens(without_thinking(reply.raw))
    return cut_at_stop(text, entry.request.stop).strip()


def distinct_requests(asked: Sequence[RowRequest]) -> list[Request]:
    """Every request once, in order of first occurrence."""
    return list({entry.request.key: entry.request for entry in asked if entry.request}.values())


def to_row(entry: RowRequest, replies: dict[str, Reply]) -> dict[str, Any]:
    """One row of ``predictions.parquet``, not yet read or scored."""
    reply = replies.get(entry.request.key) if entry.request else None
    answer = reply or no_answer("", entry.error or "no reply", retry=entry.request is not None)
    return {
        "sample_id": entry.row.sample_id,
        "image_keys": list(entry.image_keys),
        "images": list(entry.row.images),
        "task": entry.task,
        "question": entry.row.question,
        "prompt": entry.chat,
        "raw": answer.raw,
        "references": list(entry.row.references),
        "finish_reason": answer.finish_reason,
        "input_tokens": answer.input_tokens,
        "output_tokens": answer.output_tokens,
        "seconds": answer.seconds,
        "error": answer.error,
        "reasoning": answer.reasoning,
        "confidence": answer.confidence,
        "retry": answer.retry,
        "group": entry.row.group or entry.row.sample_id,
        "repeat": entry.row.repeat,
        "facts": entry.row.facts,
        "request_key": entry.request.key if entry.request else None,
        "content_hash": content_hash(entry.image_keys, entry.row.judged),
        "choices": list(entry.row.choices),
        **{f"slice_{key}": value for key, value in entry.row.slices.items()},
    }


def select_backend(recipe: EvalRecipe) -> Backend:
    """The backend of a recipe; no weights are loaded yet.

    Raises:
        UserError: no such checkpoint or adapter, or the server cannot be reached or named.
    """
    if recipe.server is not None:
        from evalsuite.backends.server import server_backend

        return server_backend(recipe, recipe.server)
    from evalsuite.backends.transformers import local_backend

    assert recipe.model is not None
    return local_backend(recipe, recipe.model)
