"""Kinds of rows with more errors than expected, and the way to their cases."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import streamlit as st

from dashboards.components import commands
from dashboards.components.cards import broken_folders, nothing_yet
from dashboards.components.charts import excess_chart, excess_ends, slice_name
from dashboards.components.commands import same_in_terminal
from dashboards.components.filters import chosen_view
from dashboards.components.navigation import Page, open_failures
from dashboards.data.answers import filter_values
from dashboards.data.catalog import scan
from dashboards.data.comparison import MIN_IMAGES, MIN_ROWS, rank_slices, terms
from dashboards.data.filters import View
from dashboards.settings import data_root
from evalsuite.statistics import RankedSlice

PAGE = Page(4, "Slices", ":material/pie_chart:", "Model")

_SHOWN = 20
_FORMATS = {
    "Errors": st.column_config.NumberColumn(format="%.1f%%"),
    "Rows": st.column_config.NumberColumn(format="localized"),
    "Images": st.column_config.NumberColumn(format="localized"),
}


def show() -> None:
    """Draw the page."""
    catalog = scan(data_root())
    st.title(PAGE.title)
    view = chosen_view(catalog)
    if view:
        _ranking(view)
    else:
        nothing_yet("evals")
        broken_folders(catalog)


def _ranking(view: View) -> None:
    tasks = filter_values(view.run)["task"]
    task = st.selectbox("Task", tasks, key="slices_task", bind="query-params", width=360)
    with st.spinner("Comparing slices"):
        ranking = rank_slices(view.run, task)
    if not ranking.slices:
        st.caption(
            f"No slice of at least {MIN_ROWS} rows and {MIN_IMAGES} images, or no metric that judges single answers."
        )
        return
    st.caption(
        f"{ranking.rows:,} rows, {100 * ranking.rate:.1f}% errors. {ranking.tried} slices of at least {MIN_ROWS} rows"
        f" and {MIN_IMAGES} images were compared; q is corrected for that (Benjamini–Hochberg). Intervals are"
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
    same_in_terminal(commands.rank_slices(view.run, task))
    if chosen := event.selection.rows:
        open_failures(replace(view.spec, task=task, where=terms(shown[chosen[0]]), outcome="Wrong"))


def _table(slices: tuple[RankedSlice, ...]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Slice": [slice_name(ranked) for ranked in slices],
            "Rows": [ranked.excess.n for ranked in slices],
            "Images": [ranked.excess.clusters for ranked in slices],
            "Errors": [100 * ranked.excess.rate for ranked in slices],
            "Excess errors": [
                f"{ranked.excess.excess:+.1f} ({low:+.1f} to {high:+.1f})"
                for ranked in slices
                for low, high in (excess_ends(ranked),)
            ],
            "q": ["< 0.001" if ranked.q < 0.001 else f"{ranked.q:.3f}" for ranked in slices],
        }
    )


if __name__ == "__main__":  # Streamlit runs the file; app.py imports it for PAGE
    show()
