"""Curation: what each rule did, with cases, and the fate of one row."""

import streamlit as st

from dashboards import state
from dashboards.widgets.curation_page import show_curation
from dashboards.widgets.set_choice import choose_folder

st.title("Curation")
folder = choose_folder(state.catalog(), "curated")
if folder:
    show_curation(folder)
