"""Kinds of rows with more errors than expected, which answers are confused, and the way to their cases."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import streamlit as st

from dashboards.components import commands
from dashboards.components.charts import excess_chart, excess_ends, slice_name
from dashboards.components.commands import same_in_terminal
from dashboards.components.export import export_menu
from dashboards.components.filters import view_or_notice
from dashboards.components.format import count_of
from dashboards.components.navigation import Page, failures_link, open_failures
from dashboards.components.saved_views import views_menu
from dashboards.components.table import Cell, Column, link_table
from dashboards.data.catalog import scan
from dashboards.data.comparison import MIN_IMAGES, MIN_ROWS, rank_slices, terms
from dashboards.data.confusion import MOST_CLASSES, Confusion, confusion
from dashboards.data.filters import FilterSpec, View
from dashboards.data.predictions import tasks_by_size
from dashboards.review.button import review_button
from dashboards.review.queues import queue_of
from dashboards.settings import data_root
from evalsuite.statistics import RankedSlice

PAGE = Page(7, "Slices", ":material/pie_chart:", "Model")

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
    if view := view_or_notice(catalog):
        tasks = tasks_by_size(view.run)
        with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
            task = st.selectbox("Task", tasks, key="slices_task", bind="query-params", width=360)
            views_menu("slices", {"run": view.run.name, "base": view.spec.base, "slices_task": task})
        _ranking(view, task)
        _confusion(replace(view, spec=replace(view.spec, task=task)))


def _ranking(view: View, task: str) -> None:
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
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        place = st.selectbox(
            "Slice", range(len(shown)), format_func=lambda number: slice_name(shown[number]), key="slice_to_review",
            width=360,
        )  # fmt: skip
        review_button(queue_of(_failures(view, task, shown[place])), "Review its failures", key="review_slice")
    st.altair_chart(excess_chart(shown), alt="Excess errors of each slice with 95% intervals")
    event = st.dataframe(
        _table(shown), hide_index=True, key=f"slices_{view.run.name}_{task}", on_select="rerun",
        selection_mode="single-row",
        column_config=_FORMATS,
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption("Choose a row to see its failures.")
        export_menu("slices", {"run": view.run.name, "slices_task": task}, f"{len(ranking.slices):,} slices")
    same_in_terminal(commands.rank_slices(view.run, task))
    if chosen := event.selection.rows:
        open_failures(_failures(view, task, shown[chosen[0]]))


def _failures(view: View, task: str | None, ranked: RankedSlice) -> FilterSpec:
    return replace(view.spec, task=task or "", where=terms(ranked), outcome="Wrong")


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


def _confusion(view: View) -> None:
    """The matrix of expected and given answers; a cell opens its cases."""
    found = confusion(view.run, view.spec.task)
    if found is None:
        return
    st.subheader("Which answers are confused")
    total = int(found.counts.sum())
    rest = int(found.counts[-1].sum()) if found.expected[-1] is None else 0
    st.caption(
        f"A row for each expected answer, a column for each given one; "
        f"{count_of(found.distinct, 'different answer')} expected in {count_of(total, 'row')}. "
        + (f"All beyond the {MOST_CLASSES} most frequent are “all other”. " if found.expected[-1] is None else "")
        + "A cell opens its cases."
    )
    if 2 * rest > total:
        st.caption(f"The answers of this task are open: “all other” holds {100 * rest / total:.0f}% of its rows.")
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        shares = st.segmented_control(
            "Numbers", ("Rows", "Share of the line"), default="Rows", required=True, key="confusion_numbers",
            bind="query-params", label_visibility="collapsed",
        )  # fmt: skip
        cells = f"{int((found.counts > 0).sum()):,} cells"
        export_menu("confusions", {"run": view.run.name, "slices_task": view.spec.task}, cells)
    columns: list[Column] = [{"text": "expected ↓  given →"}]
    columns += [{"text": _class_name(name), "number": True} for name in found.answered]
    columns.append({"text": "rows", "number": True})
    rows = [_confusion_line(found, view.spec, row, shares=shares != "Rows") for row in range(len(found.expected))]
    if opened := link_table(columns, rows, "Rows by expected and given answer", "confusion"):
        row, column = (int(place) for place in opened.split("-"))
        open_failures(found.cases(view.spec, row, column))


def _confusion_line(found: Confusion, spec: FilterSpec, row: int, *, shares: bool) -> list[Cell]:
    total = int(found.counts[row].sum())
    expected = _class_name(found.expected[row])
    cells: list[Cell] = [{"text": expected, "head": True}]
    for column, answered in enumerate(found.answered):
        count = int(found.counts[row, column])
        if not count:
            cells.append({"text": "·", "number": True})
            continue
        same = answered is not None and answered == found.expected[row]
        cells.append(
            {
                "text": f"{100 * count / total:.1f}%" if shares else f"{count:,}",
                "title": f"expected {expected}, given {_class_name(answered)}: {count:,} of {total:,}",
                "href": failures_link(found.cases(spec, row, column)),
                "id": f"{row}-{column}",
                "tone": "good" if same else "bad",
                "shade": count / total,
                "number": True,
            }
        )
    return [*cells, {"text": f"{total:,}", "number": True}]


def _class_name(name: str | None) -> str:
    return "all other" if name is None else name


if __name__ == "__main__":  # Streamlit runs the file; app.py imports it for PAGE
    show()
