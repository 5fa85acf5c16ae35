"""What a page is about: run and baseline, curated set or training run, filters, and the page of a list.

Every widget is bound to a URL parameter, so that a view is a link.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import streamlit as st

from dashboards.components.cards import broken_folders, nothing_yet
from dashboards.data.answers import filter_values
from dashboards.data.catalog import Catalog, Folder, Kind
from dashboards.data.filters import (
    BEFORE,
    NEAR_MISS_HELP,
    NEAR_MISSES,
    NO_BASE,
    ORDERS,
    OUTCOMES,
    FilterSpec,
    View,
    resolve_filters,
)
from dashboards.data.predictions import STATUSES, TRUNCATED, open_predictions

PAGE_SIZE = 24
_PAGE = "page"
_FITS = 28  # characters that a select box of the sidebar shows
_LABELS = {"curated": ("Curated set", "set"), "runs": ("Training run", "training"), "evals": ("Evaluation", "run")}


def first_page() -> None:
    """Go back to page 1; the callback of every filter."""
    st.session_state[_PAGE] = 1


def pager(total: int, size: int = PAGE_SIZE) -> int:
    """Draw the pager for ``total`` rows, ``size`` a page.

    Returns: offset of the first row of the chosen page.
    """
    pages = max(1, -(-total // size))
    if st.session_state.get(_PAGE, 1) > pages:
        st.session_state[_PAGE] = pages
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="right", gap="small"):
        page = st.session_state.get(_PAGE, 1)
        st.button("Previous", shortcut="K", on_click=_turn, args=(-1,), disabled=page <= 1, key="page_back")
        chosen = st.pagination(pages, key=_PAGE, bind="query-params", max_visible_pages=5)
        st.button("Next", shortcut="J", on_click=_turn, args=(1,), disabled=page >= pages, key="page_on")
    return (min(max(chosen, 1), pages) - 1) * size


def _turn(by: int) -> None:
    st.session_state[_PAGE] = st.session_state.get(_PAGE, 1) + by


def filter_bar(run: Folder, base: Folder | None) -> FilterSpec:
    """All filters except outcome and order, with what the answers of ``run`` offer."""
    values = filter_values(run)
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
    marks = _several("Marks", [TRUNCATED] if "True" in values.get(TRUNCATED, ()) else [], "mark")
    where = _several("Slices", _slice_terms(run, values), "where")
    near = _several(
        "Wrong, but fixable by scorer",
        list(NEAR_MISSES),
        "near",
        help="; ".join(f"{way}: {what}" for way, what in NEAR_MISS_HELP.items()),
    )
    expected, answered = _class_box("Expected answer", "expected"), _class_box("Given answer", "answered")
    expected_not = _named_only("Expected answer is none of", "expected_not")
    answered_not = _named_only("Given answer is none of", "answered_not")
    metric, below = _metric(run)
    return FilterSpec(
        run=run.name,
        base=base.name if base else NO_BASE,
        task=task or "",
        question_types=question_types,
        answer_types=answer_types,
        statuses=statuses,
        marks=marks,
        where=where,
        near=near,
        metric=metric,
        below=below,
        text=text or "",
        expected=expected,
        answered=answered,
        expected_not=expected_not,
        answered_not=answered_not,
    )


def outcome_bar(spec: FilterSpec) -> FilterSpec:
    """Outcome and order, above the gallery; returns ``spec`` with both. Call it after ``filter_bar``."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        chosen = outcome_choice(spec)
        order = st.selectbox("Order", ORDERS, key="sort", bind="query-params", on_change=first_page, width=180)
    return replace(chosen, order=order)


def outcome_choice(spec: FilterSpec) -> FilterSpec:
    """The outcome alone, for lists that have an order of their own; returns ``spec`` with it."""
    outcomes = [outcome for outcome in OUTCOMES if spec.base != NO_BASE or outcome not in BEFORE]
    outcome = st.segmented_control(
        "Outcome", outcomes, default="Wrong", required=True, key="outcome", bind="query-params",
        on_change=first_page,
        help="Fixed and Broken are relative to the run compared with. The metric says which answers are right.",
    )  # fmt: skip
    return replace(spec, outcome=outcome or "Wrong")


