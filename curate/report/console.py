"""What a curation did, in numbers: for the manifest, the card and the terminal."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from curate.contamination.report import read_report
from curate.rules.columns import parquet
from curate.rules.fates import CheckedRule
from curate.workspace import Workspace, row_count
from winnow.tables import database

_BAR = 24
_COLOURS = {"drop": "red", "flag": "yellow"}


def count_rows(space: Workspace, rules: list[CheckedRule]) -> dict[str, Any]:
    """Rows by decision, by rule and by source, as the manifest holds them.

    ``rules``: each with ``fired`` (rows), ``reason`` (rows that it is the reason of: the step of
    the funnel) and ``alone`` (rows on which no other rule fired).
    """
    decided = parquet([space.decisions])
    with database(space.work) as connection:
        fates = dict(connection.execute(f"SELECT decision, count(*) FROM {decided} GROUP BY 1").fetchall())
        reasons = dict(connection.execute(f"SELECT reason, count(*) FROM {decided} GROUP BY 1").fetchall())
        fired = {
            name: (count, alone)
            for name, count, alone in connection.execute(f"""
                SELECT fired.rule, count(*), count(*) FILTER (WHERE alone)
                FROM (SELECT unnest(rules) AS fired, len(rules) = 1 AS alone FROM {decided}) GROUP BY 1
            """).fetchall()
        }
        sources = connection.execute(f"""
            SELECT s.source, count(*), count(*) FILTER (WHERE d.decision = 'keep'),
                   count(*) FILTER (WHERE d.decision = 'flag'), count(*) FILTER (WHERE d.decision = 'drop')
            FROM {parquet([space.samples])} s JOIN {decided} d USING (position) GROUP BY 1 ORDER BY min(s.position)
        """).fetchall()
    actions = {rule.name: rule.action for rule in rules}
    if "correction" in fired:
        actions["correction"] = "drop"
    corrections = json.loads(space.corrections.read_text(encoding="utf-8"))["counts"]
    return {
        "rows": sum(fates.values()),
        "keep": fates.get("keep", 0),
        "flag": fates.get("flag", 0),
        "drop": fates.get("drop", 0),
        "paths": row_count(space.paths),
        "images": sum(row_count(part) for part in space.image_parts()),
        "rules": [
            {
                "rule": name,
                "action": action,
                "fired": fired.get(name, (0, 0))[0],
                "reason": reasons.get(name, 0),
                "alone": fired.get(name, (0, 0))[1],
            }
            for name, action in actions.items()
        ],
        "sources": [
            {"source": name, "rows": rows, "keep": keep, "flag": flag, "drop": drop}
            for name, rows, keep, flag, drop in sources
        ],
        "splits": _splits(space),
        "contamination": read_report(space),
        "corrections": corrections,
    }


def _splits(space: Workspace) -> list[dict[str, Any]]:
    """Per source: its kept rows, in all and in each split; [] for a set that is not split."""
    if not space.splits.is_file():
        return []
    with database(space.work) as connection:
        found = connection.execute(f"""
            SELECT s.source, p.assigned_split, count(*)
            FROM {parquet([space.samples])} s JOIN {parquet([space.splits])} p USING (position)
            JOIN {parquet([space.decisions])} d USING (position)
            WHERE d.decision <> 'drop' GROUP BY 1, 2 ORDER BY min(s.position), 2
        """).fetchall()
    by_source: dict[str, dict[str, int]] = {}
    for source, split, count in found:
        by_source.setdefault(source, {})[split] = count
    return [{"source": name, "total": sum(rows.values()), "rows": rows} for name, rows in by_source.items()]


def show_summary(counts: dict[str, Any], seconds: dict[str, float], space: Workspace, recipe: str) -> None:
    """Print the funnel, the time that each step took, and what to do next."""
    screen = Console()
    rows = counts["rows"]
    table = Table(box=None, pad_edge=False, header_style="dim", show_footer=True, footer_style="bold")
    table.add_column("rule", footer="out", no_wrap=True)
    table.add_column("action", footer="")
    table.add_column("fired", justify="right", footer="")
    table.add_column("left", justify="right", footer=f"{counts['keep'] + counts['flag']:,}")
    table.add_column("share", justify="right", footer=_share(counts["keep"] + counts["flag"], rows))
    table.add_column("", footer=_bar(counts["keep"] + counts["flag"], rows, "green"), min_width=_BAR)
    left = rows
    table.add_row("in", "", "", f"{rows:,}", "", _bar(rows, rows, "blue"), style="bold")
    for rule in counts["rules"]:
        if rule["rule"] == "bad_row" and not rule["fired"]:
            continue
        left -= rule["reason"]
        table.add_row(
            rule["rule"],
            Text(rule["action"], style=_COLOURS[rule["action"]]),
            f"{rule['fired']:,}",
            f"{left:,}",
            _share(rule["fired"], rows),
            _bar(rule["fired"], rows, _COLOURS[rule["action"]]),
        )
    screen.print()
    screen.print(table)
    screen.print(
        f"\nkept {counts['keep']:,}, flagged {counts['flag']:,} (kept too), dropped {counts['drop']:,} of {rows:,} rows"
        f" about {counts['images']:,} different images",
        highlight=False,
    )
    for one in counts["contamination"]:
        screen.print(
            f"{one['images']:,} images ({one['images_by_bytes']:,} of them byte for byte) are also in"
            f" {escape(one['benchmark'])}; {one['rows']:,} rows, {one['rows_dropped']:,} of them dropped",
            highlight=False,
        )
    if counts["splits"]:
        totals: dict[str, int] = {}
        for one in counts["splits"]:
            for name, number in one["rows"].items():
                totals[name] = totals.get(name, 0) + number
        screen.print(f"splits: {', '.join(f'{name} {totals[name]:,}' for name in sorted(totals))}", highlight=False)
    if counts["corrections"]:
        fates = ", ".join(f"{number:,} {fate}" for fate, number in counts["corrections"].items())
        screen.print(f"reviewers' corrections: {fates}", highlight=False)
    times = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items() if value >= 0.05)
    screen.print(f"{sum(seconds.values()):.1f} s: {times}" if times else "", style="dim", highlight=False)
    screen.print(f"\n[bold]{space.folder}/[/]  README.md (card), samples.jsonl, ledger.jsonl, decisions.parquet")
    dropped = "ID" if counts["drop"] == 0 else "SAMPLE_ID"
    screen.print(
        f"next: `curate explain {dropped} --curated {space.folder}`; edit a threshold, then `curate decide {recipe}`"
        f" (decodes nothing)",
        highlight=False,
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _bar(part: int, whole: int, colour: str) -> Text:
    cells = part / whole * _BAR if whole else 0
    full, rest = int(cells), cells - int(cells)
    end = "" if part == 0 else "▏▎▍▌▋▊▉█"[int(rest * 8)] if rest > 0 or not full else ""
    return Text("█" * full + end, style=colour)
