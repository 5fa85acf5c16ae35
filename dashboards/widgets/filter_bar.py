"""The filter bar. Every widget is bound to a URL parameter, so that a view is a link."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from dashboards import state
from dashboards.query.catalog import Folder
from dashboards.query.filters import BEFORE, NO_BASE, ORDERS, OUTCOMES, FilterSpec
from dashboards.query.strictness import NEAR, NEAR_HELP
from dashboards.query.tables import STATUSES
from dashboards.widgets.pager import first_page

_NEAR_LINES = [f"{way}: {what}" for way, what in NEAR_HELP.items()]


def filter_bar(run: Folder, base: Folder | None) -> FilterSpec:
    """All filters except outcome and order, with what the answers of ``run`` offer."""
    values = state.filter_values(run)
    text = st.text_input(
        "Search", key="q", bind="query-params", on_change=first_page, icon=":material/search:",
        placeholder="question, answer or id",
    )  # fmt: skip
    task = st.selectbox(
        "Task",
        values["task"],
        index=None,
        placeholder="All tasks",
        key="task",
        bind="query-params",
        on_change=first_page,
    )
    question_types = _several("Question type", values.get("slice_question_type", []), "qt")
    answer_types = _several("Answer type", values.get("slice_answer_type", []), "at")
    statuses = _several("Status", [status for status in STATUSES if status in values["status"]], "status")
    where = _several("Slices", _slice_terms(run, values), "where")
    near = _several("Wrong, but fixable by scorer", list(NEAR), "near", help="; ".join(_NEAR_LINES))
    metric, below = _metric(run)
    return FilterSpec(
        run=run.name,
        base=base.name if base else NO_BASE,
        task=task or "",
        question_types=question_types,
        answer_types=answer_types,
        statuses=statuses,
        where=where,
        near=near,
        metric=metric,
        below=below,
        text=text or "",
    )


def outcome_bar(spec: FilterSpec) -> FilterSpec:
    """Outcome and order, above the gallery; returns ``spec`` with both. Call it after ``filter_bar``."""
    outcomes = [outcome for outcome in OUTCOMES if spec.base != NO_BASE or outcome not in BEFORE]
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        outcome = st.segmented_control(
            "Outcome", outcomes, default="Wrong", required=True, key="outcome", bind="query-params",
            on_change=first_page,
            help="Fixed and Broken are relative to the run compared with. A soft score counts as right from 0.5 on.",
        )  # fmt: skip
        order = st.selectbox("Order", ORDERS, key="sort", bind="query-params", on_change=first_page, width=180)
    return replace(spec, outcome=outcome or "Wrong", order=order)


def _slice_terms(run: Folder, values: dict[str, list[str]]) -> list[str]:
    """``name=value``: what the URL names, and the values of slice columns that have no box of their own."""
    known = state.predictions(run).slice_sql()
    named = [term for term in st.query_params.get_all("where") if term.partition("=")[0] in known]
    own = ("task", "status", "slice_question_type", "slice_answer_type")
    others = [f"{name.removeprefix('slice_')}={value}" for name in values if name not in own for value in values[name]]
    return list(dict.fromkeys([*named, *others]))


def _several(label: str, options: list[str], key: str, help: str | None = None) -> tuple[str, ...]:
    if not options:
        return ()
    chosen = st.multiselect(
        label, options, key=key, bind="query-params", on_change=first_page, placeholder="All", help=help
    )
    return tuple(chosen)


def _metric(folder: Folder) -> tuple[str, float | None]:
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    metric = left.selectbox(
        "Metric below", state.predictions(folder).metrics, index=None, placeholder="Any", key="metric",
        bind="query-params", on_change=first_page,
    )  # fmt: skip
    below = right.number_input(
        "Value", value=None, min_value=0.0, step=0.1, key="below", bind="query-params", on_change=first_page,
        label_visibility="hidden", placeholder="value", disabled=metric is None,
    )  # fmt: skip
    return (metric, below) if metric and below is not None else ("", None)
