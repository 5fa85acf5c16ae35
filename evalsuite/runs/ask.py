"""Ask a model for what is missing; replies survive ``kill -9``.

Which reply a row has never depends on what it says. Every reply is kept and used again, whether it is an answer,
a refusal, or cut off; so is an error that the request itself causes (its context is too long). Only what never
reached the model (connection, busy, 5xx, an answer that is none) is asked again by the next run. ``again`` asks
rows of a status once more because the user wants it; the replies that are replaced go to ``replaced.jsonl``, and
scores say how many there are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalsuite.backends import Backend, Reply, Request
from evalsuite.reading.read import read_answer
from evalsuite.runs.requests import RowRequest, distinct_requests
from evalsuite.store import add_replaced, read_replaced, stored_replies, write_part
from winnow.errors import UserError
from winnow.progress import Bar


def ask(
    folder: Path, backend: Backend, asked: Sequence[RowRequest], replies: dict[str, Reply], again: Sequence[str] = ()
) -> None:
    """Fill ``replies`` by request key: those on disk, and the model's for the rest, written as they come.

    The model is loaded only if something is missing. When the model is interrupted, ``replies`` holds what was
    kept.

    Args:
        again: statuses whose rows are asked once more; the new reply replaces the old one if one comes.

    Raises:
        UserError: ``again`` for a model that would say the same.
    """
    if again and backend.repeatable:
        raise UserError("--again is for servers: a model on this machine says the same when it is asked again")
    requests = distinct_requests(asked)
    replies.update(stored_replies(folder))
    status = _status_reader(asked)
    statuses = {key: status(reply) for key, reply in replies.items()} if again else {}
    chosen = {key: wanted for key, found in statuses.items() for wanted in again if wanted in found}
    missing = sum(request.key not in replies or request.key in chosen for request in requests)
    if not missing:
        return
    before = set(replies) - chosen.keys()
    try:
        with Bar("asking the model", len(requests)) as bar:
            bar.advance(len(requests) - missing)
            for part in _parts(backend, requests, before):
                kept = [reply for reply in part if not reply.retry]
                add_replaced(folder, [(replies[r.key], chosen[r.key]) for r in kept if r.key in chosen])
                if kept:
                    write_part(folder, kept)
                bar.advance(sum(reply.key not in before for reply in part))
                replies.update({reply.key: reply for reply in part if not (reply.retry and reply.key in chosen)})
    except KeyboardInterrupt:
        replies.update(stored_replies(folder))  # a part may have been written just before
        raise


def _parts(backend: Backend, requests: Sequence[Request], known: set[str]) -> Iterator[list[Reply]]:
    """Replies to what is not known; the first come from a probe of requests of a kind that none is known of.

    Raises:
        UserError: the probe shows that no request can work as it is.
    """
    seen = {request.kind for request in requests if request.key in known}
    few = list({r.kind: r for r in reversed(requests) if r.key not in known and r.kind not in seen}.values())
    probe = backend.probe(few)
    if fatal := [finding.message for finding in probe.findings if finding.fatal]:
        raise UserError("; ".join(fatal))
    for finding in probe.findings:
        print(f"warning: {finding.message}", file=sys.stderr)
    if probe.replies:
        yield list(probe.replies)
    known = known | {reply.key for reply in probe.replies}
    yield from backend.replies(requests, known.__contains__, None)


def _status_reader(asked: Sequence[RowRequest]) -> Callable[[Reply], set[str]]:
    """What a reply is to the rows that asked for it: their statuses, and ``truncated`` if it is."""
    askers: dict[str, list[RowRequest]] = {}
    for entry in asked:
        if entry.request:
            askers.setdefault(entry.request.key, []).append(entry)

    def status(reply: Reply) -> set[str]:
        found: set[str] = set()
        for entry in askers.get(reply.key, ()):
            choices, stop = entry.row.choices, entry.request.stop if entry.request else ()
            answer = read_answer(reply.raw, reply.finish_reason, entry.extraction, choices, stop)
            found |= {answer.status, *(["truncated"] if answer.truncated else [])}
        return found

    return status


def left_to_ask(replies: Mapping[str, Reply]) -> int:
    """Number of requests that the next run asks again."""
    return sum(reply.retry for reply in replies.values())


def asked_again(folder: Path, asked: Sequence[RowRequest]) -> dict[str, Any] | None:
    """How many of the rows' replies were replaced with ``again``, how often, since when, and what they had been.

    Returns:
        ``{"requests", "replies", "since", "statuses"}``, or None if none was.
    """
    keys = {entry.request.key for entry in asked if entry.request}
    found = [entry for entry in read_replaced(folder) if entry["key"] in keys]
    if not found:
        return None
    statuses = [entry["status"] for entry in found]
    return {
        "requests": len({entry["key"] for entry in found}),
        "replies": len(found),
        "since": min(entry["at"] for entry in found),
        "statuses": {name: statuses.count(name) for name in sorted(set(statuses))},
    }
