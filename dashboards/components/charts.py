"""Charts. Categories are told apart by shape as well as by colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import altair as alt
import pandas as pd

from dashboards.components.format import amount, interval, metric_name
from dashboards.data.curated import Funnel, Step
from dashboards.data.scores import Score
from dashboards.data.training import EpochLoss, LossPoint

_INK = "#808b99"  # readable on light and on dark
_ROW = 26  # pixels per run within a metric
_FRAME = 70  # pixels of legend and axis, which Streamlit counts as part of a chart's height


def scores_chart(scores: Sequence[Score]) -> alt.LayerChart | alt.FacetChart:
    """Dot and 95% interval per metric and run; for metrics that are shares of 1."""
    frame = pd.DataFrame(
        {
            "metric": [f"{metric_name(score.metric)} · {score.task}" for score in scores],
            "run": [score.run for score in scores],
            "value": [score.value for score in scores],
            "low": [score.value if score.low is None else score.low for score in scores],
            "high": [score.value if score.high is None else score.high for score in scores],
            "Score": [amount(score.value, is_share=True) for score in scores],
            "95% interval": [interval(score.low, score.high, is_share=True) for score in scores],
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
        color=alt.Color("run:N", sort=runs, legend=alt.Legend(title=None, orient="top", labelLimit=240)),
        tooltip=["run", "metric", "Score", "95% interval", alt.Tooltip("n:Q", format=",")],
    )
    scale = alt.Scale(domain=[0, 1])
    axis = alt.Axis(format="%", title=None, tickCount=5, gridOpacity=0.6)
    line = base.mark_rule(strokeWidth=3).encode(x=alt.X("low:Q", scale=scale, axis=axis), x2="high:Q")
    shape = alt.Shape("run:N", sort=runs, legend=None)
    dot = base.mark_point(size=85, filled=True, opacity=1).encode(x=alt.X("value:Q", scale=scale), shape=shape)
    text = base.mark_text(align="left", dx=10, fontSize=12).encode(x=alt.X("high:Q", scale=scale), text="Score:N")
    height = len(set(frame["metric"])) * (_ROW * len(runs) + 12)
    return alt.layer(line, dot, text).properties(height=height + _FRAME)


def funnel_chart(funnel: Funnel) -> alt.LayerChart | alt.FacetChart:
    """Bar per rule: rows it dropped, and rows on which it fired without being the reason of a drop."""
    fate = {"dropped": "dropped by the rule", "other": "fired, but not the reason"}
    rows = [
        {
            "rule": step.rule, "fate": fate[part], "rows": count, "part": part,
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
                "fate:N",
                scale=alt.Scale(domain=list(fate.values()), range=["#d55e00", "#9aa4b2"]),
                legend=alt.Legend(title=None, orient="top", labelLimit=320),
            ),
            order=alt.Order("part:N"),
            tooltip=["rule", "fate", alt.Tooltip("rows:Q", format=",")],
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
    return (
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
