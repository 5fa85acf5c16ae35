"""What ``curate run``, ``export``, ``select`` and ``diff`` print."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from curate.exports.export import Exported
from curate.readers.facts import SourceFacts, shortened
from curate.readers.unclaimed import unused_fields, warnings
from curate.report.diff import CurationDiff, Example
from curate.workspace import Workspace
from winnow.remote.addresses import shown
from winnow.selections import PROOFS
from winnow.text import counted, share, visible

_BAR = 24
STYLES = {"keep": "green", "flag": "yellow", "drop": "red", "absent": "dim"}


def show_selection(of: Path, written: Sequence[tuple[Path, dict[str, Any], bool]]) -> None:
    """The folders of a selection, what earlier selections of the set have brought, and how to prove this one."""
    for folder, counts, was_there in written:
        taken = counts["keep"] + counts["flag"]
        print(f"{shown(folder)}: {counted(taken, 'row')}{', is up to date' if was_there else ''}")
    proofs = sorted((of / PROOFS).glob("*.json"))
    for proof in proofs:
        print(json.loads(proof.read_text(encoding="utf-8"))["sentence"])
    if not proofs:
        print("not proven: no selection of this set was trained on and compared with its random rows yet")
    if len(written) > 1:
        print("next: train on both, evaluate both, then `evalsuite chosen EVAL_OF_CHOSEN EVAL_OF_RANDOM`")


def plain_table(*headings: str, numbers: str = "", title: str | None = None) -> Table:
    """An open table whose long cells wrap; the column ``numbers`` is aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="dim", title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right" if heading == numbers else "left", overflow="fold")
    return table


