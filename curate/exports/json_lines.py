"""Exports of one JSON object a row: a file for each split."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from typing import Any

from curate.exports.pictures import copy_pictures
from curate.exports.rows import Row, Unfit
from curate.exports.target import Target
from winnow.files import atomic_path


def write_lines(
    rows: Iterable[Row], target: Target, record_of: Callable[[Row, list[str]], dict[str, Any]], stem: str = "{split}"
) -> None:
    """Write ``<stem>.jsonl`` for each split; a row that ``record_of`` finds unfit is rejected.

    Args:
        record_of: (row, path of each of its pictures) → what is written.
    """
    with contextlib.ExitStack() as stack:
        handles = {}
        for split in target.splits:
            path = stack.enter_context(atomic_path(target.folder / f"{stem.format(split=split)}.jsonl"))
            handles[split] = stack.enter_context(path.open("w", encoding="utf-8", newline="\n"))
        for row in rows:
            try:
                record = record_of(row, list(row.files))
                if target.copy:
                    record = record_of(row, copy_pictures(row, target.folder))
            except Unfit as why:
                target.reject(row.sample.id, str(why))
                continue
            handles[row.split].write(json.dumps(record, ensure_ascii=False) + "\n")
