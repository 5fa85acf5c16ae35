"""Text of a study in a page of the documentation, between two marks."""

from __future__ import annotations

import re
from pathlib import Path

from winnow.errors import UserError
from winnow.files import write_text


def put(page: Path, name: str, text: str) -> None:
    """Put the text between the marks of that name.

    Raises:
        UserError: the page or its marks are missing.
    """
    begin, end = f"<!-- {name}: written by `make proof STUDY={name}` -->", f"<!-- /{name} -->"
    if not page.is_file() or begin not in (before := page.read_text(encoding="utf-8")) or end not in before:
        raise UserError(f"{page}: has no lines {begin} and {end}; run this in a copy of the repository")
    found = re.sub(
        f"{re.escape(begin)}.*{re.escape(end)}", lambda _: f"{begin}\n{text.strip()}\n{end}", before, flags=re.S
    )
    write_text(page, found)
