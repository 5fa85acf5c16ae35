"""The table of ``evalsuite forgetting``, for the terminal and as Markdown or JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalsuite.report.numbers import between, cell, number, probability, share, table
from winnow.errors import UserError
from winnow.files import strict_json, write_text

HEADER = ["task", "kind", "metric", "rows", "answered", "before", "after", "difference", "95 % interval", "p (Holm)",
          "verdict"]  # fmt: skip
_TEXTS = (0, 1, 2, 10)
_IN_TERMINAL = (0, 5, 6, 7, 8, 10)  # and in a wide one all
_WIDE = 140
_STYLES = {"learned": "green", "gained": "green", "forgotten": "red", "worse": "red"}


def forgetting_cells(entry: Mapping[str, Any]) -> list[str]:
    """One task under ``HEADER``."""
    unit, coverage = entry["unit"], entry["coverage"]
    return [
        entry["task"], entry["kind"], entry["title"], f"{entry['n']:,}",
        f"{100 * coverage['a']:.1f} → {share(coverage['b'])}",
        number(unit, entry["a"]), number(unit, entry["b"]), number(unit, entry["difference"], sign=True),
        between(unit, entry, sign=True), probability(entry["p_holm"]), entry["verdict"],
    ]  # fmt: skip


def print_forgetting(found: Mapping[str, Any], console: Console | None = None) -> None:
    """A table for each run."""
    console = console or Console()
    places = range(len(HEADER)) if console.width >= _WIDE else _IN_TERMINAL
    for run in found["runs"]:
        shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for place in places:
            shown.add_column(HEADER[place], justify="left" if place in _TEXTS else "right", overflow="fold")
        for entry in run["tasks"]:
            cells = forgetting_cells(entry)
            shown.add_row(*(Text(cells[place], style=_STYLES.get(cells[place], "")) for place in places))
        console.print(Text(f"before {found['before']}"), Text(f"after  {run['run']}", style="bold"), shown, sep="\n")


def forgetting_markdown(found: Mapping[str, Any]) -> str:
    """A table for each run."""
    lines = ["# What training changed", "", f"Before: `{cell(found['before'])}`", ""]
    for run in found["runs"]:
        rows = [forgetting_cells(entry) for entry in run["tasks"]]
        right = set(range(len(HEADER))) - set(_TEXTS)
        lines += [f"## After: {cell(run['run'])}", "", *table(HEADER, rows, right=right), ""]
    return "\n".join(lines)


def write_forgetting(found: Mapping[str, Any], out: Path) -> None:
    """Write it to a file by its ending.

    Raises:
        UserError: another ending than .md, .json.
    """
    if out.suffix not in (".md", ".json"):
        raise UserError(f"{out}: can be written as .md or .json")
    as_json = strict_json(found, indent=2) + "\n"
    write_text(out, as_json if out.suffix == ".json" else forgetting_markdown(found))
