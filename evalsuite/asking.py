"""From tasks to requests, and from requests to replies that survive ``kill -9``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from curate.atomic import digest_of
from curate.progress import Bar, track
from evalsuite.backends import Reply, Request
from evalsuite.backends.chat import control_token_in, render
from evalsuite.backends.pictures import ImageFile, identify
from evalsuite.recipe import EvalRecipe
from evalsuite.store import stored_replies, write_part
from evalsuite.task import Task, TaskRow


@dataclass(frozen=True, slots=True)
class Asked:
    """A row of a task and the request made from it; without a request ``error`` says why."""

    task: str
    row: TaskRow
    chat: str
    image_keys: tuple[str, ...]
    request: Request | None
    error: str | None


def hash_images(task: Task) -> dict[str, ImageFile]:
    """Every image that the task's rows name, by path."""
    paths = list(dict.fromkeys(path for row in task.rows for path in row.images))
    label = f"{task.spec.name}: reading images"
    return {found.path: found for found in track(identify(paths, task.image_root), label, len(paths))}


def build_requests(task: Task, images: dict[str, ImageFile], processor: Any, model: str) -> list[Asked]:
    """Render every row. A row with a missing image or a control token in its text is not asked.

    Args:
        model: digest of the model; with chat, image bytes and limits it makes the request's key.
    """
    spec = task.spec
    asked: list[Asked] = []
    for row in task.rows:
        files = [images[path] for path in row.images]
        keys = tuple(file.key for file in files if file.key)
        error = next((file.error for file in files if file.error), None)
        if error is None and (token := control_token_in(row.prompt, processor.tokenizer)):
            error = f"the question holds the control token {token!r}"
        if error is not None:
            asked.append(Asked(spec.name, row, "", keys, None, error))
            continue
        chat = render(processor, row.prompt, len(files), spec.system)
        limits = spec.generation.model_dump()
        request = Request(
            key=digest_of({"model": model, "chat": chat, "images": keys, "generation": limits}),
            chat=chat,
            images=tuple(file.file for file in files if file.file),
            image_keys=keys,
            max_new_tokens=spec.generation.max_new_tokens,
            stop=tuple(spec.generation.stop),
        )
        asked.append(Asked(spec.name, row, chat, keys, request, None))
    return asked


def collect_replies(recipe: EvalRecipe, asked: Sequence[Asked], processor: Any) -> dict[str, Reply]:
    """Replies by request key: those on disk, and the model's for the rest, written as they come.

    The model is loaded only if something is missing. Requests with equal keys are asked once.
    """
    requests = list({entry.request.key: entry.request for entry in asked if entry.request}.values())
    replies = stored_replies(recipe.folder)
    missing = sum(request.key not in replies for request in requests)
    if not missing:
        return replies
    from evalsuite.backends.loading import load_model
    from evalsuite.backends.transformers import answers

    loaded = load_model(recipe.model, processor)
    before = dict(replies)
    with Bar("asking the model", len(requests)) as bar:
        bar.advance(len(requests) - missing)
        for unit in answers(
            loaded,
            requests,
            batch_size=recipe.batch_size,
            share_prefix=recipe.model.share_prefix,
            known=before.__contains__,
        ):
            write_part(recipe.folder, unit)
            bar.advance(sum(reply.key not in before for reply in unit))
            replies.update({reply.key: reply for reply in unit})
    return replies


def to_row(entry: Asked, replies: dict[str, Reply]) -> dict[str, Any]:
    """One row of ``predictions.parquet``, not yet read or scored."""
    reply = replies.get(entry.request.key) if entry.request else None
    failed = Reply("", "", "error", 0, 0, 0.0, entry.error or "no reply")
    answer = reply or failed
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
        "request_key": entry.request.key if entry.request else None,
        **{f"slice_{key}": value for key, value in entry.row.slices.items()},
    }
