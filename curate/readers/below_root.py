"""Image paths of all sources below one common root.

They are relative to the narrowest folder that holds the images of all sources, and what links that are followed lead
to: no later step needs to know of links.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from curate.readers import OpenedSource
from curate.readers.images.store import Fetcher, ImageStore, store_images
from curate.settings.sources import SourceSettings
from winnow.media.images import LINKED_OUT
from winnow.media.locate import locate, unavailable, unavailable_class
from winnow.remote.addresses import shown
from winnow.rows.records import BadRow, Sample

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
                found.update(stored for path in row.image if fetcher is not None and fetcher.takes(path))
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


@dataclasses.dataclass(frozen=True)
class Below:
    """Puts the image paths of one source below the common root.

    Attributes:
        root: the common root.
        folders: those that it was chosen for.
        own: the source's image root, absolute.
        stored: the folder of the image store, absolute.
        links_within: the folder that links below ``own`` may lead into.
    """

    root: str
    folders: frozenset[str]
    own: str
    stored: str
    links_within: str

    @classmethod
    def of(cls, source: OpenedSource, store: ImageStore, root: Path, folders: frozenset[str]) -> Below:
        """For the rows of ``source``."""
        return cls(str(root), folders, absolute(source.image_root), absolute(store.folder), str(source.links_within))

    def key(self) -> list[Any]:
        """What the rows depend on, JSON-able; not where the image store is, unless their paths say so."""
        return [
            shown(self.own), shown(self.links_within), self._prefixes[self.own], self.own in self.folders,
            self.root == self.own, self._prefixes[self.stored] if self.stored in self.folders else None,
        ]  # fmt: skip

    @property
    def keeps_paths(self) -> bool:
        """Whether paths of files stay as they are."""
        return self.root == self.own == self.links_within

    def put(self, sample: Sample) -> Sample:
        """The sample, whose images are files, with their paths below the root.

        Raises:
            AnotherFolderError: an image is in none of ``folders``.
        """
        lies_in = [_folder_of(path, sample, self.own, self.stored) for path in sample.image]
        for folder in lies_in:
            if folder is not None and folder not in self.folders:
                raise AnotherFolderError(folder)
        if not self.keeps_paths:
            sample = _contained(sample, lies_in, self.own, self.links_within, self.root)
            lies_in = [_folder_of(path, sample, self.own, self.stored) for path in sample.image]
        return _below(sample, [self._prefixes[folder] if folder else "." for folder in lies_in])

    @functools.cached_property
    def _prefixes(self) -> dict[str, str]:
        return {folder: os.path.relpath(folder, self.root) for folder in (self.own, self.stored)}


def rebased_rows(
    source: OpenedSource, store: ImageStore, below: Below, max_bytes: int, fetcher: Fetcher | None
) -> Iterator[Sample | BadRow]:
    """Rows of a source, images as files, their paths below the common root.

    Raises:
        AnotherFolderError: an image is in none of the folders for which the root was chosen.
    """
    for row in store_images(source.rows(), store, max_bytes=max_bytes, fetcher=fetcher):
        yield row if isinstance(row, BadRow) else below.put(row)


def _contained(sample: Sample, lies_in: Sequence[str | None], own: str, links_within: str, root: str) -> Sample:
    """The sample with links out of ``own`` marked as ``outside_root``: below ``root``, they would no longer leave it.

    Raises:
        AnotherFolderError: a link that may be followed leads out of ``root``.
    """
    paths = []
    for path, folder in zip(sample.image, lies_in, strict=True):
        if folder == own:
            found = locate(path, own, max_bytes=sys.maxsize, links_within=links_within)
            if found.detail == LINKED_OUT:
                path = unavailable("outside_root", path)
            elif found.file is not None and links_within != own:
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
