"""Exports with one JSON object a line, a file for each split; and Winnow's own records in that form.

``datasets`` takes the columns of a file from its first lines, so that all lines of a file have the same keys, and rows
of different kinds (``curate.exports.training``) go to different files: ``train.jsonl`` with rows of one kind, otherwise
also ``train-preference.jsonl`` and ``train-kto.jsonl``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from curate.exports.rows import Format, Part, Row, Target, Unfit, copy_images
from winnow.records import to_record
from winnow.storage import shown

# Row, paths of its images, target → kind of the row ('' where the format knows one kind only) and its record.
RecordOf = Callable[[Row, list[str], Target], tuple[str, dict[str, Any]]]
ImagesOf = Callable[[Row, Path], list[str]]  # row, folder of the export → its images as the record names them


def write_lines(
    rows: Iterable[Row],
    target: Target,
    record_of: RecordOf,
    *,
    kinds: Sequence[str] = ("",),
    names: str = "{split}{-kind}.jsonl",
    copied: ImagesOf = copy_images,
    in_order: bool = False,
) -> list[Part]:
    """Write a file for each kind and split; rows for which ``record_of`` raises ``Unfit`` are rejected.

    Args:
        kinds: that rows may be of; without any row, an empty file of the first is written for each split.
        names: of the files. ``{-kind}`` and ``{-split}`` are left out where there is one only, ``{-kind}`` for the
            first kind too. With the suffix ``.json`` a file is a JSON list instead of lines.
        copied: puts the images of a row into the export, if they are wanted there.
        in_order: never move a row to the front (see ``_File``).
    """
    splits = target.curated.splits
    files: dict[tuple[str, str], _File] = {}
    with contextlib.ExitStack() as stack:

        def file_of(kind: str, split: str) -> _File:
            if (kind, split) not in files:
                path = target.folder / f".{kind}-{split}.tmp"  # its name depends on which other kinds there are
                files[kind, split] = stack.enter_context(_File(path, names.endswith(".json"), in_order))
            return files[kind, split]

        for row in rows:
            try:
                kind, record = record_of(row, list(map(shown, row.files)), target)
                if target.copy:
                    kind, record = record_of(row, copied(row, target.folder), target)
            except Unfit as why:
                target.reject(row.sample.id, str(why))
            else:
                file_of(kind, row.split).add(record)
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
    return parts


_INFERRED_FROM = 8 << 20  # `datasets` takes columns and their types from the first 10 MiB of a file, and then insists
_DEPTH = 3  # of nesting that is looked at: columns, turns, their fields
_MOST_IN_FRONT = 64


class _File:
    """A file of records; complete when its block ends.

    Records keep their order, except that the first one with a value where none of the first 8 MiB has one goes to the
    front: a set that begins with much text would otherwise be refused because of its first image.
    """

    def __init__(self, path: Path, as_list: bool, in_order: bool) -> None:
        self.path = path
        self._as_list, self._in_order = as_list, in_order
        self._filled: set[tuple[str, ...]] = set()
        self._front: list[str] = []
        self._is_empty = True

    def __enter__(self) -> _File:
        self._handle = self.path.open("w", encoding="utf-8", newline="\n")
        return self

    def add(self, record: dict[str, Any]) -> None:
        """Write a record."""
        text = json.dumps(record, ensure_ascii=False)
        if self._as_list:
            self._handle.write(f"{'[' if self._is_empty else ','}\n{text}")
            self._is_empty = False
            return
        filled = set() if self._in_order else set(_filled(record))
        if filled <= self._filled:
            self._handle.write(f"{text}\n")
            return
        self._filled |= filled
        if self._handle.tell() > _INFERRED_FROM and len(self._front) < _MOST_IN_FRONT:
            self._front.append(f"{text}\n")
        else:
            self._handle.write(f"{text}\n")

    def __exit__(self, *raised: object) -> None:
        if self._as_list:
            self._handle.write("[]\n" if self._is_empty else "\n]\n")
        self._handle.close()
        if self._front:
            whole = self.path.with_suffix(".whole.tmp")
            with whole.open("w", encoding="utf-8", newline="\n") as out, self.path.open(encoding="utf-8") as rest:
                out.writelines(self._front)
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


def write_jsonl(rows: Iterable[Row], target: Target) -> list[Part]:
    """Write Winnow's own records to ``samples.jsonl``, or to ``samples-<split>.jsonl`` if there are several splits."""
    return write_lines(rows, target, winnow_record, names="samples{-split}.jsonl", in_order=True)


def winnow_record(row: Row, paths: list[str], target: Target) -> tuple[str, dict[str, Any]]:
    """``image`` is relative to the curation's image root, or to the export if images are copied."""
    record = to_record(row.sample)
    if target.copy and paths:
        record["image"] = paths[0] if len(paths) == 1 else paths
    return "", record


FORMATS = {"jsonl": Format(write_jsonl, {"": "One Winnow record a line; `image` is relative to {root}."})}
