"""``curate signals``: every column that a rule may use."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from curate.rules.columns import known_columns


def columns_table() -> Table:
    """Every column that a rule may use: type, source, meaning."""
    table = Table(
        box=None, pad_edge=False, header_style="dim", title="Columns that rules may use", title_justify="left"
    )
    for heading in ("column", "type", "of", "meaning"):
        table.add_column(heading, overflow="fold")
    for name, column in known_columns().items():
        table.add_row(f"[bold]{name}[/]", column.type.lower(), column.table, escape(column.about))
    return table
