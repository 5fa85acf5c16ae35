"""Scores, shares and p-values as text, and tables of them in Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def number(unit: str, value: float | None, *, sign: bool = False) -> str:
    """A score by its unit: ``%`` 0.8953 → 89.5, ``points`` 1423.25 → 1423.2, '' 5.3121 → 5.31; None → –."""
    if value is None:
        return "–"
    digits = 1 if unit in ("%", "points") else 2
    rounded = round(100 * value if unit == "%" else value, digits) + 0.0  # no −0.0
    shown = f"{rounded:+.{digits}f}"
    return shown.replace("-", "−") if sign else shown.lstrip("+").replace("-", "−")


def between(unit: str, entry: Mapping[str, Any], *, sign: bool = False) -> str:
    """The interval of an entry with ``ci_low`` and ``ci_high``."""
    if entry.get("ci_low") is None:
        return "–"
    return f"{number(unit, entry['ci_low'], sign=sign)} to {number(unit, entry['ci_high'], sign=sign)}"


def probability(p: float | None) -> str:
    """A p-value with two digits, never 0."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def share(value: float) -> str:
    """A share as a percentage."""
    return f"{100 * value:.1f} %"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: set[int]) -> list[str]:
    """Lines of a table; ``right`` are the places of columns aligned right."""
    marks = ["---:" if place in right else "---" for place in range(len(header))]
    lines = [header, marks, *rows]
    return ["| " + " | ".join(cell(text) for text in line) + " |" for line in lines]


def cell(text: str) -> str:
    """Text that cannot end a cell, a line or become markup."""
    return " ".join(_escaped(str(text)).split())


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")


def ends(text: str, longest: int) -> str:
    """A long text without its middle: what states an answer often ends it."""
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]} … {text[-half:]}"


_CODE = re.compile(r"(`[^`\\|<\n]+`)")


def code_parts(text: str) -> list[tuple[str, bool]]:
    """The text in pieces, each with whether it stood between backticks, which are taken off."""
    pieces = _CODE.split(text)
    return [(piece.strip("`") if place % 2 else piece, bool(place % 2)) for place, piece in enumerate(pieces) if piece]


def prose(text: str) -> str:
    """A sentence as Markdown: what stands between backticks is code, and nothing else is markup."""
    pieces = _CODE.split(" ".join(text.split()))
    return "".join(piece if place % 2 else _escaped(piece) for place, piece in enumerate(pieces))


_ESCAPED = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "–": "--", "→": r"$\to$", "<": "$<$", ">": "$>$",
}  # fmt: skip


def latex_table(scores: Mapping[str, Any]) -> str:
    """Every task and metric of an evaluation: score, interval, rows, coverage; what was computed as comments."""
    rows, variants = [], []
    for name, task in scores["tasks"].items():
        for entry in task["metrics"].values():
            title, unit = entry["title"], entry["unit"]
            rows.append(
                [name, title, number(unit, entry["value"]), between(unit, entry), f"{entry['n']:,}",
                 share(entry["coverage"])]
            )  # fmt: skip
            variants.append(f"% {name}, {title}: {' '.join(entry['variant'].split())}")
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
