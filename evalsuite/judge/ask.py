"""Ask a judge about the replies of a task; its replies survive ``kill -9``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalsuite.backends import Backend, Render, Reply, Request, no_answer
from evalsuite.judge.judgements import PARTS, Judgement, stored_verdicts
from evalsuite.judge.prompt import FilledPrompt, fill
from evalsuite.judge.settings import JudgeSettings
from evalsuite.metrics.base import Row
from evalsuite.reading.read import Extraction, read_answer
from evalsuite.store import open_predictions, write_part
from winnow.errors import UserError
from winnow.files import digest_of
from winnow.progress import Bar
from winnow.rows.records import majority

_WHOLE = Extraction(choices=[], rule="verbatim", strip=["thinking", "special_tokens"])
_COMPARED = ["task", "sample_id", "raw", "finish_reason"]  # columns of another evaluation


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """A question to a judge about one row; without a request ``error`` says why it cannot be asked."""

    sample_id: str
    place: str
    filled: FilledPrompt | None
    chat: str
    request: Request | None
    error: str | None


def reply_text(row: Row, stop: Sequence[str] = ()) -> str:
    """The whole reply of a row as a judge reads it: without thinking, '' where there is none."""
    if row["finish_reason"] == "error":
        return ""
    raw = row["raw"] or ""
    read = read_answer(raw, "stop", _WHOLE, (), stop)
    return read.answer or (raw.strip() if read.status == "refused" else "")


def other_replies(settings: JudgeSettings, task: str, rows: Sequence[Row]) -> dict[str, str]:
    """What each row's reply is compared with, by sample id: another evaluation's reply, or the row's reference.

    Raises:
        UserError: the other evaluation is not finished, or holds no row of the task.
    """
    if settings.against is None:
        return {row["sample_id"]: majority(row["references"]) for row in rows}
    found = {
        row["sample_id"]: reply_text(row)
        for batch in open_predictions(settings.against).iter_batches(columns=_COMPARED)
        for row in batch.to_pylist()
        if row["task"] == task
    }
    if not any(row["sample_id"] in found for row in rows):
        raise UserError(
            f"task {task}: {settings.against} holds none of its rows; `judge.against` must be an evaluation of it"
        )
    return found


def judge_requests(
    settings: JudgeSettings, task: str, rows: Sequence[Row], render: Render, identity: str, stop: Sequence[str] = ()
) -> Iterator[JudgeRequest]:
    """The questions about each row that has a reply: one, or two where the rubric compares replies.

    Args:
        render: of the judge's backend.
        identity: digest of the judge.
        stop: texts that end an answer of the task.
    """
    rubric = settings.rubric
    others = other_replies(settings, task, rows) if rubric.compares else {}
    limit = settings.max_new_tokens or rubric.max_new_tokens
    for row in rows:
        reply = reply_text(row, stop)
        if not reply:
            continue
        values = {
            **{name: fact for name, fact in json.loads(row.get("facts") or "{}").items() if fact is not None},
            "question": row["question"],
            "references": row["references"],
            "options": row.get("choices") or (),
        }
        if rubric.compares:
            other = others.get(row["sample_id"], "")
            if not other:
                yield JudgeRequest(row["sample_id"], "first", None, "", None, "there is no other reply to compare with")
                continue
            asked = [("first", {"first": reply, "second": other}), ("second", {"first": other, "second": reply})]
        else:
            asked = [("", {"prediction": reply})]
        for place, replies in asked:
            yield _request(settings, row["sample_id"], place, {**values, **replies}, render, identity, limit)


def _request(
    settings: JudgeSettings, sample_id: str, place: str, values: Mapping[str, Any], render: Render, identity: str,
    limit: int,
) -> JudgeRequest:  # fmt: skip
    if missing := settings.rubric.places - values.keys():
        return JudgeRequest(
            sample_id, place, None, "", None, f"the row has no {min(missing)}, which the rubric asks for"
        )
    filled = fill(settings.rubric, values)
    chat, error = render(filled.text, 0, settings.rubric.system)
    if error is not None:
        return JudgeRequest(sample_id, place, filled, "", None, error)
    key = digest_of({"judge": identity, "chat": chat, "max_new_tokens": limit})
    return JudgeRequest(sample_id, place, filled, chat, Request(key, chat, (), (), limit, ()), None)


def ask_judge(
    folder: Path, backend: Backend, settings: JudgeSettings, task: str, rows: Sequence[Row], stop: Sequence[str] = ()
) -> list[Judgement]:
    """What the judge says about every row: as stored in ``folder``, and asked for where nothing is.

    No verdict is asked for again because of what it says; only a question to which no reply came is.

    Raises:
        UserError: the judge cannot be asked; its replies so far are stored.
    """
    asked = list(judge_requests(settings, task, rows, backend.renderer(), backend.identity, stop))
    requests = list({entry.request.key: entry.request for entry in asked if entry.request}.values())
    stored = stored_verdicts(folder)
    replies = {request.key: stored[request.key] for request in requests if request.key in stored}
    known = frozenset(replies)
    if len(known) < len(requests):
        with Bar(f"{task}: asking the judge", len(requests)) as bar:
            bar.advance(len(known))
            for part in backend.replies(requests, known.__contains__, None):
                if kept := [reply for reply in part if reply.finish_reason != "error"]:
                    write_part(folder / PARTS, kept)
                bar.advance(sum(reply.key not in known for reply in part))
                replies.update({reply.key: reply for reply in part})
    return [_judgement(task, entry, replies) for entry in asked]


def _judgement(task: str, entry: JudgeRequest, replies: Mapping[str, Reply]) -> Judgement:
    reply = replies.get(entry.request.key) if entry.request else None
    answer = reply or no_answer("", entry.error or "no reply")
    return Judgement(
        task=task,
        sample_id=entry.sample_id,
        place=entry.place,
        key=entry.request.key if entry.request else None,
        prompt=entry.chat,
        raw=answer.raw,
        reasoning=answer.reasoning,
        finish_reason=answer.finish_reason,
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        error=answer.error,
        retry=answer.retry,
        cut=entry.filled is not None and entry.filled.cut,
        defused=entry.filled is not None and entry.filled.defused,
    )
