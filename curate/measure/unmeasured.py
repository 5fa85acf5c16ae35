"""Images that nothing is known about because a storage or a machine failed: counted, named, and tried again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from curate.signals import IMAGE_MODELS
from curate.workspace import Workspace
from winnow.files import read_json, write_json
from winnow.text import counted, visible

_FILE = "not_measured.json"
_SHOWN = 20  # that are named


class Unmeasured:
    """What one run could not measure."""

    def __init__(self) -> None:
        self.images = 0
        self._first: list[dict[str, str]] = []

    def add(self, path: str, why: str) -> None:
        """One more."""
        self.images += 1
        if len(self._first) < _SHOWN:
            self._first.append({"path": visible(path), "failed": visible(why)})

    def write(self, folder: Path) -> None:
        """Leave the count beside the parts, for ``why_not_measured``; nothing if there is nothing to count."""
        if self.images:
            write_json(folder / _FILE, {"images": self.images, "first": self._first})
        else:
            (folder / _FILE).unlink(missing_ok=True)


def why_not_measured(workspaces: Iterable[Workspace]) -> str | None:
    """A sentence about what the last run of some sets could not measure; None if it measured everything."""
    files = [space.signals / folder / _FILE for space in workspaces for folder in ("", *IMAGE_MODELS)]
    found = [read_json(file) for file in files if file.is_file()]
    if not found:
        return None
    first, images = found[0]["first"][0], sum(each["images"] for each in found)
    return (
        f"not measured: {counted(images, 'image')} (the first: {first['path']}, {first['failed']});"
        " nothing is stored about them; run again to measure them"
    )
