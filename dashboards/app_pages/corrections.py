"""Corrections: the log of what reviewers decided."""

import streamlit as st

from dashboards import state
from dashboards.widgets.corrections_page import show_corrections

st.title("Corrections")
show_corrections(state.catalog())
