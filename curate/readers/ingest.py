"""The first step of a curation: the rows of all sources in one table, their images as files below a common root.

Rows keep the order of the input and have unique ids. Image paths are relative to the narrowest folder that holds the
images of all sources, and what links that are followed lead to: no later step needs to know of links.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.content import as_text
from curate.readers import OpenedSource, open_source, other_files
from curate.readers.base import archives_of
from curate.readers.facts import Counting, SourceFacts
from curate.readers.images.store import Fetcher, ImageStore, store_images
from curate.readers.storable import storable
from curate.recipe import MeasureSettings, RemoteSettings, SourceSettings
from curate.workspace import Workspace
from winnow.errors import UserError
from winnow.hash_index import HashIndex
from winnow.images import LINKED_OUT, is_url, locate, unavailable, unavailable_class
from winnow.progress import track
from winnow.records import BadRow, Sample, full_id, to_line
from winnow.run import Stages
from winnow.tables import write_parquet

_ROWS_TRIED = 50
Opened = Sequence[tuple[SourceSettings, OpenedSource]]


class AnotherFolderError(Exception):
    """A row has an image in a folder that the common root was not chosen for."""

    def __init__(self, folder: str) -> None:
        self.folder = folder


def first_folders(sources: Opened, store: ImageStore, fetcher: Fetcher | None) -> frozenset[str]:
    """Folders of the images of each source's first rows."""
    found: set[str] = set()
    for _, source in sources:
        own, stored = absolute(source.image_root), absolute(store.folder)
        for row in itertools.islice(source.rows(), _ROWS_TRIED):
            if isinstance(row, Sample):
                found.update(_folder_of(path, row, own, stored) or "" for path in row.image)
                found.update(stored for path in row.image if fetcher is not None and is_url(path))
    return frozenset(found - {""})


def _folder_of(path: str, sample: Sample, own: str, stored: str) -> str | None:
    """The folder that ``path`` is relative to; None for an image that could not be had."""
    if unavailable_class(path) is not None:
        return None
    return stored if path in sample.embedded else own


def common(folders: Iterable[str]) -> Path:
    """The narrowest folder that holds all of ``folders``."""
    return Path(os.path.commonpath(list(folders)))


def absolute(folder: Path) -> str:
    """The path without links, by which folders are compared here."""
    return str(folder.resolve())


def rebased_rows(
    sources: Opened, store: ImageStore, root: Path, folders: frozenset[str], max_bytes: int, fetcher: Fetcher | None
) -> Iterator[tuple[int, Sample | BadRow]]:
    """Rows of all sources, images as files, their paths below ``root``; each with the number of its source.

    Raises:
        AnotherFolderError: an image is in none of ``folders``, for which ``root`` was chosen.
    """
    stored = absolute(store.folder)
    for number, (_, source) in enumerate(sources):
        own = absolute(source.image_root)
        prefixes = {folder: os.path.relpath(folder, root) for folder in (own, stored)}
        for row in store_images(source.rows(), store, max_bytes=max_bytes, fetcher=fetcher):
            if isinstance(row, BadRow):
                yield number, row
                continue
            lies_in = [_folder_of(path, row, own, stored) for path in row.image]
            for folder in lies_in:
                if folder is not None and folder not in folders:
                    raise AnotherFolderError(folder)
            if str(source.links_within) != own or str(root) != own:
                row = _contained(row, lies_in, own, source.links_within, root)
                lies_in = [_folder_of(path, row, own, stored) for path in row.image]
            yield number, _below(row, [prefixes[folder] if folder else "." for folder in lies_in])


def _contained(sample: Sample, lies_in: Sequence[str | None], own: str, links_within: Path, root: Path) -> Sample:
    """The sample with links out of ``own`` marked as ``outside_root``: below ``root``, they would no longer leave it.

    Raises:
        AnotherFolderError: a link that may be followed leads out of ``root``.
    """
    paths = []
    for path, folder in zip(sample.image, lies_in, strict=True):
        if folder == own:
            found = locate(path, own, max_bytes=sys.maxsize, links_within=str(links_within))
            if found.detail == LINKED_OUT:
                path = unavailable("outside_root", path)
            elif found.file is not None and str(links_within) != own:
                real = Path(found.file).resolve()
                if not real.is_relative_to(root):
                    raise AnotherFolderError(str(real.parent))
        paths.append(path)
    return dataclasses.replace(sample, image=tuple(paths)) if tuple(paths) != sample.image else sample


