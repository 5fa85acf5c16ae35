"""Move a number of a rule: see what it would do, look at both sides of the line, copy the change."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from dashboards.components.cards import count_card, problem
from dashboards.components.charts import histogram_chart
from dashboards.components.commands import try_thresholds
from dashboards.components.filters import choose_folder
from dashboards.components.navigation import Page
from dashboards.data.catalog import Folder, scan
from dashboards.data.thresholds import Preview, Threshold, histogram, preview, rows_near, threshold_values, thresholds
from dashboards.review.button import review_button
from dashboards.review.gallery import row_cards
from dashboards.review.queues import Queue
from dashboards.settings import data_root
from winnow.errors import UserError

PAGE = Page(13, "Thresholds", ":material/tune:", "Data")

_SIDE = 12  # cases on each side of the line
_STEPS = 200
_COUNTS = {
    name: st.column_config.NumberColumn(format="localized") for name in ("Rows", "Fires in the recipe", "Fires now")
}


def show() -> None:
    """Draw the page."""
    st.title(PAGE.title)
    folder = choose_folder(scan(data_root()), "curated")
    if not folder:
        return
    found = thresholds(folder)
    if not found:
        st.caption("No rule of this set compares a signal with a number.")
        return
    labels = [threshold.label for threshold in found]
    chosen = st.selectbox("Number to move", labels, key="threshold", bind="query-params", width=560)
    _tune(folder, found[labels.index(chosen)])


@st.fragment(key="tune")
def _tune(folder: Folder, threshold: Threshold) -> None:
    try:
        _moved(folder, threshold)
    except UserError as error:  # a fragment runs again by itself: the app does not see its errors
        problem(str(error))


def _moved(folder: Folder, threshold: Threshold) -> None:
    with st.spinner("Reading stored signals"):
        values = threshold_values(folder, threshold)
    low, high = _range(values, threshold.number)
    number = st.slider(
        "Number", low, high, threshold.number, step=(high - low) / _STEPS, format="%.4g",
        key=f"number_{threshold.label}",
        help="Over stored signals: no image is opened. Duplicates and contamination stay as they were found.",
    )  # fmt: skip
    st.text(f"{threshold.left} {threshold.sign} {number:.4g}")
    moved = preview(folder, threshold, number)
    _counts(moved, threshold)
    chart = histogram_chart(histogram(folder, threshold), threshold, number)
    st.altair_chart(chart, alt="Distribution of what the rule compares, and the line")
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _sources(moved)
    with right:
        st.caption("Copy into the recipe")
        st.code(_patch(threshold, number), language="yaml", wrap_lines=True)
        st.caption("then decide beside the set, and see which rows change")
        st.code(try_thresholds(folder), language="bash", wrap_lines=True)
    changed = (("set", folder.name), ("threshold", threshold.label), ("value", repr(number)))
    review_button(Queue("threshold", changed), "Review the rows that change", key="review_threshold")
    _both_sides(folder, threshold, number)


def _range(values: np.ndarray, number: float) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    ends = [number, *(np.percentile(known, [0.5, 99.5]) if len(known) else [])]
    low, high = float(min(ends)), float(max(ends))
    margin = (high - low) * 0.05 or max(abs(number), 1.0) * 0.5
    return low - margin, high + margin


def _counts(moved: Preview, threshold: Threshold) -> None:
    before, now = moved.fires
    kept_before, kept = moved.kept
    verb = "Dropped" if threshold.action == "drop" else "Flagged"
    with st.grid(4, gap="small"):
        count_card(f"{verb} by this rule", f"{now:,}", _against(now - before))
        count_card("By this rule alone", f"{moved.alone:,}", "no other dropping rule fires there")
        count_card("Also dropped by others", f"{now - moved.alone:,}", "moving the number changes nothing there")
        count_card("Rows kept in all", f"{kept:,}", f"of {moved.rows:,}; {_against(kept - kept_before)}")


def _against(change: int) -> str:
    return f"{change:+,} against the recipe" if change else "as in the recipe"


def _sources(moved: Preview) -> None:
    rows = [
        {"Source": name, "Rows": rows, "Fires in the recipe": before, "Fires now": now, "Change": now - before}
        for name, rows, before, now in moved.by_source
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="sources", column_config=_COUNTS)


def _patch(threshold: Threshold, number: float) -> str:
    condition = threshold.moved(number).replace("\\", "\\\\").replace('"', '\\"')
    return f'rules:\n  {threshold.rule}: {{when: "{condition}", action: {threshold.action}}}'


def _both_sides(folder: Folder, threshold: Threshold, number: float) -> None:
    below, above = rows_near(folder, threshold, number, _SIDE)
    for title, cases in ((f"Just below {number:.4g}", below), (f"At or just above {number:.4g}", above)):
        st.subheader(title)
        if cases:
            row_cards(folder, [case for case, _ in cases], title, [f"{value:.4g}" for _, value in cases])
        else:
            st.caption("No row there.")


if __name__ == "__main__":  # Streamlit runs the file; app.py imports it for PAGE
    show()
