"""Intervals as inline SVG. Colours come from the page's style sheet, so they follow light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

_LEFT, _RIGHT, _ROW, _AXIS = 190, 90, 30, 26
_WIDTH = 760


@dataclass(frozen=True)
class Point:
    """A value with its interval; ``kind`` is the style class (``now`` or ``before``)."""

    kind: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Line:
    """One labelled line of a plot; ``shown`` is the number written at its right end."""

    label: str
    points: Sequence[Point]
    shown: str


def interval_plot(lines: Sequence[Line], top: float, ticks: Sequence[tuple[float, str]], name: str) -> Markup:
    """Dots with whiskers on a common axis from 0 to ``top``.

    Args:
        ticks: (value, label) of the axis.
        name: what a screen reader says.
    """
    height = len(lines) * _ROW + _AXIS
    span = _WIDTH - _LEFT - _RIGHT

    def x(value: float) -> str:
        return f"{_LEFT + span * min(max(value / top, 0.0), 1.0):.1f}"

    parts = [f'<svg class="plot" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(name)}">']
    for value, label in ticks:
        parts.append(f'<line class="grid" x1="{x(value)}" x2="{x(value)}" y1="4" y2="{height - _AXIS + 4}"/>')
        parts.append(f'<text class="tick" x="{x(value)}" y="{height - 6}" text-anchor="middle">{escape(label)}</text>')
    for number, line in enumerate(lines):
        middle = number * _ROW + _ROW / 2 + 2
        parts.append(f'<text class="label" x="0" y="{middle + 4}">{escape(_short(line.label))}</text>')
        for place, point in enumerate(line.points):
            y = middle + (place - (len(line.points) - 1) / 2) * 9
            if point.low is not None and point.high is not None:
                parts.append(
                    f'<line class="whisker {point.kind}" x1="{x(point.low)}" x2="{x(point.high)}" y1="{y}" y2="{y}"/>'
                )
            parts.append(f'<circle class="dot {point.kind}" cx="{x(point.value)}" cy="{y}" r="4.5"/>')
        parts.append(f'<text class="shown" x="{_WIDTH}" y="{middle + 4}" text-anchor="end">{escape(line.shown)}</text>')
    parts.append("</svg>")
    return Markup("".join(parts))  # every text in it was escaped above


def _short(label: str, limit: int = 26) -> str:
    return label if len(label) <= limit else label[: limit - 1] + "…"
