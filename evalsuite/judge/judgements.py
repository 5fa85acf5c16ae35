"""What a judge was asked and replied: one row of ``judgements.parquet`` a question, uncut, whatever the reply.

While a run goes on, replies lie in ``judgements/parts/``, as those of the model do. A question's key is the digest of
the judge, the prompt and the limit of the reply, so that the same question is asked once, by any run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from evalsuite.backends import Reply
from evalsuite.store import remove_parts, stored_replies
from winnow.errors import UserError
from winnow.files import atomic_path

JUDGEMENTS = "judgements.parquet"
PARTS = "judgements"  # folder of the parts


@dataclass(frozen=True, slots=True)
class Judgement:
    """One question to a judge.

    Attributes:
        task, sample_id: the row of ``predictions.parquet`` that it is about.
        place: where the row's reply stood beside another: ``first`` or ``second``; '' where it is judged alone.
        key: of the question; None where it could not be asked.
        prompt: the chat as the judge got it.
        raw: the judge's words, uncut.
        finish_reason: as of ``Reply``; ``error``: there is no verdict, and ``error`` says why.
        retry: there is no verdict for a reason that may pass, so the next run asks again.
        cut, defused: see ``evalsuite.judge.prompt.FilledPrompt``.
    """

    task: str
    sample_id: str
    place: str
    key: str | None
    prompt: str
    raw: str
    reasoning: str
    finish_reason: str
    input_tokens: int
    output_tokens: int
    error: str | None
    retry: bool
    cut: bool
    defused: bool

    @property
    def asked(self) -> str:
        """The prompt as people read it: of messages in JSON their texts."""
        try:
            messages = json.loads(self.prompt)
            return "\n\n".join(block["text"] for message in messages for block in message["content"])
        except (ValueError, KeyError, TypeError):
            return self.prompt


_TYPES = {"str": pa.string(), "int": pa.int64(), "bool": pa.bool_(), "str | None": pa.string()}
_SCHEMA = pa.schema([(field.name, _TYPES[str(field.type)]) for field in fields(Judgement)])


def write_judgements(folder: Path, judgements: Iterable[Judgement]) -> None:
    """Atomically write ``judgements.parquet`` and remove the parts, whose replies are in it."""
    table = pa.Table.from_pylist([asdict(judgement) for judgement in judgements], schema=_SCHEMA)
    with atomic_path(folder / JUDGEMENTS) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    remove_parts(folder / PARTS)
    if (folder / PARTS).is_dir():
        (folder / PARTS).rmdir()


def read_judgements(folder: Path, task: str | None = None, sample_id: str | None = None) -> dict[str, list[Judgement]]:
    """What judges replied in a finished evaluation, by task; empty if none was asked.

    Args:
        task, sample_id: only of this task, of this row.

    Raises:
        UserError: the file is no such table.
    """
    path = folder / JUDGEMENTS
    if not path.is_file():
        return {}
    wanted = [(name, "=", value) for name, value in (("task", task), ("sample_id", sample_id)) if value is not None]
    try:
        rows = pq.read_table(path, schema=_SCHEMA, filters=wanted or None).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete it and run the evaluation again") from error
    found: dict[str, list[Judgement]] = {}
    for row in rows:
        found.setdefault(row["task"], []).append(Judgement(**row))
    return found


def stored_verdicts(folder: Path) -> dict[str, Reply]:
    """Judges' replies by key, of a run that goes on and of a finished one; failures are not among them."""
    finished = {
        judgement.key: _as_reply(judgement.key, judgement)
        for listed in read_judgements(folder).values()
        for judgement in listed
        if judgement.key is not None and judgement.finish_reason != "error"
    }
    return {**finished, **stored_replies(folder / PARTS)}


def _as_reply(key: str, stored: Judgement) -> Reply:
    return Reply(
        key, stored.raw, stored.finish_reason, stored.input_tokens, stored.output_tokens, 0.0,  # type: ignore[arg-type]
        reasoning=stored.reasoning,
    )  # fmt: skip


def by_row(judgements: Sequence[Judgement]) -> Mapping[str, list[Judgement]]:
    """Judgements by sample id."""
    found: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        found.setdefault(judgement.sample_id, []).append(judgement)
    return found