def _below(sample: Sample, prefixes: Sequence[str]) -> Sample:
    """The sample with image paths relative to the common root; ``meta.image_path`` keeps the dataset's own paths.

    An image of the store had no path before, so only rows with files of the dataset get it.
    """
    moved = tuple(_joined(path, prefix) for path, prefix in zip(sample.image, prefixes, strict=True))
    if moved == sample.image:
        return sample
    before = sample.image[0] if len(sample.image) == 1 else list(sample.image)
    own = any(path not in sample.embedded for path in sample.image)
    meta = {**sample.meta, "image_path": before} if own else sample.meta
    return dataclasses.replace(sample, image=moved, meta=meta)


def _joined(path: str, prefix: str) -> str:
    if prefix == "." or path.startswith("/"):
        return path
    joined = os.path.normpath(f"{prefix}/{path}")
    return joined if joined.startswith(f"{prefix}/") else path  # leaves its own root: the check for it comes later


def as_files(source: OpenedSource, folder: Path, *, max_bytes: int, fetcher: Fetcher | None = None) -> OpenedSource:
    """The source with its embedded and remote images as files below ``folder``; one of plain paths stays as it is.

    Meant for evaluation sets: the rows, without their images, are held in memory.

    Raises:
        UserError: an image cannot be written.
    """
    store = ImageStore(folder)
    sources: Opened = [(SourceSettings(location=source.layout), source)]
    folders = first_folders(sources, store, fetcher) or frozenset({absolute(source.image_root)})
    while True:
        root = common(folders)
        try:
            rows = tuple(row for _, row in rebased_rows(sources, store, root, folders, max_bytes, fetcher))
        except AnotherFolderError as found:
            folders = folders | {found.folder}
        else:
            if folders == {absolute(source.image_root)}:
                root = source.image_root
            return dataclasses.replace(source, image_root=root, links_within=root.resolve(), rows=rows.__iter__)