def show_summary(counts: dict[str, Any], seconds: dict[str, float], workspace: Workspace, recipe: str) -> None:
    """Print the funnel, the time that each step took, and what to do next."""
    screen = Console()
    rows = counts["rows"]
    table = Table(box=None, pad_edge=False, header_style="dim", show_footer=True, footer_style="bold")
    table.add_column("rule", footer="out", no_wrap=True)
    table.add_column("action", footer="")
    table.add_column("fired", justify="right", footer="")
    table.add_column("left", justify="right", footer=f"{counts['keep'] + counts['flag']:,}")
    table.add_column("share", justify="right", footer=share(counts["keep"] + counts["flag"], rows))
    table.add_column("", footer=_bar(counts["keep"] + counts["flag"], rows, "green"), min_width=_BAR)
    left = rows
    table.add_row("in", "", "", f"{rows:,}", "", _bar(rows, rows, "blue"), style="bold")
    for rule in counts["rules"]:
        if not rule["fired"]:
            continue
        left -= rule["reason"]
        table.add_row(
            rule["rule"],
            Text(rule["action"], style=STYLES[rule["action"]]),
            f"{rule['fired']:,}",
            f"{left:,}",
            share(rule["fired"], rows),
            _bar(rule["fired"], rows, STYLES[rule["action"]]),
        )
    screen.print()
    screen.print(table)
    idle = [rule["rule"] for rule in counts["rules"] if not rule["fired"] and rule["rule"] != "bad_row"]
    if idle:
        screen.print(f"fired on no row: {', '.join(idle)}", style="dim", highlight=False)
    for found in counts["image_errors"][:_IMAGE_ERRORS_SHOWN]:
        detail = f": {found['detail']}" if found["detail"] else ""
        line = f"images: {found['images']:,} {found['error']}, such as {found['example']}{detail}"
        screen.print(Text(visible(line), style="yellow"), soft_wrap=True)
    read = [SourceFacts.model_validate(each) for each in counts["read"]]
    for facts in read:
        if facts.bad_rows:
            line = f"rows: {facts.bad_rows:,} unreadable, such as {facts.first_bad}"
            screen.print(Text(visible(line), style="yellow"), soft_wrap=True)
    for rule in counts["rules"]:
        if rule["action"] == "drop" and rule["unvalidated"]:
            line = (
                f"rule {rule['rule']} drops by {' or '.join(rule['unvalidated'])} alone, which is not validated: look"
                f" at its {counted(rule['fired'], 'row')}, then let it flag, or write on what it is `validated:`"
            )
            screen.print(Text(visible(f"{line} in {recipe}"), style="yellow"), soft_wrap=True)
        chosen = rule["rule"] not in ("bad_row", "correction") and "error" not in rule["columns"]
        if chosen and rows / 2 < rule["reason"] < rows:
            line = (
                f"rule {rule['rule']} dropped {rule['reason']:,} of {rows:,} rows; to keep them, set its action to flag"
            )
            screen.print(Text(visible(f"{line} in {recipe} and decide again"), style="yellow"), soft_wrap=True)
    show_reading(screen, read, {column for rule in counts["rules"] for column in rule["columns"]})
    screen.print(
        f"\nkept {counts['keep']:,}, flagged {counts['flag']:,} (kept too), dropped {counts['drop']:,} of {rows:,} rows"
        f" about {counted(counts['images'], 'different image')}",
        highlight=False,
    )
    if counts["copies"]:
        screen.print(f"copies among the rows: {by_kind(counts['copies'])}", highlight=False)
    for found in counts["contamination"]:
        kinds = f" ({by_kind(found['kinds'])})" if found["kinds"] else ""
        screen.print(
            f"{counted(found['images'], 'image')} also in {escape(found['benchmark'])};"
            f" {counted(found['rows'], 'row')}{kinds}, {found['rows_dropped']:,} dropped",
            highlight=False,
        )
    if counts["splits"]:
        totals: dict[str, int] = {}
        for source in counts["splits"]:
            for name, number in source["rows"].items():
                totals[name] = totals.get(name, 0) + number
        screen.print(f"splits: {', '.join(f'{name} {totals[name]:,}' for name in sorted(totals))}", highlight=False)
    if counts["corrections"]:
        statuses = ", ".join(f"{number:,} {status}" for status, number in counts["corrections"].items())
        screen.print(f"reviewers' corrections: {statuses}", highlight=False)
    times = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items() if value >= 0.05)
    screen.print(f"{sum(seconds.values()):.1f} s: {times}" if times else "", style="dim", highlight=False)
    data = workspace.folder.parents[1] if workspace.folder.parent.name == "curated" else None
    name = escape(f"{shown(workspace.folder)}/")
    screen.print(
        f"\n[bold]{name}[/]  README.md (card), samples.jsonl, ledger.jsonl, decisions.parquet", highlight=False
    )
    show_next(
        screen,
        (
            f"curate explain ROW --curated {shlex.quote(shown(workspace.folder))}",
            "says why; ROW: id, image or words of a question",
        ),
        (f"curate decide {shlex.quote(recipe)}", "after an edit of its rules; opens no image"),
        *([(f"dashboards --data {shlex.quote(str(data))}", "the rows in a browser")] if data else []),
    )


def by_kind(kinds: Sequence[Mapping[str, Any]]) -> str:
    """``12 exact, 3 cropped``: rows of each kind."""
    return ", ".join(f"{found['rows']:,} {found['kind']}" for found in kinds)


def show_next(screen: Console, *commands: tuple[str, str]) -> None:
    """Print what to do next: commands, each with what it does behind it, or below it where the line is too long."""
    for command, what in commands:
        line = f"next: {visible(command)}"
        gap = "  " if len(line) + 2 + len(what) <= screen.width else f"\n{' ' * 6}"
        screen.print(Text.assemble(line, (gap + what, "dim")), soft_wrap=True)


def show_nothing_kept(cause: str, rows: int) -> None:
    """Print the error of a curation that kept no row, in red where the terminal has colours."""
    line = Text(visible(f"error: kept none of {counted(rows, 'row')}: {cause}"), style="bold red")
    Console(stderr=True).print(line, soft_wrap=True)


_FIELDS_SHOWN, _WARNINGS_SHOWN, _IMAGE_ERRORS_SHOWN = 8, 8, 4


