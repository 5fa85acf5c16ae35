"""What every export format works with: rows of a finished curation, their image files, a target, shards.

Rows come in input order, kept and flagged ones only, with their images located. Image files are checked
against what was measured before they are written anywhere.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.readers.base import folder_of
from curate.readers.fetched import here
from curate.settings.sources import SourceSettings
from curate.workspace import ASSIGNED_SPLIT, Workspace
from winnow.errors import UserError
from winnow.files import atomic_path, sha256_bytes
from winnow.media import images
from winnow.media.locate import locate
from winnow.parquet.footer import group_digests
from winnow.parquet.tables import database
from winnow.remote.addresses import local, shown
from winnow.rows.records import Sample, from_record
from winnow.run import read_manifest

ONE_SPLIT = "train"  # what a set that is not split is called
_NO_CAP = 1 << 62


class Unfit(Exception):
    """A row that the format cannot hold; the text says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row to export.

    Attributes:
        position: in the input of the curation.
        sample: the record.
        split: the split that it was assigned to, ``train`` if the set is not split.
        files: absolute path of each image.
        sizes: bytes of each image.
        keys: hex sha256 of each image when it was measured.
    """

    position: int
    sample: Sample
    split: str
    files: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    keys: tuple[str, ...] = ()


Reject = Callable[[str, str], None]  # sample_id, reason


@dataclass(frozen=True)
class Curated:
    """What exporters read of a curation.

    Attributes:
        folder: where it lies.
        name: of its recipe.
        root: folder below which its images lie.
        licenses: of its sources, each once.
        splits: names of the splits; one if the set is not split.
        sources: what it was made from, in order.
        inputs: digests of these, by location, when they were read.
        known_meta_keys: what an earlier export knows of ``meta_keys_of_blocks``.
    """

    folder: Path
    name: str
    root: Path
    licenses: tuple[str, ...] = ()
    splits: tuple[str, ...] = (ONE_SPLIT,)
    sources: tuple[SourceSettings, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    known_meta_keys: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Rows of the table, dropped ones included."""
        return int(pq.read_metadata(Workspace(self.folder).samples_table).num_rows)

    @functools.cached_property
    def block_digests(self) -> list[str]:
        """For each block of the set a digest of its rows."""
        return group_digests(Workspace(self.folder).samples_table)

    @functools.cached_property
    def meta_keys_of_blocks(self) -> dict[str, list[str]]:
        """By the digest of a block the keys under ``meta`` of its kept rows."""
        keys_of = "SELECT DISTINCT unnest(json_keys(record, '$.meta')) FROM block WHERE decision <> 'drop'"
        found: dict[str, list[str]] = {}
        with (
            database(Workspace(self.folder).work) as connection,
            pq.ParquetFile(Workspace(self.folder).samples_table) as table,
        ):
            for number, digest in enumerate(self.block_digests):
                keys = self.known_meta_keys.get(digest)
                if keys is None:
                    connection.register("block", table.read_row_group(number, columns=["decision", "record"]))
                    keys = sorted(key for (key,) in connection.execute(keys_of).fetchall())
                found[digest] = [*keys]
        return found

    @functools.cached_property
    def meta_keys(self) -> frozenset[str]:
        """Keys under ``meta`` of any kept row."""
        return frozenset(itertools.chain.from_iterable(self.meta_keys_of_blocks.values()))

    @functools.cached_property
    def _media_roots(self) -> list[str]:
        """Folders that paths of videos and the like may be relative to."""
        sources = map(here, self.sources)
        own = [Path(source.image_root) if source.image_root else folder_of(source) for source in sources]
        return list(dict.fromkeys(str(folder.resolve()) for folder in (self.root, *own)))

    def media_path(self, path: str) -> str:
        """The absolute path of a video, an audio or an image that was not measured; as it is if none is found."""
        found = (locate(path, root, max_bytes=_NO_CAP).file for root in self._media_roots)
        return shown(next((file for file in found if file), path))

    def rows(self, reject: Reject, block: int, *, images: bool = True) -> Iterator[Row | None]:
        """Kept and flagged rows of a block; None for a row that is not exported, so that progress can be counted.

        Args:
            block: its number.
            images: locate the images and reject rows with one that could not be read; otherwise ``files``,
                ``sizes`` and ``keys`` stay empty.

        Raises:
            UserError: an image that was measured is gone.
        """
        table = Workspace(self.folder).samples_table
        wanted = ["position", "sample_id", "images", "image_keys", "decision", "record"]
        if ASSIGNED_SPLIT in pq.read_schema(table).names:
            wanted.append(ASSIGNED_SPLIT)
        root = str(self.root.resolve())
        with pq.ParquetFile(table) as file:
            rows = file.read_row_group(block, columns=wanted)
        kept = rows.filter(pc.not_equal(rows["decision"], "drop"))
        yield from [None] * (rows.num_rows - kept.num_rows)
        for values in kept.to_pylist():
            yield self._row(values, root, reject) if images else self._bare(values)

    def _row(self, values: dict[str, Any], root: str, reject: Reject) -> Row | None:
        if None in values["image_keys"]:
            lost = values["images"][values["image_keys"].index(None)]
            reject(values["sample_id"], f"its image {lost} could not be read")
            return None
        located = [locate(path, root, max_bytes=_NO_CAP) for path in values["images"]]
        for path, found in zip(values["images"], located, strict=True):
            if found.file is None:
                raise UserError(
                    f"{self.root / path}: was measured and is now {found.error}; put it back or run the curation again"
                )
        return replace(
            self._bare(values),
            files=tuple(found.file for found in located if found.file),
            sizes=tuple(found.size for found in located),
            keys=tuple(values["image_keys"]),
        )

    def _bare(self, values: dict[str, Any]) -> Row:
        return Row(
            position=values["position"],
            sample=replace(from_record(json.loads(values["record"])), id=values["sample_id"]),
            split=values.get(ASSIGNED_SPLIT) or self.splits[0],
        )


