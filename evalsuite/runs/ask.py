"""Ask a model for what is missing; replies survive ``kill -9``.

Which replies are kept for the next run: a server may say something else another time (it was busy, it
filtered, it was restarted), so what is no answer is never kept: failed, refused, truncated and unparsed rows
are asked again. A model on this machine decodes greedily, and a request's key holds all that decides its
words: asked again it would say the same. Everything but failures is kept of it, so that a run that was killed
loses nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from evalsuite.backends import Backend, Reply
from evalsuite.reading.read import STATUSES, Status, read_answer
from evalsuite.runs.requests import RowRequest, distinct_requests
from evalsuite.store import stored_replies, write_part
from winnow.progress import Bar


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
            read_answer(reply.raw, reply.finish_reason, entry.extraction, entry.row.choices, entry.request.stop).status
            for entry in askers.get(reply.key, ())
            if entry.request
        ]
        return next((other for other in found if other != "ok"), "ok" if found else None)

    return status


def without_answer(asked: Sequence[RowRequest], replies: Mapping[str, Reply]) -> dict[str, int]:
    """Status → number of requests whose reply is no answer, only statuses that occur."""
    status = _status_reader(asked)
    counted = Counter(status(reply) for reply in replies.values())
    return {name: counted[name] for name in STATUSES if name != "ok" and counted[name]}
