"""The rows of a task, read from its source, their images as files."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from curate.settings.signals import MeasureSettings
from evalsuite.store import base_id
from evalsuite.tasks.references import fit_references
from evalsuite.tasks.repeats import repeated
from evalsuite.tasks.rows import TaskRow, repeat_id, rows_of
from evalsuite.tasks.spec import TaskSpec, places
from winnow.errors import UserError
from winnow.media.locate import is_url
from winnow.rows.lines import check_unique
from winnow.rows.records import BadRow, Sample

if TYPE_CHECKING:
    from curate.readers import OpenedSource

# Where images lie that a benchmark carries inside its tables, or names by web addresses.
IMAGES = Path("data/cache/tasks")


@dataclass(frozen=True)
class Task:
    """A task with its rows loaded.

    Attributes:
        rows: in input order; all asks of a row stand together.
        bad_rows: rows of the source that are no sample, as ``place: reason``.
        unscorable: ids of rows that are not asked → why.
        notes: what scores of this task must be read with: how it is asked, and which references were changed.
    """

    spec: TaskSpec
    image_root: Path
    rows: list[TaskRow]
    bad_rows: list[str]
    unscorable: dict[str, str]
    notes: list[str]


def load_task(spec: TaskSpec, *, limit: int | None, seed: int) -> Task:
    """Read the rows of a task, in input order; ``limit`` draws that many at random and keeps the order.

    Images that the source carries or that are fetched become files below ``IMAGES``. An image that
    cannot be fetched costs its row; the next run tries again.

    Raises:
        UserError: the source cannot be read, ids repeat, no row can be scored, all images are behind
            URLs and the task does not say to fetch them, the task names a key that no row has, or its references
            do not fit its extraction.
    """
    try:
        opened = _opened(spec)
    except UserError as error:
        get = f"; its data: {spec.benchmark.data}" if spec.benchmark else ""
        raise UserError(f"task {spec.name}: {error}; `source:` in the task says where its data lies{get}") from error
    bad: list[str] = []
    unscorable: dict[str, str] = {}
    questions: list[list[TaskRow]] = []  # of each row of the source

    def samples() -> Iterator[Sample]:
        for row in opened.rows():
            if isinstance(row, BadRow):
                bad.append(f"{row.where}: {row.reason}")
            else:
                yield row

    known, ids = {"question"}, set[str]()
    for sample in check_unique(samples()):
        assert isinstance(sample, Sample)
        known |= sample.meta.keys()
        ids.add(sample.id)
        try:
            questions.append(rows_of(sample, spec))
        except ValueError as error:
            unscorable[sample.id] = str(error)
    if not questions:
        raise UserError(
            f"task {spec.name}: {spec.source.location} holds no row with a question and an answer{_first(unscorable)}"
        )
    _check_keys(spec, known)
    rows, lost, notes = fit_references([row for asked in questions for row in asked], spec)
    rows, after = _with_their_earlier_turns(rows, lost)
    unscorable |= lost | after
    if spec.remote is None and any(row.images for row in rows) and all(map(_behind_urls, rows)):
        raise UserError(f"task {spec.name}: its images are web addresses; `remote: {{}}` in the task fetches them")
    drawn = _drawn(rows, spec, limit, seed)
    if len(drawn) < len(rows):
        notes.insert(0, f"{len(drawn):,} of {len(rows):,} questions were asked, drawn at random with seed {seed}")
    rows = repeated(drawn, spec)
    if taken := next((row.sample_id for row in rows if row.repeat and row.sample_id in ids), None):
        raise UserError(
            f"task {spec.name}: {taken!r} would be the id of a repeated row, but the source has a row of that id; "
            "`source: {ids: position}` gives its rows other ids"
        )
    return Task(spec, opened.image_root, rows, bad, unscorable, [*ways_of_asking(spec), *notes])


def ways_of_asking(spec: TaskSpec) -> list[str]:
    """What makes the scores of a task other than those of the plain question, as clauses."""
    ways = {
        "asked without the images": spec.blind,
        f"images changed before asking: {spec.corrupt.label if spec.corrupt else ''}": spec.corrupt,
        "of conversations only the first question was asked": spec.turns == "first",
        "each question asked once for every rotation of its options": spec.repeat,
        f"each question asked {spec.samples} times at temperature {spec.generation.temperature}": spec.samples > 1,
    }
    return [way for way, used in ways.items() if used]


def _with_their_earlier_turns(rows: list[TaskRow], lost: Mapping[str, str]) -> tuple[list[TaskRow], dict[str, str]]:
    """The rows without those that follow a turn that is not asked, and the ids of those with the reason."""
    after = {
        row.sample_id: "an earlier question of the conversation cannot be scored"
        for row in rows
        if any(repeat_id(_source_row(row), turn) in lost for turn in range(len(row.earlier)))
    }
    return [row for row in rows if row.sample_id not in after], after


def _first(unscorable: Mapping[str, str]) -> str:
    return "".join(f" (row {name!r}: {reason})" for name, reason in list(unscorable.items())[:1])


def _check_keys(spec: TaskSpec, known: set[str]) -> None:
    """Refuse keys that no row has."""
    listed = ", ".join(sorted(known))
    if unknown := places(spec.prompt) - known - ({"options"} if spec.options else set()):
        raise UserError(
            f"task {spec.name}: its prompt asks for {{{min(unknown)}}}, which no row has; rows have {listed}"
        )
    for name, keys in (("group", [spec.group]), ("options", [spec.options]), ("facts", spec.facts)):
        if lost := [key for key in keys if key and not {key, key.split(".")[0]} & known]:
            raise UserError(f"task {spec.name}: `{name}` names {lost[0]!r}, which no row has; rows have {listed}")


def _drawn(rows: list[TaskRow], spec: TaskSpec, limit: int | None, seed: int) -> list[TaskRow]:
    """At most ``limit`` rows of the source drawn at random, in order: each with all its turns, groups whole."""
    names = list(dict.fromkeys(_source_row(row) for row in rows))
    if limit is None or limit >= len(names):
        return rows
    rng = random.Random(seed)
    if spec.group is None:
        chosen = {names[i] for i in rng.sample(range(len(names)), limit)}
        return [row for row in rows if _source_row(row) in chosen]
    members: dict[str, set[str]] = {}
    for row in rows:
        members.setdefault(row.group, set()).add(_source_row(row))
    drawn, count = set[str](), 0
    for group in rng.sample(list(members), len(members)):
        if count + len(members[group]) <= limit:
            drawn.add(group)
            count += len(members[group])
    if not drawn:
        smallest = min(map(len, members.values()))
        raise UserError(f"task {spec.name}: a limit of {limit} rows holds no whole group; the smallest has {smallest}")
    return [row for row in rows if row.group in drawn]


def _source_row(row: TaskRow) -> str:
    return base_id(row.sample_id, row.repeat)


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
