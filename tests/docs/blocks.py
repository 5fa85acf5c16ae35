"""The fenced blocks of a Markdown page, in order."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

_FENCE = re.compile(
    r"(?:^ *<!-- not run:(?P<reason>.*?)-->\n+)?"
    r"^(?P<indent> *)```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        title: name of the file that the block is written to; '' for none.
        reason: why it is not run; null if it is.
    """

    language: str
    title: str
    text: str
    reason: str | None


def blocks_of(markdown: str) -> list[Block]:
    """All blocks with a language."""
    return [
        Block(found["language"], found["title"] or "", textwrap.dedent(found["text"]), found["reason"])
        for found in _FENCE.finditer(markdown)
    ]
