"""Text for Markdown reports: cells, tables, shares."""

from __future__ import annotations

import html

_LONGEST = 120


def cell(text: str, *, code: bool = False) -> str:
    """One table cell: escaped, one line, cut at 120 characters unless it is code."""
    flat = " ".join(text.split())
    short = flat if len(flat) <= _LONGEST or code else flat[: _LONGEST - 1] + "…"
    escaped = html.escape(short, quote=False).replace("|", "&#124;").replace("`", "&#96;")
    if code:
        return f"<code>{escaped}</code>"
    return "".join(f"\\{character}" if character in "\\*_[]!#~" else character for character in escaped).replace(
        "&\\#", "&#"
    )


def table(headings: list[str], rows: list[list[str]], *, numbers_from: int | None = None) -> str:
    """A Markdown table; columns from ``numbers_from`` on are aligned to the right."""
    aligned = ["--:" if numbers_from is not None and at >= numbers_from else "---" for at in range(len(headings))]
    lines = [headings, aligned, *rows]
    head, rule, *body = (" | ".join(cells) for cells in lines)
    return "\n".join([f"| {head} |", f"|{rule.replace(' ', '')}|", *(f"| {line} |" for line in body)])


def share(part: int, whole: int) -> str:
    """``part / whole`` as a percentage with one decimal; – where ``whole`` is 0."""
    return f"{part / whole:.1%}" if whole else "–"