def open_curated(folder: Path) -> Curated:
    """Open a finished curation for export.

    Raises:
        UserError: the folder is unfinished or is not a curation.
    """
    manifest = read_manifest(folder, finish_with="curate run RECIPE")
    if manifest.get("stage") != "curate":
        raise UserError(f"{folder}: was not made by `curate run`; give the folder of a curation")
    recipe = manifest["recipe"]
    return Curated(
        folder=folder,
        name=recipe["name"],
        root=local(manifest["image_root"]),
        licenses=tuple(dict.fromkeys(source["license"] for source in recipe["sources"] if source.get("license"))),
        splits=tuple((recipe.get("splits") or {}).get("shares") or (ONE_SPLIT,)),
        sources=tuple(SourceSettings.model_validate(source) for source in recipe["sources"]),
        inputs=manifest["inputs"],
    )


def read_image(row: Row, number: int) -> bytes:
    """The bytes of a row's image.

    Raises:
        UserError: the file has changed since it was measured.
    """
    data = Path(row.files[number]).read_bytes()
    if sha256_bytes(data) != row.keys[number]:
        raise UserError(f"{row.files[number]}: has changed since it was measured; run the curation again, then export")
    return data


def suffix_of(data: bytes) -> str:
    """``jpg``, ``png`` … by how the file begins, because loaders choose a decoder by it; ``img`` if unknown."""
    return images.suffix_of(data)[1:] or "img"  # a recipe without a rule for unreadable files keeps them


def copy_images(row: Row, folder: Path) -> list[str]:
    """Copy a row's images to ``folder/images/<2 digits>/<sha256>.<suffix>``.

    Equal images share one file, and files that an interrupted export has copied are not written again.

    Returns:
        The paths relative to ``folder``.
    """
    names = []
    for number, key in enumerate(row.keys):
        data = read_image(row, number)
        name = f"images/{key[:2]}/{key}.{suffix_of(data)}"
        if not (folder / name).is_file():
            with atomic_path(folder / name) as temporary:
                temporary.write_bytes(data)
        names.append(name)
    return names


