"""Vega-Lite charts of a curation. One specification serves the page and the PNG files."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from curate.plot.histograms import Cut, Histogram

Chart = dict[str, Any]  # a Vega-Lite specification

COLOURS = {"keep": "#3f7f93", "flag": "#e0a526", "drop": "#c8553d"}
_PARTS = {"left": "#b9d2d9", "out": COLOURS["drop"], "kept": COLOURS["keep"]}
_GREY, _INK = "#7d838d", "#23272e"
_WIDTH, _HEIGHT = 440, 180
_LABEL_ROWS = 5  # labels of thresholds step down, so that near ones do not write over each other


def funnel(counts: dict[str, Any]) -> Chart:
    """Rows that are left after each rule that took any out, and how many it took."""
    left = counts["rows"]
    bars = [_step("input", 0, left, "left", f"{left:,}")]
    for rule in counts["rules"]:
        if gone := rule["reason"]:
            left -= gone
            bars.append(_step(rule["rule"], 0, left, "left", ""))
            bars.append(_step(rule["rule"], left, left + gone, "out", f"−{gone:,}"))
    bars.append(_step("kept", 0, left, "kept", f"{left:,} ({left / max(counts['rows'], 1):.1%})"))
    steps = list(dict.fromkeys(bar["step"] for bar in bars))
    y = {"field": "step", "type": "nominal", "sort": steps, "title": None,
         "axis": {"labelFontSize": 12, "ticks": False, "domain": False}}  # fmt: skip
    axis = {
        "field": "from",
        "type": "quantitative",
        "title": "rows",
        "axis": {"format": ",d", "tickMinStep": 1, "tickCount": 6},
    }
    drawn = {
        "mark": {"type": "bar", "height": {"band": 0.72}, "cornerRadius": 1},
        "encoding": {
            "x": {**axis, "scale": {"domain": [0, max(counts["rows"], 1) * 1.14], "nice": False}},
            "x2": {"field": "to"},
            "color": {"field": "part", "type": "nominal", "legend": None, "scale": _scale(_PARTS)},
            "tooltip": [_tip("step", "rule"), _tip("part"), _tip("rows", number=",")],
        },
    }
    notes = {
        "transform": [{"filter": "datum.note != ''"}],
        "mark": {"type": "text", "align": "left", "dx": 5, "fontSize": 11, "color": _INK},
        "encoding": {"x": {"field": "to", "type": "quantitative"}, "text": {"field": "note"}},
    }
    chart = {"data": {"values": bars}, "encoding": {"y": y}, "layer": [drawn, notes]}
    return _framed(chart, "Funnel", "rows left after each rule that took any out", height=24 * len(steps))


def histogram(found: Histogram) -> Chart:
    """Rows by value of a signal, stacked by decision, thresholds as lines named after their rules."""
    cuts = [cut for cut in found.cuts if found.is_near(cut.value)]
    far = [cut for cut in found.cuts if not found.is_near(cut.value)]
    ends = [edge for bar in found.bars for edge in (bar.start, bar.end)] + [cut.value for cut in cuts]
    x = {"type": "quantitative", "scale": {"domain": [min(ends), max(ends)], "nice": False}}
    bars = {
        "data": {"values": _stacked(found)},
        "mark": {"type": "bar", "binSpacing": 0.5},
        "encoding": {
            "x": {**x, "field": "start", "title": found.column, "axis": {"grid": False, "tickCount": 8}},
            "x2": {"field": "end"},
            "y": {
                "field": "low",
                "type": "quantitative",
                "title": "rows",
                "axis": {"format": ",d", "tickMinStep": 1, "tickCount": 4},
            },
            "y2": {"field": "high"},
            "color": {
                "field": "decision",
                "type": "nominal",
                "scale": _scale(COLOURS),
                "legend": {"title": None, "orient": "right"},
            },
            "tooltip": [
                _tip("start", "from", ".4~g"),
                _tip("end", "to", ".4~g"),
                _tip("decision"),
                _tip("rows", number=","),
            ],
        },
    }
    unseen = ((found.missing, "without a value"), (found.beyond, "beyond the axis"))
    notes = [found.about, *(f"{count:,} rows {what}" for count, what in unseen if count)]
    chart = {"layer": [bars, *_thresholds(cuts), *_far_thresholds(far, max(ends))]}
    return _framed(chart, found.column, " · ".join(note for note in notes if note), height=_HEIGHT)


def _stacked(found: Histogram) -> list[dict[str, Any]]:
    """Bars with the height at which each begins and ends: kept rows below, dropped ones on top."""
    tops: dict[float, int] = {}
    values = []
    for bar in sorted(found.bars, key=lambda one: list(COLOURS).index(one.decision)):
        low = tops.get(bar.start, 0)
        tops[bar.start] = low + bar.rows
        place = {"start": bar.start, "end": bar.end, "low": low, "high": low + bar.rows}
        values.append({**place, "decision": bar.decision, "rows": bar.rows})
    return values


def _thresholds(cuts: Sequence[Cut]) -> list[Chart]:
    """A line and a label for each threshold in view."""
    layers: list[Chart] = []
    for number, (value, label) in enumerate(_labels(cuts)):
        data = {"values": [{"value": value, "label": label}]}
        x = {"field": "value", "type": "quantitative"}
        line = {"type": "rule", "color": _INK, "strokeDash": [4, 3], "strokeWidth": 1.3}
        layers.append({"data": data, "mark": line, "encoding": {"x": x, "tooltip": [_tip("label", "rule")]}})
        layers.append({"data": data, **_label(x, number, "left")})
    return layers


def _far_thresholds(cuts: Sequence[Cut], right: float) -> list[Chart]:
    """Thresholds far from all bars would squeeze these to nothing: labels with an arrow at the edge of the axis."""
    layers = []
    for number, (value, label) in enumerate(_labels(cuts)):
        beyond = value > right
        data = {"values": [{"label": f"{label} →" if beyond else f"← {label}"}]}
        place = _label({"value": _WIDTH if beyond else 0}, number, "right" if beyond else "left")
        layers.append({"data": data, **place})
    return layers


def _labels(cuts: Sequence[Cut]) -> list[tuple[float, str]]:
    names: dict[float, list[str]] = {}
    for cut in cuts:
        names.setdefault(cut.value, []).append(cut.rule)
    return [(value, f"{', '.join(dict.fromkeys(names[value]))} {value:g}") for value in sorted(names)]


def _label(x: dict[str, Any], number: int, align: str) -> Chart:
    style = {"fontSize": 10.5, "fontWeight": 600, "color": _INK, "baseline": "top"}
    shift = {"align": align, "dx": 4 if align == "left" else -4}
    y = {"value": 2 + 13 * (number % _LABEL_ROWS)}
    return {"mark": {"type": "text", **shift, **style}, "encoding": {"x": x, "y": y, "text": {"field": "label"}}}


def _step(name: str, start: int, end: int, part: str, note: str) -> dict[str, Any]:
    return {"step": name, "from": start, "to": end, "part": part, "rows": end - start, "note": note}


def _scale(colours: dict[str, str]) -> dict[str, list[str]]:
    return {"domain": list(colours), "range": list(colours.values())}


def _tip(field: str, title: str | None = None, number: str | None = None) -> dict[str, Any]:
    kind = {"type": "quantitative", "format": number} if number else {"type": "nominal"}
    return {"field": field, "title": title or field, **kind}


def _framed(chart: Chart, title: str, subtitle: str, height: int) -> Chart:
    quiet = {"gridColor": "#eceef1", "domainColor": "#c9ced6", "tickColor": "#c9ced6", "labelColor": "#4b515b"}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "width": _WIDTH,
        "height": height,
        "background": "white",
        "padding": 14,
        "title": {
            "text": title,
            "subtitle": textwrap.wrap(subtitle, 88)[:3],
            "anchor": "start",
            "fontSize": 15,
            "subtitleFontSize": 11,
            "subtitleColor": _GREY,
            "offset": 10,
        },
        "config": {
            "font": "Inter, 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif",
            "view": {"stroke": None},
            "axis": {**quiet, "titleColor": _GREY, "titleFontWeight": 400},
        },
        **chart,
    }
