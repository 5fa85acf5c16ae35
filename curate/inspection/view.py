"""An inspection for people; text of the data set is shown as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from curate.readers.inspect import Inspection
from winnow.records import to_record

_LONGEST_ROW = 600
_NAMES_SHOWN = 8


def show_inspection(found: Inspection, console: Console | None = None) -> None:
    """Print layout and counts, the first rows, and every class of problem with its first example."""
    console = console or Console()
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _facts(found):
        table.add_row(Text(name, style="dim"), Text(str(value)))
    console.print(table)
    for number, sample in enumerate(found.examples, start=1):
        console.print(Text(f"\nrow {number}", style="bold"))
        line = json.dumps(to_record(sample), ensure_ascii=False)
        console.print(Text(line if len(line) <= _LONGEST_ROW else line[:_LONGEST_ROW] + " …"))
    console.print(Text("\nwhat is wrong", style="bold"))
    if not (found.row_problems or found.image_problems):
        console.print(f"nothing found ({found.images_checked:,} images decoded)")
        return
    wrong = Table(box=None, pad_edge=False)
    for header in ("what", "how many", "meaning", "examples"):
        wrong.add_column(header, justify="right" if header == "how many" else "left", overflow="fold")
    read = found.rows + found.bad_rows
    for problems, total in ((found.row_problems, read), (found.image_problems, found.images_checked)):
        for problem in problems:
            share = f"{problem.count:,} of {total:,}"
            wrong.add_row(problem.name, share, Text(problem.meaning), Text("\n".join(problem.examples)))
    console.print(wrong)
    if found.images > found.images_checked:
        console.print(f"images: {found.images_checked:,} of {found.images:,} were decoded")


def _facts(found: Inspection) -> list[tuple[str, Any]]:
    fewest, most = found.votes
    return [
        ("location", found.location),
        ("layout", found.layout),
        ("image root", found.image_root),
        *([("also reads", ", ".join(map(str, found.also_read)))] if found.also_read else []),
        *([("licence", found.license)] if found.license else []),
        ("rows", f"{found.rows:,}"),
        ("unreadable rows", f"{found.bad_rows:,}"),
        ("rows without answers", f"{found.unanswered:,}"),
        ("references a row", f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"),
        ("images", f"{found.images:,} distinct paths"),
        ("rows without image", f"{found.text_only:,}"),
        ("rows with several", f"{found.several_images:,}"),
        ("splits", _counted(found.splits)),
        *([("question types", _counted(found.question_types))] if found.question_types else []),
    ]


def _counted(names: Mapping[str, int]) -> str:
    """``train 12, val 3``, the most frequent first, at most eight."""
    ordered = sorted(names.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{name or '(none)'} {count:,}" for name, count in ordered[:_NAMES_SHOWN])
    return f"{shown}, … ({len(ordered):,} in all)" if len(ordered) > _NAMES_SHOWN else shown
