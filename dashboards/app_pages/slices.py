"""Slices: where the chosen run fails more than elsewhere."""

import streamlit as st

from dashboards import state
from dashboards.widgets.notice import broken_folders, nothing_yet
from dashboards.widgets.run_choice import chosen_view
from dashboards.widgets.slices_page import show_slices

catalog = state.catalog()
st.title("Slices")
view = chosen_view(catalog)
if view:
    show_slices(view)
else:
    nothing_yet("evals")
    broken_folders(catalog)
