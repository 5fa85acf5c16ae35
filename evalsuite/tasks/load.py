"""The rows of a task, read from its source, their images as files."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from curate.recipe import MeasureSettings
from evalsuite.tasks.spec import TaskSpec, filled, options_of, places, slices_of, value_at
from winnow.conversations import IMAGE_MARKER
from winnow.errors import UserError
from winnow.images import is_url
from winnow.records import BadRow, Sample, check_unique, to_record

if TYPE_CHECKING:
    from curate.readers import OpenedSource

# Where images lie that a benchmark carries inside its tables, or names by web addresses.
IMAGES = Path("data/cache/tasks")


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One question.

    Attributes:
        images: paths relative to the task's image root.
        prompt: the user turn; ``<image>`` markers stand where an image belongs, none means in front.
        references: all accepted answers, with repetition.
        slices: meta key → value as text.
        choices: texts of the options, for multiple choice.
        judged: conversations and answers as the source has them, which a reviewer's decision is about.
        group: what rows of one question have in common: the id of the source's row, or the value at the task's
            ``group``.
        repeat: 0 for the first time that a row is asked, 1 for the second …
        facts: the row's values at the task's ``facts``, as a JSON object; null without such a key.
    """

    sample_id: str
    images: tuple[str, ...]
    question: str
    prompt: str
    references: tuple[str, ...]
    slices: dict[str, str]
    choices: tuple[str, ...] = ()
    judged: dict[str, Any] = field(default_factory=dict)
    group: str = ""
    repeat: int = 0
    facts: str | None = None


@dataclass(frozen=True)
class Task:
    """A task with its rows loaded.

    Attributes:
        bad_rows: rows of the source that are no sample, as ``place: reason``.
        unscorable: ids of rows that are not asked: without any reference, or about a video or sound.
    """

    spec: TaskSpec
    image_root: Path
    rows: list[TaskRow]
    bad_rows: list[str]
    unscorable: list[str]


def load_task(spec: TaskSpec, *, limit: int | None, seed: int) -> Task:
    """Read the rows of a task, in input order; ``limit`` draws that many at random and keeps the order.

    Images that the source carries or that are fetched become files below ``IMAGES``. An image that
    cannot be fetched costs its row; the next run tries again.

    Raises:
        UserError: the source cannot be read, ids repeat, no row can be scored, or all images are behind
            URLs and the task does not say to fetch them, or its prompt asks for what no row has.
    """
    try:
        opened = _opened(spec)
    except UserError as error:
        raise UserError(f"task {spec.name}: {error}; `source:` in the task says where its data lies") from error
    bad: list[str] = []
    unscorable: list[str] = []
    rows: list[TaskRow] = []

    def samples() -> Iterator[Sample]:
        for row in opened.rows():
            if isinstance(row, BadRow):
                bad.append(f"{row.where}: {row.reason}")
            else:
                yield row

    known = {"question"}
    for sample in check_unique(samples()):
        assert isinstance(sample, Sample)
        known |= sample.meta.keys()
        if row := _row(sample, spec):
            rows.append(row)
        else:
            unscorable.append(sample.id)
    if not rows:
        raise UserError(f"task {spec.name}: {spec.source.location} holds no row with a question and an answer")
    if unknown := places(spec.prompt) - known:
        raise UserError(
            f"task {spec.name}: its prompt asks for {{{min(unknown)}}}, which no row has; "
            f"rows have {', '.join(sorted(known))}"
        )
    for name, keys in (("group", [spec.group] if spec.group else []), ("facts", spec.facts)):
        if lost := [key for key in keys if key.split(".")[0] not in known and key not in known]:
            raise UserError(
                f"task {spec.name}: `{name}` names {lost[0]!r}, which no row has; rows have {', '.join(sorted(known))}"
            )
    if spec.remote is None and any(row.images for row in rows) and all(map(_behind_urls, rows)):
        raise UserError(f"task {spec.name}: its images are web addresses; `remote: {{}}` in the task fetches them")
    if limit is not None and limit < len(rows):
        rows = [rows[i] for i in sorted(random.Random(seed).sample(range(len(rows)), limit))]
    return Task(spec, opened.image_root, rows, bad, unscorable)


def _opened(spec: TaskSpec) -> OpenedSource:
    from curate.readers import open_source
    from curate.readers.images.store import ImageStore
    from curate.readers.ingest import as_files

    source, caps = open_source(spec.source), MeasureSettings()
    # Named by content and shared by all runs: reports and reviewers look at them later.
    folder = IMAGES / quote(spec.name, safe="")
    if spec.remote is None:
        return as_files(source, folder, max_bytes=caps.max_bytes)
    from curate.readers.images.http import RemoteImages

    with RemoteImages(ImageStore(folder), spec.remote, caps) as fetcher:
        return as_files(source, folder, max_bytes=caps.max_bytes, fetcher=fetcher)


def _behind_urls(row: TaskRow) -> bool:
    return any(map(is_url, row.images)) or not row.images


def _row(sample: Sample, spec: TaskSpec) -> TaskRow | None:
    asked = next((turn.value for turn in sample.conversations if turn.role == "user"), "")
    references = sample.answers or ((sample.answer,) if sample.answer else ())
    unseen = any(sample.meta.get(key) for key in ("videos", "audios"))
    if not sample.question or not references or unseen:
        return None
    record = to_record(sample)
    in_place = sample.image and asked.count(IMAGE_MARKER) == len(sample.image)
    question = asked.strip() if in_place else sample.question
    return TaskRow(
        sample_id=sample.id,
        images=sample.image,
        question=sample.question,
        prompt=filled(spec.prompt, {**sample.meta, "question": question}),
        references=tuple(references),
        slices=slices_of({"images": len(sample.image), **sample.meta}, spec.slices),
        choices=options_of(sample.meta, spec.options),
        judged={key: record[key] for key in ("conversations", "answers") if key in record},
        group=group_of(sample, spec.group),
        facts=facts_of(sample.meta, spec.facts),
    )


def group_of(sample: Sample, key: str | None) -> str:
    """The row's value at ``key``, its id without a key or a value."""
    value = value_at(sample.meta, key) if key else None
    return sample.id if value is None else str(value)


def facts_of(meta: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    """The values at ``keys`` as a JSON object; None without keys."""
    if not keys:
        return None
    return json.dumps({key: value_at(meta, key) for key in keys}, ensure_ascii=False, default=str)
