"""Charts. Categories differ by shape as well as by colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st

from dashboards.components.format import amount, interval, short_names
from dashboards.data.comparison import SliceChange
from dashboards.data.curated import Funnel, Step
from dashboards.data.scores import Score
from dashboards.data.thresholds import Histogram, Threshold
from dashboards.data.training import EpochLoss, LossPoint
from evalsuite.statistics import RankedSlice

_INK = "#808b99"  # readable on light and on dark
_ROW = 26  # pixels per run within a metric
_FRAME = 70  # pixels of legend and axis, which Streamlit counts as part of a chart's height


def scores_chart(scores: Sequence[Score]) -> alt.LayerChart | alt.FacetChart:
    """Dot and 95% interval per metric and run; for metrics that are shares of 1."""
    names = short_names(dict.fromkeys(score.run for score in scores))
    frame = pd.DataFrame(
        {
            "metric": [f"{score.title} · {score.task}" for score in scores],
            "run": [names[score.run] for score in scores],
            "Run": [score.run for score in scores],
            "value": [score.value for score in scores],
            "low": [score.value if score.low is None else score.low for score in scores],
            "high": [score.value if score.high is None else score.high for score in scores],
            "Score": [amount(score.value, score.unit) for score in scores],
            "95% interval": [interval(score.low, score.high, score.unit) for score in scores],
            "n": [score.n for score in scores],
        }
    )
    runs = list(dict.fromkeys(frame["run"]))
    base = alt.Chart(frame).encode(
        y=alt.Y(
            "metric:N",
            title=None,
            sort=None,
            axis=alt.Axis(labelLimit=260, labelFlush=False, ticks=False, domain=False),
        ),
        yOffset=alt.YOffset("run:N", sort=runs),
        color=alt.Color(
            "run:N",
            sort=runs,
            # One below the other: beside each other, names of checkpoints run over the edge of a narrow screen.
            legend=alt.Legend(title=None, orient="top", labelLimit=260, columns=1),
        ),
        tooltip=["Run", "metric", "Score", "95% interval", alt.Tooltip("n:Q", format=",")],
    )
    scale = alt.Scale(domain=[0, 1])
    axis = alt.Axis(format="%", title=None, tickCount=5, gridOpacity=0.6)
    line = base.mark_rule(strokeWidth=3).encode(x=alt.X("low:Q", scale=scale, axis=axis), x2="high:Q")
    shape = alt.Shape("run:N", sort=runs, legend=None)
    dot = base.mark_point(size=85, filled=True, opacity=1).encode(x=alt.X("value:Q", scale=scale), shape=shape)
    text = base.mark_text(align="left", dx=10, fontSize=12).encode(x=alt.X("high:Q", scale=scale), text="Score:N")
    height = len(set(frame["metric"])) * (_ROW * len(runs) + 12)
    legend = 20 * (len(runs) - 1)
    return alt.layer(line, dot, text).properties(height=height + _FRAME + legend)


def funnel_panel(funnel: Funnel) -> None:
    """The funnel's counts and chart: rows in, what each rule did, rows kept."""
    share = f" ({100 * funnel.kept / funnel.rows_in:.1f}%)" if funnel.rows_in else ""
    st.caption(f"{funnel.rows_in:,} rows in → {funnel.kept:,} kept{share}, {funnel.flagged:,} of them flagged")
    if funnel.steps:
        st.altair_chart(_funnel_chart(funnel), alt="Rows on which each rule fired, and rows that it dropped")
    else:
        st.caption("No rule fired on any row.")


