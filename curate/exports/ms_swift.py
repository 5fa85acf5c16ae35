"""JSONL for ms-swift: ``messages`` and ``images``, ``<image>`` in the text as often as there are images.

ms-swift deletes rows that it cannot read without naming them, keeps surplus markers as text, and
drops columns whose names are not its own; ``channel`` is one of them (loss by source). A relative
path is relative to the current directory or to ``ROOT_IMAGE_DIR``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from curate.exports.json_lines import conversation, write_lines
from curate.exports.rows import Row, Target


def write(rows: Iterable[Row], target: Target) -> None:
    """Write ``<split>.jsonl``."""
    write_lines(rows, target, _record)


def _record(row: Row, paths: list[str]) -> dict[str, Any]:
    sample = row.sample
    return {
        "id": sample.id,
        "messages": conversation(sample).messages(),
        "images": paths,
        "channel": sample.source,
    }