MOST_ROWS = 20_000  # of one shard, which are held in memory (without images) until it is written


@dataclass(frozen=True)
class Target:
    """Where and how an export is written.

    Attributes:
        folder: an empty folder, or one that an interrupted run of the same export has begun to fill.
        curated: the set; each of its splits becomes a file or a series of shards.
        copy: whether images are copied into the export; otherwise rows hold their absolute paths.
        shard_bytes: size at which a shard is closed; a single row may be larger.
        reject: called with each row that the format cannot hold.
        mistakes: sample_id → question and wrong reply of an evaluated model.
        before: the folder of an earlier export, of which what has not changed may be copied; None without.
    """

    folder: Path
    curated: Curated
    copy: bool
    shard_bytes: int
    reject: Reject
    mistakes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    before: Path | None = None


class RowBlock(Protocol):
    """Rows of the set that follow each other.

    Attributes:
        key: of everything that their records are made from.
    """

    key: str

    def __iter__(self) -> Iterator[Row]:
        """The rows; when the next one is asked for, the one before is written or rejected."""
        ...

    def account(self) -> dict[str, Any] | None:
        """What has become of them, JSON-able; None if their records are made from more than ``key`` stands for."""
        ...

    def count(self, account: Mapping[str, Any]) -> None:
        """Count them as in the account of an earlier export, in place of reading them."""
        ...


class Rows(Protocol):
    """The rows of a set, for a writer: one by one, or in blocks."""

    def __iter__(self) -> Iterator[Row]:
        """The rows of all blocks."""
        ...

    def blocks(self) -> Iterator[RowBlock]:
        """The blocks, in order."""
        ...


@dataclass(frozen=True)
class Part:
    """Files of an export that are loaded together.

    Attributes:
        kind: of their rows, for formats that keep kinds apart: ``sft``, ``preference`` or ``kto``.
        files: split → name of its file, or a pattern of its shards.
    """

    kind: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class Format:
    """One export format.

    Attributes:
        write: writes all rows to the target's folder; returns what it has written, for the card. Empty if loaders
            find the files by folder.
        load: kind of a part → Markdown that shows how to load it, '' for all other kinds;
            ``export.write_readme`` fills in the placeholders.
        images: whether rows are exported with their images; otherwise an image that is not there costs no row.
    """

    write: Callable[[Rows, Target], Sequence[Part]]
    load: Mapping[str, str]
    images: bool = True


@dataclass(frozen=True)
class Shard:
    """Rows that go into one file: ``<split>-<number>``."""

    split: str
    number: int
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        """Without suffix."""
        return f"{self.split}-{self.number:05d}"


def shards(rows: Iterable[Row], limit: int, size_of: Callable[[Row], int]) -> Iterator[Shard]:
    """Cut the rows of each split, in order, into shards of at most ``limit`` bytes (by ``size_of``) and 20,000 rows.

    The cut depends on the rows and the limit only, so an interrupted export finds its finished shards again.
    """
    waiting: dict[str, list[Row]] = {}
    held: dict[str, int] = {}
    numbers: dict[str, int] = {}

    def close(split: str) -> Shard:
        shard = Shard(split, numbers.get(split, 0), tuple(waiting.pop(split)))
        numbers[split] = shard.number + 1
        held[split] = 0
        return shard

    for row in rows:
        size = size_of(row)
        begun = waiting.get(row.split)
        if begun and (held[row.split] + size > limit or len(begun) >= MOST_ROWS):
            yield close(row.split)
        waiting.setdefault(row.split, []).append(row)
        held[row.split] = held.get(row.split, 0) + size
    for split in list(waiting):
        yield close(split)
