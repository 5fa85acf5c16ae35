"""JSONL for TRL's SFTTrainer: ``messages`` with typed content, and ``images``.

TRL wants no ``<image>`` in text: an image is a block ``{"type": "image"}`` where it stands, and
there must be as many as ``images``. The column ``images``, even if empty, makes TRL treat the set
as one with images. Content is typed in every row, because one Arrow column holds one type.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from curate.exports.json_lines import blocks, conversation, write_lines
from curate.exports.rows import Row, Target


def write(rows: Iterable[Row], target: Target) -> None:
    """Write ``<split>.jsonl``."""
    write_lines(rows, target, _record)


def _record(row: Row, paths: list[str]) -> dict[str, Any]:
    messages = conversation(row.sample).messages()
    return {
        "id": row.sample.id,
        "messages": [{"role": turn["role"], "content": blocks(turn["content"])} for turn in messages],
        "images": paths,
    }
