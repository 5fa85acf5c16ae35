"""Failures: the gallery of answers, filtered; the URL holds the whole view."""

import streamlit as st

from dashboards import state
from dashboards.query.views import open_view
from dashboards.widgets.failure_list import show_view
from dashboards.widgets.filter_bar import filter_bar, outcome_bar
from dashboards.widgets.notice import broken_folders, nothing_yet

catalog = state.catalog()
st.title("Failures")
if catalog.finished("evals"):
    with st.sidebar:
        spec = filter_bar(catalog)
    view = open_view(catalog, outcome_bar(spec))
    if view:
        show_view(view)
else:
    nothing_yet("evals")
    broken_folders(catalog)
