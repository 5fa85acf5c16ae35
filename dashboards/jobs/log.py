"""What a command has written: its last lines as a terminal would show them, and how far it says it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from winnow.text import visible

SENT_BYTES = 48 * 1024  # of a log, at most, to a page
_LINES = 400
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_COUNTS = re.compile(r"(?<![\d.,/])(\d[\d,]*)\s?/\s?(\d[\d,]*)(?![\d.,/])")
_LEFT = re.compile(r", ([\d,]+) s left|<((?:\d+:)?\d+:\d+)")


@dataclass(frozen=True)
class Progress:
    """How far a command is.

    Attributes:
        label: what is being counted; '' if the line does not say.
        left: time that it still expects, as it wrote it; '' if it does not say.
    """

    label: str
    done: int
    total: int
    left: str

    @property
    def share(self) -> float:
        """Between 0 and 1."""
        return min(self.done / self.total, 1.0)


def tail(path: Path) -> str:
    """The last lines of a log, as text without control characters; '' if there is none yet."""
    try:
        if not path.is_file():  # a named pipe would keep us waiting for ever
            return ""
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - SENT_BYTES, 0))
            data = file.read(SENT_BYTES)
    except OSError:
        return ""
    text = data.decode("utf-8", "replace")
    cut = size > SENT_BYTES
    if cut:  # begins amid a line, perhaps amid a character
        text = text.partition("\n")[2] or text
    lines = as_shown(text).split("\n")
    if cut or len(lines) > _LINES:
        lines = ["… (the whole log is in the job's folder)", *lines[-_LINES:]]
    return "\n".join(lines)


def as_shown(text: str) -> str:
    """Text as a terminal shows it: colours gone, and of a line that was drawn again the last drawing."""
    lines = _ESCAPES.sub("", text).expandtabs().replace("\r\n", "\n").split("\n")
    return "\n".join(visible(_last_drawing(line)).rstrip() for line in lines)


def _last_drawing(line: str) -> str:
    drawings = [drawn for drawn in line.split("\r") if drawn]
    return drawings[-1] if drawings else ""


def progress(shown: str) -> Progress | None:
    """The count of the last line that has one, such as ``Images: 1,200/4,000, 80/s, 15 s, 35 s left``."""
    for line in reversed(shown.splitlines()):
        for found in _COUNTS.finditer(line):
            done, total = (int(part.replace(",", "")) for part in found.groups())
            if total > 0 and done <= total:
                label = re.split(r"[:|]|\d+%", line[: found.start()])[0].strip()
                left = _LEFT.search(line, found.end())
                return Progress(label, done, total, (f"{left[1]} s" if left[1] else left[2]) if left else "")
    return None
