"""Exports of one JSON object a row: a file for each split.

A conversation as trainers want it: one ``<image>`` per image, turns in order, an answer at the end.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from curate.exports.rows import Row, Target, Unfit, copy_images
from winnow.conversations import IMAGE_MARKER
from winnow.files import atomic_path
from winnow.records import Sample


def write_lines(
    rows: Iterable[Row], target: Target, record_of: Callable[[Row, list[str]], dict[str, Any]], stem: str = "{split}"
) -> None:
    """Write ``<stem>.jsonl`` for each split; a row that ``record_of`` finds unfit is rejected.

    Args:
        record_of: (row, path of each of its images) → what is written.
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
                    record = record_of(row, copy_images(row, target.folder))
            except Unfit as why:
                target.reject(row.sample.id, str(why))
                continue
            handles[row.split].write(json.dumps(record, ensure_ascii=False) + "\n")


@dataclass(frozen=True, slots=True)
class Conversation:
    """Attributes:
    system: the system turn, '' without one.
    turns: (role, text), user and assistant by turns, user first, assistant last; each image has
        its ``<image>`` in the text.
    """

    system: str
    turns: tuple[tuple[str, str], ...]

    def messages(self, *, with_system: bool = True) -> list[dict[str, str]]:
        """As ``{"role": …, "content": …}``."""
        first = [("system", self.system)] if self.system and with_system else []
        return [{"role": role, "content": text} for role, text in (*first, *self.turns)]


def conversation(sample: Sample) -> Conversation:
    """The turns of a sample with markers placed; images without any marker come before the first question.

    Raises:
        Unfit: other turns than user and assistant by turns after an optional system turn, or another
            number of markers than images.
    """
    turns = [(turn.role, turn.value) for turn in sample.conversations]
    system = turns.pop(0)[1] if turns and turns[0][0] == "system" else ""
    roles = [role for role, _ in turns]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        raise Unfit(f"turns must be user and assistant by turns and end with an answer, these are {', '.join(roles)}")
    markers = sum(text.count(IMAGE_MARKER) for _, text in turns) + system.count(IMAGE_MARKER)
    if markers == 0 and sample.image:
        turns[0] = ("user", f"{IMAGE_MARKER}\n" * len(sample.image) + turns[0][1])
    elif markers != len(sample.image) or IMAGE_MARKER in system:
        raise Unfit(f"{markers} <image> markers in the turns for {len(sample.image)} images")
    return Conversation(system, tuple(turns))


def blocks(text: str) -> list[dict[str, Any]]:
    """Text with markers as typed content: ``{"type": "image"}`` and ``{"type": "text", "text": …}``.

    The line break between a marker and the text is left to the chat template.
    """
    found: list[dict[str, Any]] = []
    for number, part in enumerate(text.split(IMAGE_MARKER)):
        if number:
            found.append({"type": "image"})
        inner = part.removeprefix("\n") if number else part
        if inner and inner != "\n":
            found.append({"type": "text", "text": inner})
    return found or [{"type": "text", "text": ""}]
