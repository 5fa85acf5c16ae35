"""An explanation as a person reads it."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from curate.report.results import ASSIGNED_SPLIT
from curate.rules.explain import Explanation

_STYLES = {"keep": "green", "flag": "yellow", "drop": "red"}


def show(found: Explanation) -> None:
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
        if fired["kept_twin"]:
            screen.print(f"{escape(fired['rule'])}: see [bold]{escape(fired['kept_twin'])}[/]", highlight=False)
        if fired["rule"] == "correction":
            screen.print(f"a reviewer decided: {escape(str(json.loads(fired['values'])))}", highlight=False)
    if decision["duplicate_distance"] is not None and found.duplicates:
        screen.print(
            f"its picture and the kept one's differ by {decision['duplicate_distance']:.2f} of 255 on average (at most"
            f" {found.duplicates.confirm:g} counts as the same), their hashes in {decision['hamming']} of 64 bits",
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
        screen.print(f"same picture and question, another answer: {escape(found.rival)}", highlight=False)
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
    return f"same picture as {match['evaluation_path']} ({how}){asked}"


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)
