"""Exports with one JSON object a line, a file for each split; and Winnow's own records in that form.

``datasets`` takes the columns of a file from its first lines, so that all lines of a file have the same keys, and rows
of different kinds (``curate.exports.training``) go to different files: ``train.jsonl`` with rows of one kind, otherwise
also ``train-preference.jsonl`` and ``train-kto.jsonl``.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

from curate.exports.rows import Format, Part, Row, Target, Unfit, copy_images
from winnow.records import to_record

# Row, paths of its images, target → kind of the row ('' where the format knows one kind only) and its record.
RecordOf = Callable[[Row, list[str], Target], tuple[str, dict[str, Any]]]
ImagesOf = Callable[[Row, Path], list[str]]  # row, folder of the export → its images as the record names them


def write_lines(
    rows: Iterable[Row],
    target: Target,
    record_of: RecordOf,
    *,
    names: str = "{split}{-kind}.jsonl",
    copied: ImagesOf = copy_images,
) -> list[Part]:
    """Write a file for each kind and split; rows for which ``record_of`` raises ``Unfit`` are rejected.

    Args:
        names: of the files. ``{-kind}`` and ``{-split}`` are left out where there is one only, ``{-kind}`` for ``sft``
            too. With the suffix ``.json`` a file is a JSON list instead of lines.
        copied: puts the images of a row into the export, if they are wanted there.
    """
    before, between, after = ("[\n", ",\n", "\n]\n") if names.endswith(".json") else ("", "\n", "\n")
    splits = target.curated.splits
    handles: dict[tuple[str, str], IO[str]] = {}
    with contextlib.ExitStack() as stack:

        def opened(kind: str, split: str) -> IO[str]:
            path = _unfinished(target, kind, split)
            return stack.enter_context(path.open("w", encoding="utf-8", newline="\n"))

        for row in rows:
            try:
                kind, record = record_of(row, list(row.files), target)
                if target.copy:
                    kind, record = record_of(row, copied(row, target.folder), target)
            except Unfit as why:
                target.reject(row.sample.id, str(why))
                continue
            is_first = (kind, row.split) not in handles
            if is_first:
                handles[kind, row.split] = opened(kind, row.split)
            handles[kind, row.split].write((before if is_first else between) + json.dumps(record, ensure_ascii=False))
        kinds = sorted({kind for kind, _ in handles}, key=lambda kind: (kind != "sft", kind)) or [""]
        for kind, split in itertools.product(kinds, splits):
            handle = handles.get((kind, split))
            if handle is None:
                opened(kind, split).write(before + after if before else "")
            else:
                handle.write(after)
                handle.flush()
                os.fsync(handle.fileno())
    parts = []
    for kind in kinds:
        kind_suffix = f"-{kind}" if len(kinds) > 1 and kind != "sft" else ""
        pattern = names.replace("{-kind}", kind_suffix).replace("{-split}", "-{split}" if len(splits) > 1 else "")
        files = {split: pattern.format(split=split, kind=kind) for split in splits}
        for split, name in files.items():
            (target.folder / name).parent.mkdir(exist_ok=True)
            _unfinished(target, kind, split).replace(target.folder / name)
        parts.append(Part(kind, files))
    return parts


def _unfinished(target: Target, kind: str, split: str) -> Path:
    """Where rows are written until it is known which kinds there are."""
    return target.folder / f".{kind}-{split}.tmp"


def write_jsonl(rows: Iterable[Row], target: Target) -> list[Part]:
    """Write Winnow's own records to ``samples.jsonl``, or to ``samples-<split>.jsonl`` if there are several splits."""
    return write_lines(rows, target, winnow_record, names="samples{-split}.jsonl")


def winnow_record(row: Row, paths: list[str], target: Target) -> tuple[str, dict[str, Any]]:
    """``image`` is relative to the curation's image root, or to the export if images are copied."""
    record = to_record(row.sample)
    if target.copy and paths:
        record["image"] = paths[0] if len(paths) == 1 else paths
    return "", record


FORMATS = {"jsonl": Format(write_jsonl, {"": "One Winnow record a line; `image` is relative to {root}."})}