def _slice_terms(run: Folder, values: Mapping[str, list[str]]) -> list[str]:
    """``name=value``: what the URL names, and the values of slice columns that have no box of their own."""
    known = open_predictions(run).slice_sql()
    named = [term for term in st.query_params.get_all("where") if term.partition("=")[0] in known]
    own = ("task", "status", TRUNCATED, "slice_question_type", "slice_answer_type")
    others = [f"{name.removeprefix('slice_')}={value}" for name in values if name not in own for value in values[name]]
    return list(dict.fromkeys([*named, *others]))


def _several(label: str, options: list[str], key: str, help: str | None = None) -> tuple[str, ...]:
    if not options:
        return ()
    chosen = st.multiselect(
        label, options, key=key, bind="query-params", on_change=first_page, placeholder="All", help=help
    )
    return tuple(chosen)


def _class_box(label: str, key: str) -> tuple[str, ...]:
    """Answers that one types; case and outer punctuation do not count."""
    named = list(dict.fromkeys([*st.query_params.get_all(key), *st.session_state.get(key, ())]))
    chosen = st.multiselect(
        label, named, key=key, bind="query-params", on_change=first_page, placeholder="Any", accept_new_options=True,
        help="Type an answer, such as yes. Slices has a table of which answer was given for which.",
    )  # fmt: skip
    return tuple(chosen)


def _named_only(label: str, key: str) -> tuple[str, ...]:
    """The box of a filter that only links set, for as long as it is set."""
    return _several(label, st.query_params.get_all(key), key)


def _metric(folder: Folder) -> tuple[str, float | None]:
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    metric = left.selectbox(
        "Metric below", open_predictions(folder).metrics, index=None, placeholder="Any", key="metric",
        bind="query-params", on_change=first_page,
    )  # fmt: skip
    below = right.number_input(
        "Value", value=None, min_value=0.0, step=0.1, key="below", bind="query-params", on_change=first_page,
        label_visibility="hidden", placeholder="value", disabled=metric is None,
    )  # fmt: skip
    return (metric, below) if metric and below is not None else ("", None)


def choose_runs(catalog: Catalog) -> None:
    """Two select boxes in the sidebar, or nothing without an evaluation.

    Drawn by ``app.py`` itself: when the page changes, Streamlit drops URL parameters bound to a widget of
    another page and keeps those bound to the app's own.
    """
    names = [folder.name for folder in catalog.finished("evals")]
    if not names:
        return
    with st.sidebar:
        run = st.selectbox("Run", names, key="run", bind="query-params", on_change=first_page)
        _whole_name(run, "whole_run")
        others = [*(name for name in names if name != run), NO_BASE]
        base = st.selectbox("Compare with", others, key="base", bind="query-params", on_change=first_page)
        _whole_name(base, "whole_base")


def _whole_name(name: str, key: str) -> None:
    """A name that its box cuts off, below it: names of checkpoints differ at their ends."""
    if len(name) > _FITS:
        with st.container(key=key):
            st.text(name)


def chosen_view(catalog: Catalog) -> View | None:
    """The chosen runs with no filter; None without an evaluation."""
    run, base = st.session_state.get("run", ""), st.session_state.get("base", "")
    return resolve_filters(catalog, FilterSpec(run=run, base=base, outcome="All"))


def view_or_notice(catalog: Catalog) -> View | None:
    """The chosen runs with no filter; None without an evaluation, after a notice that says how to make one."""
    view = chosen_view(catalog)
    if view is None:
        nothing_yet("evals")
        broken_folders(catalog)
    return view


def choose_folder(catalog: Catalog, kind: Kind) -> Folder | None:
    """The newest finished folder of a kind, or the one chosen where there are several.

    Returns: None without any, after a notice that says how to make one.
    """
    folders = catalog.finished(kind)
    if not folders:
        nothing_yet(kind)
        broken_folders(catalog)
        return None
    label, key = _LABELS[kind]
    name = st.selectbox(label, [folder.name for folder in folders], key=key, bind="query-params", width=360)
    return next((folder for folder in folders if folder.name == name), folders[0])
