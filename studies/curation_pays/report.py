"""Results as CSV tables, plots, and the section of the README: every number in it comes from here."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from studies.curation_pays.plots import draw_blur, draw_copies, draw_curves, draw_main, draw_sweep
from studies.curation_pays.section import section
from studies.curation_pays.tables import main_rows, regimes, rule_rows, sweep_rows, turn_rows
from winnow.errors import UserError
from winnow.files import write_text

README = Path("README.md")
_START, _END = "<!-- proof: written by `make proof` -->", "<!-- /proof -->"
_DRAW: dict[str, Callable[[Any, Path], None]] = {"sweep": draw_sweep, "rules": draw_curves}
_TABLES = {"main": main_rows, "second_turn": turn_rows, "sweep": sweep_rows, "rules": rule_rows}


def write_report(report: dict[str, Any], out: Path) -> None:
    """Write tables and plots of the parts that there are, and the README's section."""
    for name, draw in _DRAW.items():
        if name in report:
            draw(report[name], out / f"{name}.png")
    for name, rows in _TABLES.items():
        if name in report:
            write_text(out / f"{name}.csv", _csv(rows(report[name])))
    if main := report.get("main"):
        draw_main(regimes(main), out / "main.png")
    if photos := report.get("photos"):
        draw_blur(photos["blur"], out / "blur.png")
        draw_copies(photos["copies"], out / "copies.png")
    write_text(out / "section.md", section(report, out))


def update_readme(section_text: str, readme: Path = README) -> None:
    """Put the section between its two marks.

    Raises:
        UserError: the marks are missing.
    """
    before, after = around_section(readme)
    write_text(readme, f"{before}{_START}\n{section_text}{_END}{after}")


def around_section(readme: Path = README) -> tuple[str, str]:
    """What stands before and after the two marks.

    Raises:
        UserError: the marks are missing.
    """
    before, start, rest = readme.read_text(encoding="utf-8").partition(_START)
    _, end, after = rest.partition(_END)
    if not (start and end):
        raise UserError(f"{readme}: has no lines {_START} and {_END}; put them where the section should stand")
    return before, after


def read_parts(out: Path, parts: Iterable[str]) -> dict[str, Any]:
    """The results of all parts that have run, whenever that was."""
    files = {name: out / f"{name}.json" for name in parts}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.is_file()}


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
