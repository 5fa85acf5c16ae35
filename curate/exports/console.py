"""What ``curate export`` prints."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from curate.exports.export import Exported, export
from curate.exports.rows import open_curated
from curate.exports.settings import ExportSettings


def export_and_show(folder: Path, settings: ExportSettings) -> None:
    """Export a finished curation and say what it made."""
    show(export(open_curated(folder), settings))


def show(done: Exported) -> None:
    """One line on what there is now, one on what is missing."""
    screen = Console()
    state = "" if done.fresh else "is up to date: "
    splits = ", ".join(f"{name} {rows:,}" for name, rows in done.counts["splits"].items())
    screen.print(
        f"[bold]{done.folder}/[/]  {state}{done.counts['rows']:,} rows ({splits}),"
        f" {done.counts['pictures']:,} pictures; README.md says how to load it",
        highlight=False,
    )
    if done.counts["rejected"]:
        screen.print(f"{done.counts['rejected']:,} rows do not fit the format: {done.folder}/rejects.jsonl says why")
