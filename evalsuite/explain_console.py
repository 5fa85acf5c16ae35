"""An explanation as tables in the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalsuite.analysis.results import SLICE, Row
from evalsuite.explain import Explanation

_LONGEST = 400


def print_explanations(found: Sequence[Explanation], console: Console | None = None) -> None:
    """Every explanation, one below the other."""
    console = console or Console()
    for one in found:
        console.print()
        console.print(_facts(one.task, one.row))
        for metric in one.metrics:
            console.print()
            score = "–" if metric.score is None else f"{metric.score:.4g}"
            console.print(Text(f"{metric.name} = {score}", style="bold"), Text(metric.variant, style="dim"))
            if not metric.readings:
                continue
            table = Table(box=None, pad_edge=False, padding=(0, 2))
            for header in ("  rule", "reads as", "matches", "score"):
                table.add_column(header, overflow="fold")
            for reading in metric.readings:
                table.add_row(
                    f"  {reading.rule}",
                    Text("not read" if reading.text is None else repr(_cut(reading.text))),
                    Text(_cut(reading.matched) or "–"),
                    "–" if reading.score is None else f"{reading.score:.4g}",
                )
            console.print(table)


def _facts(task: str, row: Row) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2), show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    counted: Counter[str] = Counter(row["references"])
    references = ", ".join(f"{text!r}" + (f" × {count}" if count > 1 else "") for text, count in counted.most_common())
    facts = {
        "sample": row["sample_id"],
        "task": task,
        "images": ", ".join(row["images"]),
        "question": row["question"],
        "options": " | ".join(row.get("choices") or ()),
        "references": references,
        "raw": repr(_cut(row["raw"] or ""))
        + f"  ({row['finish_reason']}{', ' + row['error'] if row.get('error') else ''})",
        "extracted": "nothing" if row["extracted"] is None else repr(_cut(row["extracted"])),
        "status": row["status"],
        **{
            key.removeprefix(SLICE).replace("_", " "): row[key]
            for key in sorted(row)
            if key.startswith(SLICE) and row[key]
        },
    }
    for name, value in facts.items():
        if value:
            table.add_row(name, Text(value))
    return table


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " …"
