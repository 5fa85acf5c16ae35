"""What ``curate inspect``, ``curate sources`` and ``curate signals`` print."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from curate.readers import LAYOUTS
from curate.readers.inspect import Inspection
from curate.report.console import LONGEST_ROW, NAMES_SHOWN, plain_table, show_next, show_reading
from curate.rules.columns import FORMS, known_columns
from curate.settings.sources import SourceSettings
from winnow.rows.records import to_record
from winnow.text import counted, visible


def show_inspection(found: Inspection, console: Console | None = None) -> None:
    """Print layout and counts, the first rows, and every class of problem with its first example."""
    console = console or Console()
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _facts(found):
        table.add_row(Text(name, style="dim"), Text(visible(str(value))))
    console.print(table)
    for number, sample in enumerate(found.examples, start=1):
        console.print(Text(f"\nrow {number}", style="bold"))
        line = visible(json.dumps(to_record(sample), ensure_ascii=False))
        console.print(Text(line if len(line) <= LONGEST_ROW else line[:LONGEST_ROW] + " …"))
    show_reading(console, [found.facts])
    _show_problems(found, console)
    location = _as_arguments(found.settings)
    console.print()
    if not found.rows:
        show_next(
            console,
            (f"curate inspect {location} --columns ROLE=FIELD", "says what a field is, e.g. answer=label"),
            (f"curate inspect {location} --as LAYOUT", "reads another layout; `curate sources` lists them"),
        )
        return
    show_next(
        console,
        (f"curate run {location}", "curates it with the shipped policy"),
        (f"curate init {location}", "writes only the recipe, to edit"),
    )


def _as_arguments(settings: SourceSettings) -> str:
    """A source as `curate run`, `init` and `inspect` take it, for a shell."""
    given = settings.model_dump(exclude_defaults=True)
    arguments = [given.pop("location")]
    for role, column in given.pop("columns", {}).items():
        arguments += ["--columns", f"{role}={column}"]
    for key, value in given.items():
        option = "--as" if key == "layout" else f"--{key.replace('_', '-')}"
        arguments += [option] if value is True else [option, str(value)]
    return shlex.join(arguments)


def _show_problems(found: Inspection, console: Console) -> None:
    console.print(Text("\nwhat is wrong", style="bold"))
    if not (found.row_problems or found.image_problems):
        console.print(f"nothing found ({counted(found.images_checked, 'image')} decoded)")
        return
    wrong = plain_table("what", "how many", "meaning", "examples", numbers="how many")
    read = found.rows + found.bad_rows
    for problems, total in ((found.row_problems, read), (found.image_problems, found.images_checked)):
        for problem in problems:
            count = f"{problem.count:,} of {total:,}"
            wrong.add_row(
                problem.name, count, Text(visible(problem.meaning)), Text(visible("\n".join(problem.examples)))
            )
    console.print(wrong)
    if found.images > found.images_checked:
        console.print(f"images: {found.images_checked:,} of {found.images:,} were decoded")


def _facts(found: Inspection) -> list[tuple[str, Any]]:
    fewest, most = found.votes
    return [
        ("location", found.settings.location),
        ("layout", found.layout),
        ("image root", found.image_root),
        *([("also reads", ", ".join(map(str, found.also_read)))] if found.also_read else []),
        *([("licence", found.license)] if found.license else []),
        ("rows", f"{found.rows:,}"),
        ("unreadable rows", f"{found.bad_rows:,}"),
        ("rows without answers", f"{found.unanswered:,}"),
        *([("answers a row", f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}")] if most > 0 else []),
        ("images", counted(found.images, "distinct path")),
        ("rows without an image", f"{found.text_only:,}"),
        ("rows with several images", f"{found.several_images:,}"),
        *([("splits", _counted(found.splits))] if any(found.splits) else []),
        *([("question types", _counted(found.question_types))] if found.question_types else []),
    ]


def _counted(names: Mapping[str, int]) -> str:
    """``train 12, val 3``, the most frequent first, at most eight."""
    ordered = sorted(names.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{name or '(none)'} {count:,}" for name, count in ordered[:NAMES_SHOWN])
    return f"{shown}, … ({len(ordered):,} in all)" if len(ordered) > NAMES_SHOWN else shown


def sources_table() -> Table:
    """One row a layout: its name, the first line of its module's docstring, an entry of ``sources:``."""
    table = plain_table("layout", "what it is, and an entry of `sources:`")
    for name, layout in LAYOUTS.items():
        about = [Text(layout.title), Text(f"- {layout.example}", style="dim")]
        table.add_row(Text(name, style="bold"), Text("\n").join(about))
    return table


def columns_table() -> Table:
    """Every column that a rule may use: type, source, meaning."""
    table = plain_table("column", "type", "of", "meaning", title="Columns that rules may use")
    for name, column in known_columns().items():
        table.add_row(f"[bold]{name}[/]", column.type.lower(), column.table, escape(column.meaning))
    table.add_section()
    for form, about in FORMS.items():
        table.add_row(f"[bold]{escape(form)}[/]", "", "the set" if "meta" not in form else "rows", escape(about))
    return table
