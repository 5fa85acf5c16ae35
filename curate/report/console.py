"""What a curation did, in numbers: for the manifest, the card and the terminal.

An explanation as a person reads it.

An inspection for people; text of the data set is shown as text.

`curate sources`: every layout with what it reads and an entry for a recipe.

What ``curate export`` prints.

``contamination.parquet`` and ``contamination.json``: what evaluation sets share with the data, and its fate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from curate.duplicates.contamination import CONTAMINATION
from curate.exports.export import Exported, export
from curate.exports.rows import open_curated
from curate.readers import SOURCES
from curate.readers.inspect import Inspection
from curate.recipe import ExportSettings
from curate.report.results import ASSIGNED_SPLIT
from curate.rules.decide import CheckedRule
from curate.rules.explain import Explanation
from curate.workspace import Workspace
from winnow.files import write_json
from winnow.records import to_record
from winnow.tables import database, literal, parquet, query_batches, row_count, write_parquet

REPORT = pa.schema([*CONTAMINATION, ("dropped", pa.bool_()), ("reason", pa.string())])
_COUNTED = {
    "rows": "count(DISTINCT sample_id)",
    "rows_with_same_question": "count(DISTINCT sample_id) FILTER (WHERE same_question)",
    "rows_by_question_alone": "count(DISTINCT sample_id) FILTER (WHERE match = 'question')",
    "rows_dropped": "count(DISTINCT sample_id) FILTER (WHERE dropped)",
    "images": "count(DISTINCT image_key)",
    "images_by_bytes": "count(DISTINCT image_key) FILTER (WHERE match = 'bytes')",
}


def write_report(space: Workspace) -> list[Path]:
    """Join what was found with the decisions; returns the files, none where no evaluation set was given.

    ``contamination.parquet`` has one row for each training row, benchmark and image: how they match (``bytes``,
    ``look``, ``question``), distances of the thumbnails (0-255) and of the hashes (bits of 64), the evaluation
    row, whether it asks the same, and whether and by which rule the training row was dropped.
    ``contamination.json`` counts them per benchmark.
    """
    found = [space.contamination, space.contamination_report]
    if not space.contamination_rows.is_file():
        for path in found:
            path.unlink(missing_ok=True)
        return []
    with database(space.work) as connection:
        joined = f"""
            SELECT c.* EXCLUDE (file_row_number), d.decision = 'drop' AS dropped, d.reason
            FROM read_parquet({literal(str(space.contamination_rows))}, file_row_number = true) c
            JOIN {parquet([space.decisions])} d ON d.sample_id = c.sample_id ORDER BY c.file_row_number
        """
        batches = query_batches(connection, joined)
        write_parquet(space.contamination, batches, REPORT)
        write_json(space.contamination_report, {"benchmarks": _benchmarks(connection, space)})
    return found


def read_report(space: Workspace) -> list[dict[str, Any]]:
    """The counts of each benchmark, in the recipe's order."""
    if not space.contamination_report.is_file():
        return []
    made: list[dict[str, Any]] = json.loads(space.contamination_report.read_text(encoding="utf-8"))["benchmarks"]
    return made


def _benchmarks(connection: duckdb.DuckDBPyConnection, space: Workspace) -> list[dict[str, Any]]:
    table = parquet([space.contamination])
    columns = ", ".join(f"{sql} AS {name}" for name, sql in _COUNTED.items())
    made = []
    for counts in json.loads(space.contamination_counts.read_text(encoding="utf-8")):
        name = [counts["benchmark"]]
        values = connection.execute(f"SELECT {columns} FROM {table} WHERE benchmark = ?", name).fetchall()[0]
        images = f"(SELECT DISTINCT image_key, hamming, distance FROM {table} WHERE benchmark = ? AND match = 'look')"
        hamming = connection.execute(f"SELECT hamming, count(*) FROM {images} GROUP BY 1 ORDER BY 1", name).fetchall()
        distance = connection.execute(
            f"SELECT ceil(distance)::INTEGER, count(*) FROM {images} GROUP BY 1 ORDER BY 1", name
        ).fetchall()
        made.append(
            {
                **counts,
                **dict(zip(_COUNTED, values, strict=True)),
                "look_images_by_hamming": {str(bits): count for bits, count in hamming},
                "look_images_by_distance_up_to": {str(apart): count for apart, count in distance},
            }
        )
    return made


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


