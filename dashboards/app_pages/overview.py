"""Overview: what there is, how good it is, what changed, where to look next."""

import streamlit as st

from dashboards import state
from dashboards.widgets.notice import broken_folders
from dashboards.widgets.overview_page import show_overview

catalog = state.catalog()
st.title("Overview")
show_overview(catalog)
broken_folders(catalog)
