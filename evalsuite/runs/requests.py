"""From rows of a task to requests, and from replies back to rows of ``predictions.parquet``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evalsuite.backends import Backend, Render, Reply, Request, no_answer
from evalsuite.backends.images import TaskImage, identify
from evalsuite.reading.read import Extraction
from evalsuite.recipe import EvalRecipe
from evalsuite.tasks.load import Task, TaskRow
from winnow.corrections import content_hash
from winnow.files import digest_of
from winnow.progress import track


@dataclass(frozen=True, slots=True)
class RowRequest:
    """A row of a task and the request made from it; without a request ``error`` says why."""

    task: str
    row: TaskRow
    extraction: Extraction
    chat: str
    image_keys: tuple[str, ...]
    request: Request | None
    error: str | None


def hash_images(task: Task) -> dict[str, TaskImage]:
    """Every image that the task's rows name, by path."""
    paths = list(dict.fromkeys(path for row in task.rows for path in row.images))
    label = f"{task.spec.name}: reading images"
    return {found.path: found for found in track(identify(paths, task.image_root), label, len(paths))}


def build_requests(task: Task, images: dict[str, TaskImage], render: Render, identity: str) -> list[RowRequest]:
    """Render every row. A row with a missing image, or that the backend refuses to render, is not asked.

    Args:
        identity: digest of the model; with chat, image bytes and limits it makes the request's key.
    """
    spec = task.spec
    asked: list[RowRequest] = []
    for row in task.rows:
        files = [images[path] for path in row.images]
        keys = tuple(file.key for file in files if file.key)
        error = next((file.error for file in files if file.error), None)
        chat = ""
        if error is None:
            chat, error = render(row.prompt, len(files), spec.system)
        if error is not None:
            asked.append(RowRequest(spec.name, row, spec.extraction, "", keys, None, error))
            continue
        limits = spec.generation.model_dump(exclude_none=True)
        request = Request(
            key=digest_of({"model": identity, "chat": chat, "images": keys, "generation": limits}),
            chat=chat,
            images=tuple(file.file for file in files if file.file),
            image_keys=keys,
            max_new_tokens=spec.generation.max_new_tokens,
            stop=tuple(spec.generation.stop),
        )
        asked.append(RowRequest(spec.name, row, spec.extraction, chat, keys, request, None))
    return asked


def distinct_requests(asked: Sequence[RowRequest]) -> list[Request]:
    """Every request once, in order of first occurrence."""
    return list({entry.request.key: entry.request for entry in asked if entry.request}.values())


def to_row(entry: RowRequest, replies: dict[str, Reply]) -> dict[str, Any]:
    """One row of ``predictions.parquet``, not yet read or scored."""
    reply = replies.get(entry.request.key) if entry.request else None
    answer = reply or no_answer("", entry.error or "no reply")
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
