"""A page's rows as a file, and as the lines of code that load them in a notebook."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import streamlit as st

from dashboards.components.table import Cell, link_table
from dashboards.settings import data_root
from dashboards.views.exports import export_link


def export_menu(page: str, parameters: dict[str, str | list[str]], what: str) -> None:
    """A menu with links to the files and the code.

    Args:
        page: a key of ``views.rows.VIEWS``.
        parameters: all that the view is, with the names of its runs.
        what: the rows, for people: ``126 answers``.
    """
    with st.popover("Export", icon=":material/download:", key=f"export_{page}"):
        st.text(f"{what}, in the order of this page")
        links: list[list[Cell]] = [
            [{"text": f"Download {label}", "href": export_link(page, format, parameters), "download": True}]
            for format, label in (("csv", "CSV"), ("parquet", "Parquet"))
        ]
        link_table([], links, "Files", f"files_{page}")
        st.caption(
            "In CSV a ' stands before texts that a spreadsheet would run as a formula, and lists are JSON. Parquet"
            " changes nothing."
        )
        st.caption("In a notebook")
        st.code(notebook_lines(page, parameters), language="python", wrap_lines=True)


def notebook_lines(page: str, parameters: dict[str, str | list[str]]) -> str:
    """The code that loads a view."""
    root = data_root()
    folder = root.relative_to(Path.cwd()) if root.is_relative_to(Path.cwd()) else root
    view = f"{page}?{urlencode(parameters, doseq=True)}"
    return f"import dashboards\n\nrows = dashboards.load_view({str(folder)!r}, {view!r})"