def show_reading(screen: Console, read: Sequence[SourceFacts], used: Collection[str] = ()) -> None:
    """Print what reading has assumed, and the fields that nothing uses, with what to write to use them.

    Args:
        used: columns of the rules.
    """
    found = [(facts, unused) for facts in read for unused in unused_fields(facts, used)]
    told = [warning for facts in read for warning in warnings(facts)]
    if told:
        screen.print()
    for warning in told[:_WARNINGS_SHOWN]:
        screen.print(Text(f"note: {warning}", style="yellow"))
    if len(told) > _WARNINGS_SHOWN:
        screen.print(f"… and {len(told) - _WARNINGS_SHOWN:,} more notes", style="dim")
    if not found:
        return
    several = len(read) > 1
    table = plain_table(
        "field", *(["source"] if several else []), "filled in", "for example", "to use it", numbers="filled in"
    )
    for facts, unused in found[:_FIELDS_SHOWN]:
        field = unused.field
        cells = [shortened(field.name), *([Path(facts.location).name] if several else [])]
        cells += [f"{field.rows:,} of {facts.rows:,}", field.example, unused.remedy]
        table.add_row(*map(Text, cells))
    screen.print(Text("\nfields that nothing uses, kept under `meta`:", style="yellow"))
    screen.print(table)
    if len(found) > _FIELDS_SHOWN:
        names = ", ".join(shortened(unused.field.name) for _, unused in found[_FIELDS_SHOWN:][:NAMES_SHOWN])
        screen.print(Text(f"… and {len(found) - _FIELDS_SHOWN:,} more: {names}", style="dim"))


def _bar(part: int, whole: int, color: str) -> Text:
    cells = part / whole * _BAR if whole else 0
    full, rest = int(cells), cells - int(cells)
    end = "" if part == 0 else "▏▎▍▌▋▊▉█"[int(rest * 8)] if rest > 0 or not full else ""
    return Text("█" * full + end, style=color)


def show_diff(found: CurationDiff) -> None:
    """Print the comparison: totals, rules that changed, one line a transition with examples."""
    screen = Console()
    screen.print(
        f"[bold]{found.changed:,}[/] rows changed, {found.same:,} did not; {found.new:,} new, {found.gone:,} gone"
        f"  [dim]({escape(shown(found.a))} → {escape(shown(found.b))})[/]",
        highlight=False,
    )
    if found.rules:
        changes = plain_table("rule", "was", "now")
        for change in found.rules:
            changes.add_row(change.rule, escape(change.was or "–"), escape(change.now or "–"))
        screen.print()
        screen.print(changes)
    if found.transitions:
        table = plain_table("rows", "was", "now", "for example", numbers="rows")
        for way in found.transitions:
            examples = "; ".join(escape(visible(_example(example))) for example in way.examples)
            table.add_row(f"{way.rows:,}", _decision(way.was, way.was_by), _decision(way.now, way.now_by), examples)
        screen.print()
        screen.print(table)


def _decision(decision: str, rule: str | None) -> str:
    return f"[{STYLES[decision]}]{decision}[/]" + (f" {escape(rule)}" if rule else "")


def _example(example: Example) -> str:
    values = ", ".join(f"{name} {shown_value(value)}" for name, value in example.values.items())
    return f"{example.sample_id} ({values})" if values else example.sample_id


def shown_value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return ", ".join(map(shown_value, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


LONGEST_ROW, LONGEST_QUESTION = 600, 120
NAMES_SHOWN = 8


def show_export(done: Exported) -> None:
    """Print what the export holds, and how many rows do not fit its format."""
    screen = Console()
    state = "" if done.fresh else "is up to date: "
    splits = ", ".join(f"{name} {rows:,}" for name, rows in done.counts["splits"].items())
    screen.print(
        f"[bold]{shown(done.folder)}/[/]  {state}{counted(done.counts['rows'], 'row')} ({splits}),"
        f" {counted(done.counts['images'], 'image')}; README.md says how to load it",
        highlight=False,
        soft_wrap=True,
    )
    if done.counts["rejected"]:
        rejected = counted(done.counts["rejected"], "row")
        screen.print(f"rejected by the format: {rejected}; {shown(done.folder)}/rejects.jsonl says why", soft_wrap=True)
