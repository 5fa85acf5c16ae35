"""``report.md`` and ``report.html``: the same facts for a terminal and for a browser."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalsuite.analysis.results import TaskResult
from evalsuite.report.html import html_report
from evalsuite.report.markdown import markdown_report
from winnow.files import write_text


def write_reports(
    folder: Path,
    scores: Mapping[str, Any],
    results: Mapping[str, TaskResult],
    image_roots: Mapping[str, Path],
    skipped: Mapping[str, Any],
) -> None:
    """Atomically write both reports into ``folder``."""
    write_text(folder / "report.md", markdown_report(scores, skipped))
    write_text(folder / "report.html", html_report(scores, results, image_roots, skipped))
