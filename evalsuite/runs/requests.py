"""From rows of a task to requests, to replies that survive ``kill -9``, and back to rows.

Which replies are kept for the next run: a server may say something else another time (it was busy, it
filtered, it was restarted), so what is no answer is never kept: failed, refused, truncated and unparsed rows
are asked again. A model on this machine decodes greedily, and a request's key holds all that decides its
words: asked again it would say the same. Everything but failures is kept of it, so that a run that was killed
loses nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalsuite.backends import Backend, Render, Reply, Request, no_answer
from evalsuite.backends.images import TaskImage, identify
from evalsuite.recipe import EvalRecipe
from evalsuite.store import stored_replies, write_part
from evalsuite.tasks.extract import STATUSES, Extraction, Status, read_answer
from evalsuite.tasks.load import Task, TaskRow
from winnow.corrections import content_hash
from winnow.files import digest_of
from winnow.progress import Bar, track


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
        limits = spec.generation.model_dump()
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


def ask(folder: Path, backend: Backend, asked: Sequence[RowRequest], replies: dict[str, Reply]) -> None:
    """Fill ``replies`` by request key: those on disk, and the model's for the rest, written as they come.

    The model is loaded only if something is missing. What may not be used again is in ``replies``, but never
    on disk. When the model is interrupted, ``replies`` holds what was kept.
    """
    requests = distinct_requests(asked)
    may_keep = _keeper(backend, asked)
    replies.update(_kept(folder, may_keep))
    missing = sum(request.key not in replies for request in requests)
    if not missing:
        return
    before = frozenset(replies)
    try:
        with Bar("asking the model", len(requests)) as bar:
            bar.advance(len(requests) - missing)
            for part in backend.replies(requests, before.__contains__, None):
                if kept := [reply for reply in part if may_keep(reply)]:
                    write_part(folder, kept)
                bar.advance(sum(reply.key not in before for reply in part))
                replies.update({reply.key: reply for reply in part})
    except KeyboardInterrupt:
        replies.update(_kept(folder, may_keep))  # a part may have been written just before
        raise


def _kept(folder: Path, may_keep: Callable[[Reply], bool]) -> dict[str, Reply]:
    return {key: reply for key, reply in stored_replies(folder).items() if may_keep(reply)}


def _keeper(backend: Backend, asked: Sequence[RowRequest]) -> Callable[[Reply], bool]:
    """Whether a reply may be used again."""
    if backend.repeatable:
        return lambda reply: reply.finish_reason != "error"
    status = _status_reader(asked)
    return lambda reply: status(reply) == "ok"


def _status_reader(asked: Sequence[RowRequest]) -> Callable[[Reply], Status | None]:
    """What a reply is to the rows that asked for it: ``ok`` if it answers all of them; None if none asked."""
    askers: dict[str, list[RowRequest]] = {}
    for entry in asked:
        if entry.request:
            askers.setdefault(entry.request.key, []).append(entry)

    def status(reply: Reply) -> Status | None:
        found = [
            read_answer(reply.raw, reply.finish_reason, entry.extraction, entry.row.choices)[1]
            for entry in askers.get(reply.key, ())
        ]
        return next((other for other in found if other != "ok"), "ok" if found else None)

    return status


def without_answer(asked: Sequence[RowRequest], replies: Mapping[str, Reply]) -> dict[str, int]:
    """Status → number of requests whose reply is no answer, only statuses that occur."""
    status = _status_reader(asked)
    counted = Counter(status(reply) for reply in replies.values())
    return {name: counted[name] for name in STATUSES if name != "ok" and counted[name]}


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
