"""Slices: kinds of rows with more errors than expected, and the way to their cases."""

from __future__ import annotations

from dataclasses import replace

import altair as alt
import pandas as pd
import streamlit as st

from dashboards import state
from dashboards.components.commands import rank_slices, same_in_terminal
from dashboards.components.navigation import open_failures
from dashboards.data.comparison import MIN_IMAGES, MIN_ROWS_RANKED, terms
from dashboards.data.filters import View
from evalsuite.statistics import Slice

_SHOWN = 20
_AXIS = alt.Axis(labelLimit=340, labelFlush=False, ticks=False, domain=False)
_FORMATS = {
    "Errors": st.column_config.NumberColumn(format="%.1f%%"),
    "Rows": st.column_config.NumberColumn(format="localized"),
    "Images": st.column_config.NumberColumn(format="localized"),
}


def show_slices(view: View) -> None:
    """Everything below the title."""
    tasks = state.filter_values(view.run)["task"]
    task = st.selectbox("Task", tasks, key="slices_task", bind="query-params", width=360)
    ranking = state.slices(view.run, task)
    if not ranking.slices:
        st.caption(
            f"No slice of at least {MIN_ROWS_RANKED} rows and {MIN_IMAGES} images here, or no notion of right and wrong."
        )
        return
    st.caption(
        f"{ranking.rows:,} rows, {100 * ranking.rate:.1f}% errors. {ranking.tried} slices of at least {MIN_ROWS_RANKED} rows"
        f" and {MIN_IMAGES} images were looked at; q is corrected for that (Benjamini–Hochberg). Intervals are"
        " clustered by image."
    )
    shown = ranking.slices[:_SHOWN]
    st.altair_chart(excess_chart(shown), alt="Excess errors of each slice with 95% intervals")
    event = st.dataframe(
        _table(shown), hide_index=True, key=f"slices_{view.run.name}_{task}", on_select="rerun",
        selection_mode="single-row",
        column_config=_FORMATS,
    )  # fmt: skip
    st.caption("Choose a row to see its failures.")
    same_in_terminal(rank_slices(view.run, task))
    if chosen := event.selection.rows:
        open_failures(replace(view.spec, task=task, where=terms(shown[chosen[0]]), outcome="Wrong"))


def _table(slices: tuple[Slice, ...]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Slice": [_name(one) for one in slices],
            "Rows": [one.excess.n for one in slices],
            "Images": [one.excess.clusters for one in slices],
            "Errors": [100 * one.excess.rate for one in slices],
            "Excess errors": [
                f"{one.excess.excess:+.1f} ({low:+.1f} to {high:+.1f})" for one in slices for low, high in (_ends(one),)
            ],
            "q": ["< 0.001" if one.q < 0.001 else f"{one.q:.3f}" for one in slices],
        }
    )


def _name(one: Slice) -> str:
    return " and ".join(f"{name.replace('_', ' ')} = {value}" for name, value in one.where)


def _ends(one: Slice) -> tuple[float, float]:
    """The interval; slices of one image have none, and are never listed."""
    excess = one.excess
    return (excess.excess, excess.excess) if excess.low is None or excess.high is None else (excess.low, excess.high)


def excess_chart(slices: tuple[Slice, ...]) -> alt.LayerChart | alt.FacetChart:
    """Dot and interval of the excess errors of each slice; sure ones in colour."""
    frame = pd.DataFrame(
        {
            "slice": [_name(one) for one in slices],
            "excess": [one.excess.excess for one in slices],
            "low": [_ends(one)[0] for one in slices],
            "high": [_ends(one)[1] for one in slices],
            "finding": [_finding(one) for one in slices],
        }
    )
    base = alt.Chart(frame).encode(
        y=alt.Y("slice:N", sort=None, title=None, axis=_AXIS),
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


def _finding(one: Slice) -> str:
    if one.q >= 0.05:
        return "not sure"
    return "worse" if one.excess.excess > 0 else "better"
