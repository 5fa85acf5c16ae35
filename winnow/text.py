"""Text for people: Markdown cells and tables, shares, and text of a dataset on a terminal."""

from __future__ import annotations

import html
from collections.abc import Sequence

_LONGEST = 120


def cell(text: str, *, code: bool = False) -> str:
    """One table cell: escaped, one line, cut at 120 characters unless it is code."""
    return f"<code>{_as_html(' '.join(text.split()))}</code>" if code else escaped(one_line(text, _LONGEST))


def one_line(text: str, longest: int = 60) -> str:
    """The text on one line of at most ``longest`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def escaped(text: str) -> str:
    """Text on one line, of which nothing becomes Markdown or HTML."""
    marked = "".join(f"\\{each}" if each in "\\*_[]!#~" else each for each in _as_html(" ".join(text.split())))
    return marked.replace("&\\#", "&#")


def _as_html(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "&#124;").replace("`", "&#96;")


def visible(text: str) -> str:
    """Text with control characters written out, so that a terminal shows them and obeys none; line breaks stay."""
    return "".join(each if each.isprintable() or each == "\n" else f"\\x{ord(each):02x}" for each in text)


def table(headings: list[str], rows: list[list[str]], *, numbers_from: int | None = None) -> str:
    """A Markdown table; columns from ``numbers_from`` on are aligned to the right."""
    aligned = ["--:" if numbers_from is not None and at >= numbers_from else "---" for at in range(len(headings))]
    lines = [headings, aligned, *rows]
    head, rule, *body = (" | ".join(cells) for cells in lines)
    return "\n".join([f"| {head} |", f"|{rule.replace(' ', '')}|", *(f"| {line} |" for line in body)])


def counted(number: int, noun: str) -> str:
    """``1 row``, ``2,000 rows``; the noun in the singular, with a regular plural."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def some_of(names: Sequence[str], most: int = 3) -> str:
    """``a, b, c and 2 more``: the first names, and how many follow."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def share(part: int, whole: int) -> str:
    """``part / whole`` as a percentage with one decimal; – where ``whole`` is 0."""
    return f"{part / whole:.1%}" if whole else "–"
