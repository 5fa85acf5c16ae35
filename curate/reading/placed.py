"""Images of several sources as files below one folder, every path relative to it."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from curate.readers import OpenedSource
from curate.readers.images import Fetcher, ImageStore, materialised
from curate.reading.unavailable import is_url, unavailable_class
from curate.sample import BadRow, Sample
from curate.settings import SourceSettings

_ROWS_TRIED = 50
Opened = Sequence[tuple[SourceSettings, OpenedSource]]


class AnotherFolderError(Exception):
    """A row has an image in a folder that the common root was not made for."""

    def __init__(self, folder: str) -> None:
        self.folder = folder


def first_folders(sources: Opened, store: ImageStore, fetcher: Fetcher | None) -> frozenset[str]:
    """Folders that the images of each source's first rows lie in."""
    found: set[str] = set()
    for _, source in sources:
        own, stored = absolute(source.image_root), absolute(store.folder)
        for row in itertools.islice(source.rows(), _ROWS_TRIED):
            if isinstance(row, Sample):
                found.update(_folder_of(path, row, own, stored) or "" for path in row.image)
                found.update(stored for path in row.image if fetcher is not None and is_url(path))
    return frozenset(found - {""})


def _folder_of(path: str, sample: Sample, own: str, stored: str) -> str | None:
    """What ``path`` is relative to; None for images that are no files."""
    if unavailable_class(path) is not None:
        return None
    return stored if path in sample.embedded else own


def common(folders: Iterable[str]) -> Path:
    """The narrowest folder that holds all of ``folders``."""
    return Path(os.path.commonpath(list(folders)))


def absolute(folder: Path) -> str:
    """A folder as it is compared here."""
    return str(folder.absolute())


def placed_rows(
    sources: Opened, store: ImageStore, root: Path, folders: frozenset[str], max_bytes: int, fetcher: Fetcher | None
) -> Iterator[tuple[SourceSettings, Sample | BadRow]]:
    """Rows of all sources, images as files, their paths below ``root``.

    Raises:
        AnotherFolderError: an image lies in none of ``folders``, for which ``root`` was made.
    """
    stored = absolute(store.folder)
    for settings, source in sources:
        own = absolute(source.image_root)
        prefixes = {folder: os.path.relpath(folder, root) for folder in (own, stored)}
        for row in materialised(source.rows(), store, max_bytes=max_bytes, fetcher=fetcher):
            if isinstance(row, BadRow):
                yield settings, row
                continue
            lies_in = [_folder_of(path, row, own, stored) for path in row.image]
            for folder in lies_in:
                if folder is not None and folder not in folders:
                    raise AnotherFolderError(folder)
            yield settings, _below(row, [prefixes[folder] if folder else "." for folder in lies_in])


def _below(sample: Sample, prefixes: Sequence[str]) -> Sample:
    """The sample with each image path below the common root; where they stood before is kept in ``meta.image_path``.

    An image of the store was at no path before, so only files of the dataset are noted there.
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
    return joined if joined.startswith(f"{prefix}/") else path  # leaves its own root: preflight must see that


def as_files(source: OpenedSource, folder: Path, *, max_bytes: int, fetcher: Fetcher | None = None) -> OpenedSource:
    """The source with the images that it carries, or that are fetched, as files below ``folder``.

    A source of plain paths stays as it is.

    For a set that is used whole, such as an evaluation set: its rows are held in memory, without the images.

    Raises:
        UserError: an image cannot be written.
    """
    store = ImageStore(folder)
    sources: Opened = [(SourceSettings(location=source.layout), source)]
    folders = first_folders(sources, store, fetcher) or frozenset({absolute(source.image_root)})
    while True:
        root = common(folders)
        try:
            rows = tuple(row for _, row in placed_rows(sources, store, root, folders, max_bytes, fetcher))
        except AnotherFolderError as found:
            folders = folders | {found.folder}
        else:
            if folders == {absolute(source.image_root)}:
                root = source.image_root
            return dataclasses.replace(source, image_root=root, rows=rows.__iter__)
