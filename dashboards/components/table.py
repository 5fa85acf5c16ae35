"""A table whose cells are links: they can be clicked, reached by Tab, copied and opened in a new tab."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import streamlit as st

_HERE = Path(__file__)
_component = st.components.v2.component(
    "winnow_table",
    html='<div class="scroll"></div>\n',
    css=_HERE.with_suffix(".css").read_text(encoding="utf-8"),
    js=_HERE.with_suffix(".js").read_text(encoding="utf-8"),
)


class Column(TypedDict, total=False):
    """A column's name; ``title`` is its tooltip, ``number`` aligns it to the right."""

    text: str
    title: str
    number: bool


class Cell(TypedDict, total=False):
    """One cell; every key may be left out.

    Keys:
        text, note: what it says, and a smaller line below it.
        title: its tooltip; for a link also what a screen reader says.
        image: address of a small picture.
        href, id: where it leads, and what ``link_table`` returns when it was clicked; without an id the browser
            loads the address anew.
        download: what it leads to is a file to keep.
        tone, shade: ``good`` or ``bad``, and how strongly (0 … 1).
        head, number: the row's name; aligned to the right.
    """

    text: str
    note: str
    title: str
    image: str
    href: str
    id: str
    download: bool
    tone: str
    shade: float
    head: bool
    number: bool


def link_table(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], label: str, key: str, *, wide: bool = False
) -> str | None:
    """Draw the table.

    Args:
        label: what the table shows, for screen readers.
        wide: as wide as the page.

    Returns: ``id`` of the cell that was clicked, once, else None.
    """
    data: dict[str, Any] = {"columns": columns, "rows": rows, "label": label, "wide": wide}
    result = _component(data=data, key=key, on_opened_change=lambda: None)
    return None if result.opened is None else str(result.opened)
