"""Thresholds: what another number in a rule would drop and keep."""

import streamlit as st

from dashboards import state
from dashboards.widgets.set_choice import choose_folder
from dashboards.widgets.thresholds_page import show_thresholds

st.title("Thresholds")
folder = choose_folder(state.catalog(), "curated")
if folder:
    show_thresholds(folder)
