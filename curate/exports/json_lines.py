"""Exports with one JSON object a line, a file for each split; and Winnow's own records in that form.

``datasets`` takes the columns of a file from its first lines, so that all lines of a file have the same keys, and rows
of different kinds (``curate.exports.training``) go to different files: ``train.jsonl`` with rows of one kind, otherwise
also ``train-preference.jsonl`` and ``train-kto.jsonl``.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from curate.exports.rows import Format, Part, Row, Rows, Target, Unfit, copy_images
from winnow.files import digest_of, read_json, write_json
from winnow.remote.addresses import shown
from winnow.rows.records import to_record

# Row, paths of its images, target → kind of the row ('' where the format knows one kind only) and its record.
RecordOf = Callable[[Row, list[str], Target], tuple[str, dict[str, Any]]]
ImagesOf = Callable[[Row, Path], list[str]]  # row, folder of the export → its images as the record names them


BLOCKS = "blocks.json"  # what the next export copies of this one


class Lines(NamedTuple):
    """Records of a block that go into one file.

    Attributes:
        data: the records, without a separator at the end.
        new: of each record that fills places which none before it in the block fills: where in ``data`` it begins, its
            size, and all places that it fills.
    """

    data: bytes | memoryview
    new: list[tuple[int, int, list[list[str]]]]


def write_lines(
    rows: Rows,
    target: Target,
    record_of: RecordOf,
    *,
    kinds: Sequence[str] = ("",),
    names: str = "{split}{-kind}.jsonl",
    copied: ImagesOf = copy_images,
    in_order: bool = False,
) -> list[Part]:
    """Write a file for each kind and split; rows for which ``record_of`` raises ``Unfit`` are rejected.

    Blocks of which nothing has changed are copied from an earlier export, where images are not copied too; what they
    are is noted in ``blocks.json``. Images of their rows are not looked for again.

    Args:
        kinds: that rows may be of; without any row, an empty file of the first is written for each split.
        names: of the files. ``{-kind}`` and ``{-split}`` are left out where there is one only, ``{-kind}`` for the
            first kind too. With the suffix ``.json`` a file is a JSON list instead of lines.
        copied: puts the images of a row into the export, if they are wanted there.
        in_order: never move a row to the front (see ``_File``).
    """
    splits, as_list = target.curated.splits, names.endswith(".json")
    files: dict[tuple[str, str], _File] = {}
    earlier = _Earlier(target.before) if target.before is not None and not target.copy else None
    noted: list[Any] = []
    with contextlib.ExitStack() as stack:

        def file_of(kind: str, split: str) -> _File:
            if (kind, split) not in files:
                path = target.folder / f".{kind}-{split}.tmp"  # its name depends on which other kinds there are
                files[kind, split] = stack.enter_context(_File(path, as_list))
            return files[kind, split]

        for block in rows.blocks():
            known = earlier.block(block.key) if earlier is not None else None
            if known is None:
                lines = _lines(block, target, record_of, copied, _BETWEEN[as_list], in_order or as_list)
                account = block.account()
            else:
                account, lines = known
                block.count(account)
            for (kind, split), each in lines.items():
                file_of(kind, split).add(each)
            pieces = [[*of, len(each.data), zlib.crc32(each.data), each.new] for of, each in lines.items()]
            noted.append([block.key if account is not None else None, account, pieces])
        if not files:
            for split in splits:
                file_of(kinds[0], split)
    parts = []
    found = sorted({kind for kind, _ in files}, key=kinds.index)
    for kind in found:
        kind_suffix = f"-{kind}" if len(found) > 1 and kind != kinds[0] else ""
        pattern = names.replace("{-kind}", kind_suffix).replace("{-split}", "-{split}" if len(splits) > 1 else "")
        named = {split: pattern.format(split=split, kind=kind) for split in splits if (kind, split) in files}
        for split, name in named.items():
            (target.folder / name).parent.mkdir(exist_ok=True)
            files[kind, split].path.replace(target.folder / name)
        parts.append(Part(kind, named))
    if not target.copy and not any(file.moved for file in files.values()):
        of_files = [[part.kind, split, name] for part in parts for split, name in part.files.items()]
        meta_keys = target.curated.meta_keys_of_blocks
        said = {"files": of_files, "blocks": noted, "meta_keys": meta_keys}
        write_json(target.folder / BLOCKS, {**said, "digest": digest_of(said)})
    return parts


def _lines(
    rows: Iterable[Row], target: Target, record_of: RecordOf, copied: ImagesOf, between: bytes, in_order: bool
) -> dict[tuple[str, str], Lines]:
    """The records of some rows by kind and split."""
    records: dict[tuple[str, str], list[bytes]] = {}
    new: dict[tuple[str, str], list[tuple[int, int, list[list[str]]]]] = {}
    filled: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    sizes: Counter[tuple[str, str]] = Counter()
    for row in rows:
        try:
            kind, record = record_of(row, list(map(shown, row.files)), target)
            if target.copy:
                kind, record = record_of(row, copied(row, target.folder), target)
        except Unfit as why:
            target.reject(row.sample.id, str(why))
            continue
        of, data = (kind, row.split), json.dumps(record, ensure_ascii=False).encode()
        places = set() if in_order else set(_filled(record))
        if not places <= filled.setdefault(of, set()):
            new.setdefault(of, []).append((sizes[of], len(data), sorted(map(list, places))))
            filled[of] |= places
        records.setdefault(of, []).append(data)
        sizes[of] += len(data) + len(between)
    return {of: Lines(between.join(each), new.get(of, [])) for of, each in records.items()}


class _Earlier:
    """The blocks of an earlier export."""

    def __init__(self, folder: Path) -> None:
        self._blocks: dict[str, tuple[dict[str, Any], list[tuple[tuple[str, str], int, int, int, Any]]]] = {}
        self._files: dict[tuple[str, str], memoryview] = {}
        try:
            noted = _read_blocks(folder)
            ends: dict[tuple[str, str], int] = {}
            between: dict[tuple[str, str], int] = {}
            for kind, split, name in noted["files"]:
                with (folder / name).open("rb") as file:
                    self._files[kind, split] = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
                as_list = name.endswith(".json")
                ends[kind, split], between[kind, split] = len(_OPENED[as_list]), len(_BETWEEN[as_list])
            for key, account, lines in noted["blocks"]:
                places = []
                for kind, split, size, checksum, new in lines:
                    places.append(((kind, split), ends[kind, split], int(size), int(checksum), new))
                    ends[kind, split] += int(size) + between[kind, split]
                if key is not None:
                    self._blocks[key] = account, places
        except (OSError, ValueError):  # none, or damaged
            self._blocks = {}

    def block(self, key: str) -> tuple[dict[str, Any], dict[tuple[str, str], Lines]] | None:
        """What became of the rows of a block, and its lines; None if it is not there, or not as it was."""
        if key not in self._blocks:
            return None
        account, places = self._blocks[key]
        lines = {}
        for of, start, size, checksum, new in places:
            data = self._files[of][start : start + size]
            if len(data) != size or zlib.crc32(data) != checksum:
                return None
            lines[of] = Lines(data, new)
        return account, lines


def known_meta_keys(folder: Path) -> dict[str, list[str]]:
    """What an export knows of ``Curated.meta_keys_of_blocks``."""
    try:
        found: dict[str, list[str]] = _read_blocks(folder)["meta_keys"]
    except (OSError, ValueError):
        return {}
    return found


def _read_blocks(folder: Path) -> dict[str, Any]:
    """What an export has noted of its blocks; raises OSError, or ValueError if it is damaged."""
    noted = read_json(folder / BLOCKS)
    if not isinstance(noted, dict) or noted.pop("digest", "") != digest_of(noted):
        raise ValueError(f"{folder / BLOCKS}: damaged")
    return noted


# By whether a file is a JSON list: how it begins, what is between its records, how it ends, and one without any.
_OPENED, _BETWEEN, _CLOSED, _EMPTY = (b"", b"[\n"), (b"\n", b",\n"), (b"\n", b"\n]\n"), (b"", b"[]\n")
_INFERRED_FROM = 8 << 20  # `datasets` takes columns and their types from the first 10 MiB of a file, and then insists
_DEPTH = 3  # of nesting that is looked at: columns, turns, their fields
_MOST_IN_FRONT = 64


class _File:
    """A file of records; complete when its block ends.

    Records keep their order, except that the first one with a value where none of the first 8 MiB has one goes to the
    front: a set that begins with much text would otherwise be refused because of its first image.

    Attributes:
        moved: whether any did.
    """

    def __init__(self, path: Path, as_list: bool) -> None:
        self.path = path
        self._as_list = as_list
        self._filled: set[tuple[str, ...]] = set()
        self._front: list[bytes] = []
        self._size = 0

    @property
    def moved(self) -> bool:
        return bool(self._front)

    def __enter__(self) -> _File:
        self._handle = self.path.open("wb")
        return self

    def add(self, lines: Lines) -> None:
        """Write the records of a block."""
        done, between = 0, _BETWEEN[self._as_list]
        for start, size, listed in lines.new:
            places = set(map(tuple, listed))
            if places <= self._filled:
                continue
            self._filled |= places
            before = self._size + start - done + (len(between) if self._size else 0)
            if before > _INFERRED_FROM and len(self._front) < _MOST_IN_FRONT:
                self._put(lines.data[done : max(start - len(between), done)])
                self._front.append(bytes(lines.data[start : start + size]))
                done = start + size + len(between)
        self._put(lines.data[done:])

    def _put(self, data: bytes | memoryview) -> None:
        if len(data):
            self._size += self._handle.write(_BETWEEN[self._as_list] if self._size else _OPENED[self._as_list])
            self._size += self._handle.write(data)

    def __exit__(self, *raised: object) -> None:
        self._handle.write(_CLOSED[self._as_list] if self._size else _EMPTY[self._as_list])
        self._handle.close()
        if self._front:
            whole = self.path.with_suffix(".whole.tmp")
            with whole.open("wb") as out, self.path.open("rb") as rest:
                out.writelines(line + b"\n" for line in self._front)
                shutil.copyfileobj(rest, out, 1 << 20)
            whole.replace(self.path)
        with self.path.open("rb") as written:
            os.fsync(written.fileno())


def _filled(value: Any, depth: int = _DEPTH) -> Iterator[tuple[str, ...]]:
    """Places in a record that hold more than null and empty lists, as keys that lead there."""
    if value is None or value == [] or depth < 0:
        return
    yield ()
    items = (
        value.items() if isinstance(value, dict) else (("", item) for item in value) if isinstance(value, list) else ()
    )
    for key, item in items:
        for place in _filled(item, depth - 1):
            yield (key, *place)


def write_jsonl(rows: Rows, target: Target) -> list[Part]:
    """Write Winnow's own records to ``samples.jsonl``, or to ``samples-<split>.jsonl`` if there are several splits."""
    return write_lines(rows, target, winnow_record, names="samples{-split}.jsonl", in_order=True)


def winnow_record(row: Row, paths: list[str], target: Target) -> tuple[str, dict[str, Any]]:
    """``image`` is relative to the curation's image root, or to the export if images are copied."""
    record = to_record(row.sample)
    if target.copy and paths:
        record["image"] = paths[0] if len(paths) == 1 else paths
    return "", record


FORMATS = {"jsonl": Format(write_jsonl, {"": "One Winnow record a line; `image` is relative to {root}."})}
