"""Which run all pages are about, and which one it is compared with.

Drawn by ``app.py`` itself: Streamlit drops URL parameters bound to a widget of another page when
the page changes, and keeps those bound to the app's.
"""

from __future__ import annotations

import streamlit as st

from dashboards.query.catalog import Catalog
from dashboards.query.filters import NO_BASE, FilterSpec
from dashboards.query.views import View, open_view
from dashboards.widgets.pager import first_page


def choose_runs(catalog: Catalog) -> None:
    """Two select boxes in the sidebar; none without an evaluation."""
    names = [folder.name for folder in catalog.finished("evals")]
    if not names:
        return
    with st.sidebar:
        run = st.selectbox("Run", names, key="run", bind="query-params", on_change=first_page)
        others = [*(name for name in names if name != run), NO_BASE]
        st.selectbox("Compare with", others, key="base", bind="query-params", on_change=first_page)


def chosen_view(catalog: Catalog) -> View | None:
    """The chosen runs with no filter; None without an evaluation."""
    run, base = st.session_state.get("run", ""), st.session_state.get("base", "")
    return open_view(catalog, FilterSpec(run=run, base=base, outcome="All"))