ROWS = pa.schema(
    [
        ("position", pa.int64()),
        ("sample_id", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("images", pa.list_(pa.string())),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("question_type", pa.string()),
        ("record", pa.string()),
        ("bad_row", pa.string()),
    ]
)
_BATCH = 4096


def write_rows(
    sources: Opened,
    target: Path,
    store: ImageStore,
    *,
    max_bytes: int,
    fetcher: Fetcher | None = None,
    label: str = "read sources",
) -> tuple[Path, tuple[SourceFacts, ...]]:
    """Stream every row of every source to ``target`` (schema ``ROWS``), and embedded and remote images to ``store``.

    A row that cannot be read keeps its place, with an id made from its position and the reason in ``bad_row``.

    Args:
        max_bytes: larger embedded images are not stored; their class is ``too_large_bytes``.
        fetcher: fetches remote images; None leaves them where they are.

    Returns:
        The folder that all image paths are relative to: the narrowest that holds every folder with an image. And what
        was found in each source.

    Raises:
        UserError: two rows have the same id, or an image or the table cannot be written.
    """
    folders = first_folders(sources, store, fetcher)
    while True:
        root = common(folders or {absolute(source.image_root) for _, source in sources})
        found = [Counting(settings.location, source.layout, source.notes) for settings, source in sources]
        rows = _rows(sources, rebased_rows(sources, store, root, folders, max_bytes, fetcher), found)
        try:
            write_parquet(target, _batches(track(rows, label)), ROWS)
        except AnotherFolderError as other:  # no first row had an image there: read again
            folders = folders | {other.folder}
        else:
            root = root.relative_to(Path.cwd()) if root.is_relative_to(Path.cwd()) else root
            return root, tuple(each.facts() for each in found)


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    while batch := list(itertools.islice(rows, _BATCH)):
        yield pa.RecordBatch.from_pylist(batch, ROWS)


def _rows(
    sources: Opened, read: Iterator[tuple[int, Sample | BadRow]], found: Sequence[Counting]
) -> Iterator[dict[str, Any]]:
    seen = HashIndex()
    for position, (number, read_row) in enumerate(read):
        row = storable(read_row)
        settings, _ = sources[number]
        found[number].add(row)
        made = _bad_row(row, settings) if isinstance(row, BadRow) else row_of(row)
        first = seen.add(made["sample_id"], position)
        if first is not None:
            raise UserError(
                f"{settings.location}: id {made['sample_id']!r} occurs twice: rows {first} and {position} (from 0,"
                " over all sources); give the source another `source` or `split`, or set `ids: position` (--ids)"
            )
        yield {"position": position, **made}


def row_of(sample: Sample) -> dict[str, Any]:
    """The sample's columns, without its position."""
    kind = sample.meta.get("question_type")
    return {
        "sample_id": sample.id,
        "source": sample.source,
        "split": sample.split,
        "images": list(sample.image),
        "question": sample.question,
        "answer": sample.answer,
        "answers": list(sample.answers),
        "question_type": kind if isinstance(kind, str) else None,
        "record": to_line(sample),
        "bad_row": None,
    }


def _bad_row(row: BadRow, settings: SourceSettings) -> dict[str, Any]:
    source = settings.source or Path(settings.location).stem
    sample_id = full_id(f"bad-row-{row.position}", source, settings.split)
    record = {"id": sample_id, "meta": {"where": row.where, "bad_row": row.reason}}
    return {
        "sample_id": sample_id,
        "source": row.source or source,
        "split": row.split or settings.split,
        "images": [],
        "question": "",
        "answer": "",
        "answers": [],
        "question_type": None,
        "record": json.dumps(record, ensure_ascii=False),
        "bad_row": f"{row.where}: {row.reason}",
    }


# Raise it when readers make other rows from the same input.
VERSION = 6
# Settings that change how images are fetched, but not which ones arrive.
HOW_TO_FETCH = frozenset(
    {"concurrency", "per_host", "timeout", "deadline", "attempts", "backoff", "max_wait", "max_redirects"}
)


def read_sources(
    sources: Sequence[SourceSettings], inputs: dict[str, str], settings: MeasureSettings,
    remote: RemoteSettings | None, workspace: Workspace, stages: Stages, label: str = "",
) -> Path:  # fmt: skip
    """Write the rows of one set to ``workspace.rows``, unless they are there and nothing has changed.

    Embedded and remote images become files below ``workspace.folder``. If some were unavailable for now, the step
    stays undone and the next run tries them again.

    Returns:
        The folder that image paths are relative to.

    Raises:
        UserError: bad input, or something cannot be written.
    """
    opened = [(source, open_source(source)) for source in sources]
    wanted = remote and remote.model_dump(mode="json", exclude=set(HOW_TO_FETCH))
    key = [
        VERSION,
        [str(source.image_root) for _, source in opened],
        [[source.model_dump(mode="json", exclude={"license"}), inputs[source.location]] for source in sources],
        [settings.max_bytes, wanted and settings.max_pixels, wanted],
        [inputs.get(as_text(path)) for source in sources for path in (*other_files(source), *archives_of(source))],
    ]
    counts: Counter[str] = Counter()

    def read() -> None:
        store = ImageStore(workspace.folder)
        with contextlib.ExitStack() as stack:
            fetcher: Fetcher | None = None
            if remote is not None:
                from curate.readers.images.http import RemoteImages

                images = RemoteImages(store, remote, settings, counts)
                fetcher = stack.enter_context(images)
            title = f"{label}read{' and fetch' if remote else ''}"
            root, facts = write_rows(
                opened, workspace.rows, store, max_bytes=settings.max_bytes, fetcher=fetcher, label=title
            )
        keep_roots(stages, root, opened, label)
        stages.set(f"{label}facts", [each.model_dump(mode="json") for each in facts])
        stages.set(f"{label}unfetched", counts["remote_unavailable"])

    stages.run_if_stale(f"{label}read", key, [workspace.rows], read)
    if counts:
        _report(counts, label)
    if counts["remote_unavailable"]:
        stages.set(f"{label}read", None)
    return Path(stages.get(f"{label}root"))


def facts_of(stages: Stages, label: str = "") -> list[SourceFacts]:
    """What ``read_sources`` has found in each source of a set."""
    return [SourceFacts.model_validate(each) for each in stages.get(f"{label}facts") or []]


def keep_roots(stages: Stages, root: Path, sources: Opened, label: str = "") -> None:
    """Note the folder that image paths of a set are relative to, and the image root of each of its sources."""
    stages.set(f"{label}root", str(root))
    stages.set(f"{label}image_roots", [absolute(source.image_root) for _, source in sources])


def image_roots(stages: Stages, label: str = "") -> list[Path]:
    """The image root of each source, as ``keep_roots`` has noted it."""
    return [Path(each) for each in stages.get(f"{label}image_roots")]


def all_fetched(stages: Stages, labels: Sequence[str]) -> bool:
    """Whether no image of the sets is left that another run may get."""
    return not any(stages.get(f"{label}unfetched") for label in labels)


def _report(counts: Counter[str], label: str) -> None:
    failed: dict[str, Any] = {kind: count for kind, count in counts.items() if kind.startswith("remote_")}
    text = f"{label}images: {counts['fetched']:,} fetched, {counts['known']:,} known"
    if failed:
        text += "; failed: " + ", ".join(f"{kind} {count:,}" for kind, count in sorted(failed.items()))
    if "remote_unavailable" in failed:
        text += "; run again to try what was unavailable"
    print(text, file=sys.stderr)