_STYLES = {"keep": "green", "flag": "yellow", "drop": "red"}


def show_explanation(found: Explanation) -> None:
    """Print an explanation."""
    screen = Console()
    sample, decision = found.sample, found.decision
    fate = decision["decision"]
    reason = f" by [bold]{escape(decision['reason'])}[/]" if decision["reason"] else ""
    split = f"  in {escape(sample[ASSIGNED_SPLIT])}" if sample.get(ASSIGNED_SPLIT) else ""
    screen.print(f"[bold]{escape(sample['sample_id'])}[/]  [{_STYLES[fate]}]{fate}[/]{reason}{split}", highlight=False)
    for name in ("images", "question", "answer"):
        value = ", ".join(sample[name]) if isinstance(sample[name], list) else sample[name]
        screen.print(f"  {name:<9} {escape(value) or '–'}", highlight=False, style="dim")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "rule", "action", "fires when", "values"):
        table.add_column(heading, overflow="fold")
    for outcome in found.rules:
        style = _STYLES[outcome.rule.action] if outcome.fired else "dim"
        values = ", ".join(f"{name} = {_shown(value)}" for name, value in outcome.values.items())
        cells = (
            "●" if outcome.fired else "○",
            outcome.rule.name,
            outcome.rule.action,
            outcome.rule.expression.text,
            values,
        )
        table.add_row(*(escape(cell) for cell in cells), style=style)
    screen.print(table)
    for fired in decision["rules"]:
        if fired["related_row"]:
            screen.print(f"{escape(fired['rule'])}: see [bold]{escape(fired['related_row'])}[/]", highlight=False)
        if fired["rule"] == "correction":
            screen.print(f"a reviewer decided: {escape(str(json.loads(fired['values'])))}", highlight=False)
    if decision["duplicate_distance"] is not None and found.duplicates:
        screen.print(
            f"its image and the kept one's differ by {decision['duplicate_distance']:.2f} of 255 on average"
            f" (at most {found.duplicates.max_mean_diff:g} counts as the same),"
            f" their hashes in {decision['hamming']} of 64 bits",
            highlight=False,
        )
    for match in found.contamination:
        screen.print(
            escape(f"{match['benchmark']}: {describe_match(match)}; see {match['evaluation']}"), highlight=False
        )
    if found.stands_for:
        more = f" and {found.repeats - len(found.stands_for):,} more" if found.repeats > len(found.stands_for) else ""
        screen.print(f"it stands for {escape(', '.join(found.stands_for))}{more}, which repeat it", highlight=False)
    if found.rival:
        screen.print(f"same image and question, another answer: {escape(found.rival)}", highlight=False)
    for line, became in found.corrections:
        new = f" → {line.new}" if line.new else ""
        text = f"{line.reviewer} on {line.at:%Y-%m-%d}: {line.action}{new} ({became}, {line.correction_id})"
        screen.print(escape(text), highlight=False)


def describe_match(match: dict[str, Any]) -> str:
    """How a row of ``contamination.parquet`` matches, in words."""
    if match["match"] == "question":
        return "the same question is asked there"
    how = "byte for byte"
    if match["match"] == "look":
        how = f"thumbnails differ by {match['distance']:.2f} of 255, hashes in {match['hamming']} of 64 bits"
    asked = ", where the same question is asked" if match["same_question"] else ""
    return f"same image as {match['evaluation_path']} ({how}){asked}"


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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


def export_and_show(folder: Path, settings: ExportSettings) -> None:
    """Export a finished curation and say what it made."""
    show_export(export(open_curated(folder), settings))


def show_export(done: Exported) -> None:
    """One line on what there is now, one on what is missing."""
    screen = Console()
    state = "" if done.fresh else "is up to date: "
    splits = ", ".join(f"{name} {rows:,}" for name, rows in done.counts["splits"].items())
    screen.print(
        f"[bold]{done.folder}/[/]  {state}{done.counts['rows']:,} rows ({splits}),"
        f" {done.counts['images']:,} images; README.md says how to load it",
        highlight=False,
    )
    if done.counts["rejected"]:
        screen.print(f"{done.counts['rejected']:,} rows do not fit the format: {done.folder}/rejects.jsonl says why")
