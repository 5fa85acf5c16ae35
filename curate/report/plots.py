"""Vega-Lite charts of a curation, as a PNG each and as one page that needs no network."""

from __future__ import annotations

import html
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curate.recipe import all_rules, read_finished
from curate.report.histograms import Cut, Histogram, histograms
from curate.rules.decide import check_rules
from curate.workspace import Workspace
from winnow.files import atomic_path, write_text
from winnow.progress import Bar

Chart = dict[str, Any]  # a Vega-Lite specification

COLORS = {"keep": "#3f7f93", "flag": "#e0a526", "drop": "#c8553d"}
_PARTS = {"left": "#b9d2d9", "out": COLORS["drop"], "kept": COLORS["keep"]}
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
                "scale": _scale(COLORS),
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
    for bar in sorted(found.bars, key=lambda bar: list(COLORS).index(bar.decision)):
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


def _scale(colors: dict[str, str]) -> dict[str, list[str]]:
    return {"domain": list(colors), "range": list(colors.values())}


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


FOLDER, PAGE = "plots", "index.html"
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.5 Inter, "Helvetica Neue", Arial, sans-serif; color: #23272e; background: #f5f6f8; margin: 0; }}
header {{ padding: 28px 32px 8px; }}
h1 {{ font-size: 24px; margin: 0 0 4px; }}
p {{ margin: 0; color: #5b626d; }}
main {{ display: flex; flex-wrap: wrap; gap: 18px; padding: 20px 32px 40px; align-items: flex-start; }}
figure {{ margin: 0; background: white; border-radius: 8px; padding: 4px;
         box-shadow: 0 1px 3px rgba(20, 25, 35, .12); }}
</style>
<script>{library}</script></head>
<body><header><h1>{title}</h1><p>{summary}</p></header><main>{figures}</main>
<script>
for (const [id, specification] of Object.entries({charts})) {{
  vegaEmbed("#" + id, specification, {{actions: false, renderer: "svg"}});
}}
</script></body></html>
"""


def plot(folder: Path) -> list[Path]:
    """Write ``plots/`` of a finished curation: ``funnel.png``, ``<signal>.png`` and ``index.html``.

    Returns:
        The files, the page first.

    Raises:
        UserError: the folder is not a finished curation.
    """
    recipe, manifest = read_finished(folder)
    counts = manifest["counts"]
    charts: dict[str, Chart] = {"funnel": funnel(counts)}
    scores = recipe.signals.scores
    for found in histograms(Workspace(folder), check_rules(all_rules(recipe), scores), recipe.losses, scores):
        charts[found.column] = histogram(found)
    target = folder / FOLDER
    for stale in target.glob("*.png"):
        if stale.stem not in charts:
            stale.unlink()
    files = []
    with Bar("plot", len(charts)) as bar:
        for name, chart in charts.items():
            files.append(_png(chart, target / f"{name}.png"))
            bar.advance()
    write_text(target / PAGE, _page(recipe.name, counts, charts))
    return [target / PAGE, *files]


def _png(chart: Chart, path: Path) -> Path:
    import vl_convert

    with atomic_path(path) as temporary:
        temporary.write_bytes(vl_convert.vegalite_to_png(chart, scale=2))
    return path


def _page(name: str, counts: dict[str, Any], charts: dict[str, Chart]) -> str:
    import vl_convert

    kept = f"{counts['keep'] + counts['flag']:,} of {counts['rows']:,} rows kept, {counts['flag']:,} of them flagged"
    specifications = {f"chart-{number}": chart for number, chart in enumerate(charts.values())}
    return _PAGE.format(
        title=f"{html.escape(name)}: what curation did",
        summary=f"{kept}; {counts['images']:,} different images.",
        library=vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", "<\\/script"),
        figures="".join(f'<figure id="{identifier}"></figure>' for identifier in specifications),
        # Text of the dataset cannot end the script.
        charts=json.dumps(specifications).replace("<", "\\u003c"),
    )
