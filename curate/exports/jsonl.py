"""Winnow's own records, one a line (``winnow.records``).

``image`` is relative to the image root of the curation, or, with copied images, to the export.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from curate.exports.json_lines import write_lines
from curate.exports.rows import Row, Target
from winnow.records import to_record


def write(rows: Iterable[Row], target: Target) -> None:
    """Write ``samples.jsonl``, or ``samples-<split>.jsonl``."""

    def record_of(row: Row, paths: list[str]) -> dict[str, Any]:
        record = to_record(row.sample)
        if target.copy and paths:
            record["image"] = paths[0] if len(paths) == 1 else paths
        return record

    write_lines(rows, target, record_of, "samples" if len(target.splits) == 1 else "samples-{split}")
