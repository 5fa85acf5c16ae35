"""Duplicates: groups of near-identical images."""

import streamlit as st

from dashboards import state
from dashboards.widgets.duplicates_page import show_duplicates
from dashboards.widgets.set_choice import choose_folder

st.title("Duplicates")
folder = choose_folder(state.catalog(), "curated")
if folder:
    show_duplicates(folder)
