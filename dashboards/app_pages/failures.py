"""Failures: the gallery of answers, filtered; the URL holds the whole view."""

from dataclasses import replace

import streamlit as st

from dashboards import state
from dashboards.widgets.failure_list import show_view
from dashboards.widgets.filter_bar import filter_bar, outcome_bar
from dashboards.widgets.notice import broken_folders, nothing_yet
from dashboards.widgets.run_choice import chosen_view

catalog = state.catalog()
st.title("Failures")
view = chosen_view(catalog)
if view:
    with st.sidebar:
        spec = filter_bar(view.run, view.base)
    show_view(replace(view, spec=outcome_bar(spec)))
else:
    nothing_yet("evals")
    broken_folders(catalog)
