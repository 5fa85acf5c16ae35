"""The tags that keys 1–9 give: the kinds of failure that a team tells apart."""

from __future__ import annotations

from pathlib import Path

TAGS_FILE = "tags.txt"
_DEFAULT = (
    "wrong object", "wrong attribute", "wrong count", "wrong relation", "misread text", "misread question",
    "invented", "format", "image quality",
)  # fmt: skip


def tags_of(folder: Path) -> tuple[str, ...]:
    """The lines of ``folder/tags.txt``, at most nine, else a set that suits questions about images."""
    try:
        lines = (folder / TAGS_FILE).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return _DEFAULT
    return tuple(line.strip() for line in lines if line.strip())[:9] or _DEFAULT
