"""Two runs row by row: the flip matrix, what is certain about the change, and the way to the cases."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import streamlit as st

from dashboards.components.cards import count_card
from dashboards.components.charts import change_chart, term_name
from dashboards.components.commands import compare_runs, same_in_terminal
from dashboards.components.filters import view_or_notice
from dashboards.components.format import difference, difference_interval
from dashboards.components.navigation import Page, open_failures
from dashboards.data.catalog import scan
from dashboards.data.comparison import MIN_ROWS, Flips, flips, reviewed_rows
from dashboards.data.filters import Outcome, View
from dashboards.data.predictions import tasks_by_size
from dashboards.data.reviews import read_decisions
from dashboards.review.button import review_button
from dashboards.review.queues import queue_of
from dashboards.settings import corrections_folder, data_root

PAGE = Page(8, "Compare", ":material/compare_arrows:", "Model")


def show() -> None:
    """Draw the page."""
    catalog = scan(data_root())
    st.title(PAGE.title)
    if view := view_or_notice(catalog):
        _comparison(view)


def _comparison(view: View) -> None:
    if view.base is None:
        with st.container(border=True):
            st.markdown("**Nothing to compare with**")
            st.caption("Choose another run under “Compare with”, or evaluate a second model.")
            st.code("evalsuite run RECIPE", language="bash")
        return
    tasks = [task for task in tasks_by_size(view.run) if task in tasks_by_size(view.base)]
    task = st.selectbox("Task", tasks, key="compare_task", bind="query-params", width=360)
    with st.spinner("Comparing row by row"):
        found = flips(view.run, view.base, task) if task else None
    if found is None or task is None:
        st.caption("No row of this task is right or wrong in both runs.")
        return
    _numbers(found)
    left, right = st.columns([2, 3], gap="large")
    with left:
        _matrix(replace(view, spec=replace(view.spec, task=task)), found)
    with right:
        _slices(view, task, found)
    _reviewed_rows(view)
    same_in_terminal(compare_runs(view.base, view.run))


def _numbers(found: Flips) -> None:
    left_out = found.only_run + found.only_base
    with st.grid(4, gap="small"):
        interval = (
            f"95% {difference_interval(found.low, found.high, '%')}"
            if found.low is not None and found.high is not None
            else "no interval: one image"
        )
        count_card("Right answers", difference(found.difference, "%"), interval, "paired, clustered by image")
        test = found.test
        count_card("McNemar, mid-p", _p(test.p_mid), f"exact {_p(test.p_exact)}", "rows taken as independent")
        seen = "–" if found.detectable is None else f"{100 * found.detectable:.1f} points"
        count_card("Smallest visible change", seen, "with 80% power")
        count_card("Rows compared", f"{found.n:,}", f"{found.images:,} images",
                   f"{left_out:,} left out: asked by one run only" if left_out else "none left out")  # fmt: skip


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _matrix(view: View, found: Flips) -> None:
    st.subheader("Which run was right")
    st.caption("fixed: only the run was right · broken: only the baseline was")
    test = found.test
    if test.only_a:
        broken = queue_of(replace(view.spec, outcome="Broken"))
        review_button(broken, f"Review the {test.only_a:,} broken", key="review_broken")
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
        st.caption(f"No slice of {MIN_ROWS} rows or more.")
        return
    worst = found.slices[:12]
    st.altair_chart(change_chart(worst), alt="Change per slice")
    chosen = st.selectbox(
        "See the broken cases of", [change.where for change in worst], index=None, key="compare_slice",
        placeholder="a slice", format_func=term_name,
    )  # fmt: skip
    if chosen:
        open_failures(replace(view.spec, task=task, where=(chosen,), outcome="Broken"))


def _reviewed_rows(view: View) -> None:
    """The answers of both runs to the rows with a decision that counts."""
    reviewed = tuple(
        dict.fromkeys(
            decision.line.sample_id for decision in read_decisions(corrections_folder()) if decision.state == "active"
        )
    )
    if not reviewed or view.base is None:
        return
    found = reviewed_rows(view.run, view.base, reviewed)
    if not found:
        return
    st.subheader("Rows that reviewers decided about")
    fixed = sum(row.now is True and row.before is False for row in found)
    broken = sum(row.now is False and row.before is True for row in found)
    st.caption(f"{len(found):,} rows of both runs: {fixed:,} fixed, {broken:,} broken")
    words = {True: "right", False: "wrong", None: ""}
    table = pd.DataFrame(
        {
            "Sample": [row.sample_id for row in found],
            "Question": [row.question for row in found],
            "References": [" · ".join(row.references) for row in found],
            "Before": [f"{row.answer_before} ({words[row.before]})" for row in found],
            "After": [f"{row.answer_now} ({words[row.now]})" for row in found],
        }
    )
    st.dataframe(table, hide_index=True, key="reviewed")


if __name__ == "__main__":  # Streamlit runs the file; app.py imports it for PAGE
    show()
