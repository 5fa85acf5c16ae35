"""Compare: the chosen run against the one compared with."""

import streamlit as st

from dashboards import state
from dashboards.widgets.compare_page import show_compare
from dashboards.widgets.notice import broken_folders, nothing_yet
from dashboards.widgets.run_choice import chosen_view

catalog = state.catalog()
st.title("Compare")
view = chosen_view(catalog)
if view:
    show_compare(view)
else:
    nothing_yet("evals")
    broken_folders(catalog)
