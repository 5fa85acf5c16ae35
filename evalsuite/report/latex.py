"""Scores as a LaTeX table (package ``booktabs``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evalsuite.report.numbers import between, number, share, title

_ESCAPED = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "–": "--", "→": r"$\to$", "<": "$<$", ">": "$>$",
}  # fmt: skip


def latex_table(scores: Mapping[str, Any]) -> str:
    """Every task and metric of an evaluation: score, interval, rows, coverage; what was computed as comments."""
    rows, variants = [], []
    for name, task in scores["tasks"].items():
        for metric, entry in task["metrics"].items():
            rows.append(
                [name, title(metric), number(metric, entry["value"]), between(metric, entry), f"{entry['n']:,}",
                 share(entry["coverage"])]
            )  # fmt: skip
            variants.append(f"% {name}, {title(metric)}: {' '.join(entry['variant'].split())}")
    headers = ["task", "metric", "score", "95 % interval", "rows", "coverage"]
    partial = ["% PARTIAL: the run was stopped before its end"] if scores.get("partial") else []
    return "\n".join([f"% {' '.join(scores['name'].split())}", *partial, *variants, latex_rows(headers, rows, left=2)])


def latex_rows(headers: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> str:
    """A ``tabular``; the first ``left`` columns are aligned left, the others right."""
    columns = "l" * left + "r" * (len(headers) - left)
    lines = [f"\\begin{{tabular}}{{{columns}}}", "\\toprule", _line(headers), "\\midrule"]
    return "\n".join([*lines, *(_line(row) for row in rows), "\\bottomrule", "\\end{tabular}"])


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_ESCAPED.get(character, character) for character in " ".join(text.split()))


def _line(cells: Sequence[str]) -> str:
    return " & ".join(escape(cell) for cell in cells) + " \\\\"
