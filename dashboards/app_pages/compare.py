"""Compare: the flip matrix of two runs, what is certain about the change, and the way to the cases.

Before and after for exactly the rows that reviewers touched.
"""

from __future__ import annotations

from dataclasses import replace

import altair as alt
import pandas as pd
import streamlit as st

from dashboards import state
from dashboards.components.cards import count_card
from dashboards.components.commands import compare_runs, same_in_terminal
from dashboards.components.format import difference, difference_interval
from dashboards.components.navigation import open_failures
from dashboards.data.comparison import Flips
from dashboards.data.filters import Outcome, View


def reviewed_rows_panel(view: View) -> None:
    """What both runs said about the evaluation rows with a decision that counts."""
    touched = tuple(
        dict.fromkeys(decision.line.sample_id for decision in state.decisions() if decision.state == "active")
    )
    if not touched or view.base is None:
        return
    found = state.touched(view.run, view.base, touched)
    if not found:
        return
    st.subheader("Rows that reviewers touched")
    fixed = sum(one.now is True and one.before is False for one in found)
    broken = sum(one.now is False and one.before is True for one in found)
    st.caption(f"{len(found):,} rows of both runs: {fixed:,} fixed, {broken:,} broken")
    words = {True: "right", False: "wrong", None: ""}
    table = pd.DataFrame(
        {
            "Sample": [one.sample_id for one in found],
            "Question": [one.question for one in found],
            "References": [" · ".join(one.references) for one in found],
            "Before": [f"{one.said_before} ({words[one.before]})" for one in found],
            "After": [f"{one.said_now} ({words[one.now]})" for one in found],
        }
    )
    st.dataframe(table, hide_index=True, key="touched")


def show_compare(view: View) -> None:
    """Everything below the title."""
    if view.base is None:
        with st.container(border=True):
            st.markdown("**Nothing to compare with**")
            st.caption("Choose another run under “Compare with”, or evaluate a second model.")
            st.code("evalsuite run RECIPE", language="bash")
        return
    tasks = [task for task in state.filter_values(view.run)["task"] if task in state.filter_values(view.base)["task"]]
    task = st.selectbox("Task", tasks, key="compare_task", bind="query-params", width=360)
    found = state.flips(view.run, view.base, task) if task else None
    if found is None or task is None:
        st.caption("The two runs share no row of a task that is right or wrong.")
        return
    _numbers(found)
    left, right = st.columns([2, 3], gap="large")
    with left:
        _matrix(replace(view, spec=replace(view.spec, task=task)), found)
    with right:
        _slices(view, task, found)
    reviewed_rows_panel(view)
    same_in_terminal(compare_runs(view.base, view.run))


def _numbers(found: Flips) -> None:
    left_out = found.only_run + found.only_base
    with st.grid(4, gap="small"):
        interval = (
            f"95% {difference_interval(found.low, found.high, is_share=True)}"
            if found.low is not None and found.high is not None
            else "no interval: one image"
        )
        count_card("Right answers", difference(found.difference, is_share=True), interval, "paired, clustered by image")
        test = found.test
        count_card("McNemar, mid-p", _p(test.p_mid), f"exact {_p(test.p_exact)}", "rows taken as independent")
        seen = "–" if found.detectable is None else f"{100 * found.detectable:.1f} points"
        count_card("Smallest visible change", seen, "with 80% power")
        count_card("Rows compared", f"{found.n:,}", f"{found.images:,} images",
                   f"{left_out:,} left out: asked by one run only" if left_out else "none left out")  # fmt: skip


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _matrix(view: View, found: Flips) -> None:
    st.subheader("Who was right")
    st.caption("fixed: only the run was right · broken: only the baseline was")
    test = found.test
    cells: tuple[tuple[str, int, Outcome, str], ...] = (
        ("both right", test.both, "Both right", ":material/check:"),
        ("fixed", test.only_b, "Fixed", ":material/trending_up:"),
        ("broken", test.only_a, "Broken", ":material/trending_down:"),
        ("both wrong", test.neither, "Both wrong", ":material/close:"),
    )
    columns = st.columns(2, gap="small")
    for number, (label, count, outcome, icon) in enumerate(cells):
        with columns[number % 2], st.container(border=True, gap="xxsmall"):
            st.metric(label, f"{count:,}", f"{100 * count / found.n:.1f}%", delta_color="off", delta_arrow="off")
            if st.button("Cases", icon=icon, key=f"flip_{outcome}", disabled=not count):
                open_failures(replace(view.spec, outcome=outcome))


def _slices(view: View, task: str, found: Flips) -> None:
    st.subheader("Change per slice", help="q: Benjamini–Hochberg over all slices shown.")
    if not found.slices:
        st.caption("No slice of 30 rows or more.")
        return
    worst = found.slices[:12]
    frame = pd.DataFrame(
        {
            "slice": [_name(one.where) for one in worst],
            "change": [100 * one.difference for one in worst],
            "low": [100 * (one.low if one.low is not None else one.difference) for one in worst],
            "high": [100 * (one.high if one.high is not None else one.difference) for one in worst],
            "n": [one.n for one in worst],
            "q": [one.q for one in worst],
        }
    )
    base = alt.Chart(frame).encode(
        y=alt.Y(
            "slice:N", sort=None, title=None, axis=alt.Axis(labelLimit=260, labelFlush=False, ticks=False, domain=False)
        ),
        tooltip=[
            "slice",
            alt.Tooltip("change:Q", format="+.1f"),
            alt.Tooltip("n:Q", format=","),
            alt.Tooltip("q:Q", format=".3g"),
        ],
    )
    title = "change in the share of right answers, percentage points"
    interval = base.mark_rule(strokeWidth=3, color="#0072b2").encode(x=alt.X("low:Q", title=title), x2="high:Q")
    dot = base.mark_point(filled=True, size=80, opacity=1, color="#0072b2").encode(x="change:Q")
    zero = alt.Chart(pd.DataFrame({"x": [0]})).mark_rule(strokeDash=[4, 4], color="#808b99").encode(x="x:Q")
    st.altair_chart(alt.layer(zero, interval, dot).properties(height=26 * len(worst) + 60), alt="Change per slice")
    chosen = st.selectbox(
        "See the broken cases of", [one.where for one in worst], index=None, key="compare_slice", placeholder="a slice",
        format_func=_name,
    )  # fmt: skip
    if chosen:
        open_failures(replace(view.spec, task=task, where=(chosen,), outcome="Broken"))


def _name(where: str) -> str:
    name, _, value = where.partition("=")
    return f"{name.replace('_', ' ')} = {value}"