def _funnel_chart(funnel: Funnel) -> alt.LayerChart | alt.FacetChart:
    """Bar per rule: rows it dropped, and rows on which it fired without being the reason of a drop."""
    outcomes = {"dropped": "dropped by the rule", "other": "fired, but not the reason"}
    rows = [
        {
            "rule": step.rule, "outcome": outcomes[part], "rows": count, "part": part,
            "label": _label(step),
            "end": step.fired,
        }
        for step in funnel.steps
        for part, count in (("dropped", step.dropped), ("other", step.fired - step.dropped))
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    order = [step.rule for step in funnel.steps]
    y = alt.Y(
        "rule:N",
        sort=order,
        title=None,
        axis=alt.Axis(labelLimit=200, labelFlush=False, labelOverlap=False, ticks=False, domain=False),
    )
    most = max(step.fired for step in funnel.steps)
    scale = alt.Scale(domain=[0, most * 1.6])  # leaves room for the labels
    bars = (
        alt.Chart(frame)
        .mark_bar(height=16, cornerRadiusEnd=2)
        .encode(
            y=y,
            x=alt.X("rows:Q", scale=scale, axis=None),
            color=alt.Color(
                "outcome:N",
                scale=alt.Scale(domain=list(outcomes.values()), range=["#d55e00", "#9aa4b2"]),
                legend=alt.Legend(title=None, orient="top", labelLimit=320, columns=1),
            ),
            order=alt.Order("part:N"),
            tooltip=["rule", "outcome", alt.Tooltip("rows:Q", format=",")],
        )
    )
    text = (
        alt.Chart(frame[frame["part"] == "dropped"])
        .mark_text(align="left", dx=8, fontSize=12, color=_INK)
        .encode(y=y, x=alt.X("end:Q", scale=scale), text="label:N")
    )
    return alt.layer(bars, text).properties(height=30 * len(order) + _FRAME)


def _label(step: Step) -> str:
    if step.dropped:
        return f"−{step.dropped:,}  →  {step.left:,} left"
    return f"{step.fired:,}, dropped by earlier rules" if step.action == "drop" else f"flag on {step.fired:,}"


def loss_chart(points: Sequence[LossPoint]) -> alt.LayerChart | alt.FacetChart:
    """Loss over steps: the logged values, and their exponential mean; one colour a stage."""
    frame = pd.DataFrame([asdict(point) for point in points])
    frame["smooth"] = frame.groupby("stage")["loss"].transform(
        lambda losses: losses.ewm(span=max(len(losses) / 20, 1)).mean()
    )
    stages = list(dict.fromkeys(frame["stage"]))
    base = alt.Chart(frame).encode(
        x=alt.X("step:Q", title="step", axis=alt.Axis(grid=False, tickCount=6)),
        color=alt.Color("stage:N", sort=stages, legend=alt.Legend(title=None, orient="top") if stages[1:] else None),
        tooltip=[
            "stage",
            alt.Tooltip("step:Q", format=","),
            alt.Tooltip("epoch:Q", format=".2f"),
            alt.Tooltip("loss:Q", format=".3f"),
        ],
    )
    scale = alt.Scale(domainMin=0)
    logged = base.mark_line(opacity=0.35, strokeWidth=1.5).encode(
        y=alt.Y("loss:Q", scale=scale, title="loss (nats per token)")
    )
    smooth = base.mark_line(strokeWidth=2.5).encode(y=alt.Y("smooth:Q", scale=scale))
    return alt.layer(logged, smooth).properties(height=300)


def epoch_chart(losses: Sequence[EpochLoss]) -> alt.Chart:
    """Mean loss of each source over the epochs; sources differ by colour and by shape."""
    frame = pd.DataFrame([asdict(loss) for loss in losses])
    sources = sorted(set(frame["source"]))
    legend = alt.Legend(title=None, orient="top", labelLimit=320)
    chart: alt.Chart = (
        alt.Chart(frame)
        .mark_line(point={"size": 70, "filled": True}, strokeWidth=2)
        .encode(
            x=alt.X("epoch:O", title="epoch", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("mean:Q", title="mean loss (nats per token)", scale=alt.Scale(domainMin=0)),
            color=alt.Color("source:N", sort=sources, legend=legend),
            shape=alt.Shape("source:N", sort=sources, legend=legend),
            tooltip=["source", "epoch", alt.Tooltip("mean:Q", format=".3f"), alt.Tooltip("rows:Q", format=",")],
        )
        .properties(height=240)
    )
    return chart


def excess_chart(slices: tuple[RankedSlice, ...]) -> alt.LayerChart | alt.FacetChart:
    """Dot and interval of the excess errors of each slice; sure ones in colour."""
    frame = pd.DataFrame(
        {
            "slice": [slice_name(ranked) for ranked in slices],
            "excess": [ranked.excess.excess for ranked in slices],
            "low": [excess_ends(ranked)[0] for ranked in slices],
            "high": [excess_ends(ranked)[1] for ranked in slices],
            "finding": [_finding(ranked) for ranked in slices],
        }
    )
    base = alt.Chart(frame).encode(
        y=alt.Y("slice:N", sort=None, title=None, axis=_slice_axis(340)),
        color=alt.Color(
            "finding:N",
            scale=alt.Scale(domain=["worse", "not sure", "better"], range=["#d55e00", "#9aa4b2", "#0072b2"]),
            legend=alt.Legend(title=None, orient="top"),
        ),
        tooltip=["slice", alt.Tooltip("excess:Q", format="+.1f"), alt.Tooltip("low:Q", format="+.1f"),
                 alt.Tooltip("high:Q", format="+.1f")],
    )  # fmt: skip
    interval = base.mark_rule(strokeWidth=3).encode(x=alt.X("low:Q", title="errors beyond those expected"), x2="high:Q")
    dot = base.mark_point(filled=True, size=80, opacity=1).encode(
        x="excess:Q", shape=alt.Shape("finding:N", legend=None)
    )
    zero = alt.Chart(pd.DataFrame({"x": [0]})).mark_rule(strokeDash=[4, 4], color="#808b99").encode(x="x:Q")
    return alt.layer(zero, interval, dot).properties(height=26 * len(slices) + 70)


def slice_name(ranked: RankedSlice) -> str:
    """``question type = color and reference = red``."""
    return " and ".join(f"{name.replace('_', ' ')} = {value}" for name, value in ranked.where)


def excess_ends(ranked: RankedSlice) -> tuple[float, float]:
    """The interval; slices of one image have none, and are never listed."""
    excess = ranked.excess
    return (excess.excess, excess.excess) if excess.low is None or excess.high is None else (excess.low, excess.high)


def _finding(ranked: RankedSlice) -> str:
    if ranked.q >= 0.05:
        return "not sure"
    return "worse" if ranked.excess.excess > 0 else "better"


def change_chart(changes: Sequence[SliceChange]) -> alt.LayerChart | alt.FacetChart:
    """Dot and interval of the change in each slice, in percentage points."""
    frame = pd.DataFrame(
        {
            "slice": [term_name(change.where) for change in changes],
            "change": [100 * change.difference for change in changes],
            "low": [100 * (change.low if change.low is not None else change.difference) for change in changes],
            "high": [100 * (change.high if change.high is not None else change.difference) for change in changes],
            "n": [change.n for change in changes],
            "q": [change.q for change in changes],
        }
    )
    base = alt.Chart(frame).encode(
        y=alt.Y("slice:N", sort=None, title=None, axis=_slice_axis(260)),
        tooltip=[
            "slice",
            alt.Tooltip("change:Q", format="+.1f"),
            alt.Tooltip("n:Q", format=","),
            alt.Tooltip("q:Q", format=".3g"),
        ],
    )
    title = "change in right answers, percentage points"
    interval = base.mark_rule(strokeWidth=3, color="#0072b2").encode(x=alt.X("low:Q", title=title), x2="high:Q")
    dot = base.mark_point(filled=True, size=80, opacity=1, color="#0072b2").encode(x="change:Q")
    zero = alt.Chart(pd.DataFrame({"x": [0]})).mark_rule(strokeDash=[4, 4], color="#808b99").encode(x="x:Q")
    return alt.layer(zero, interval, dot).properties(height=26 * len(changes) + 60)


def term_name(where: str) -> str:
    """``question type = color`` for a filter's ``question_type=color``."""
    name, _, value = where.partition("=")
    return f"{name.replace('_', ' ')} = {value}"


def _slice_axis(limit: int) -> alt.Axis:
    """An axis of slice names, cut at ``limit`` pixels."""
    return alt.Axis(labelLimit=limit, labelFlush=False, ticks=False, domain=False)


def histogram_chart(found: Histogram, threshold: Threshold, number: float) -> alt.LayerChart | alt.FacetChart:
    """The signal's distribution, the side on which the rule fires in colour, and the line."""
    frame = pd.DataFrame({"from": found.edges[:-1], "to": found.edges[1:], "images": found.counts})
    middle = (frame["from"] + frame["to"]) / 2
    below = threshold.sign.startswith("<")
    frame["side"] = np.where((middle < number) == below, "fires", "does not fire")
    bars = (
        alt.Chart(frame)
        .mark_bar(binSpacing=1)
        .encode(
            x=alt.X("from:Q", bin="binned", title=threshold.left),
            x2="to:Q",
            y=alt.Y("images:Q", title="rows × images"),
            color=alt.Color(
                "side:N",
                scale=alt.Scale(domain=["fires", "does not fire"], range=["#d55e00", "#9aa4b2"]),
                legend=alt.Legend(title=None, orient="top"),
            ),
            tooltip=[alt.Tooltip("from:Q", format=".4g"), alt.Tooltip("to:Q", format=".4g"), "images:Q"],
        )
    )
    lines = pd.DataFrame({"at": [threshold.number, number], "which": ["recipe", "now"]})
    rules = (
        alt.Chart(lines)
        .mark_rule(strokeWidth=2, color="#56b4e9")
        .encode(
            x="at:Q",
            strokeDash=alt.StrokeDash(
                "which:N", legend=alt.Legend(title=None, orient="top", symbolStrokeColor="#56b4e9")
            ),
        )
    )
    return alt.layer(bars, rules).properties(height=240)
