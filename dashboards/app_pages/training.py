"""Training: loss over steps, by source and by row."""

import streamlit as st

from dashboards import state
from dashboards.widgets.set_choice import choose_folder
from dashboards.widgets.training_page import show_training

st.title("Training")
catalog = state.catalog()
folder = choose_folder(catalog, "runs")
if folder:
    show_training(catalog, folder)
