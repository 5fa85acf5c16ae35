"""`curate sources`: every layout with what it reads and an entry for a recipe."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from curate.readers import SOURCES


def sources_table() -> Table:
    """One row a layout: its name, the first line of its module's docstring, an entry of ``sources:``."""
    table = Table(box=None, pad_edge=False)
    for header in ("layout", "what it is, and an entry of `sources:`"):
        table.add_column(header, overflow="fold")
    for name, module in sorted(SOURCES.items()):
        about = Text((module.__doc__ or "").strip().splitlines()[0].replace("``", ""))
        example = getattr(module, "EXAMPLE", "")
        table.add_row(Text(name, style="bold"), Text("\n").join([about, Text(f"- {example}", style="dim")]))
    return table
