"""Sample: one question, all that is known about it."""

import streamlit as st

from dashboards import state
from dashboards.query.views import open_view
from dashboards.widgets.links import carried_view, open_sample
from dashboards.widgets.sample_page import choose_sample, show_sample

catalog = state.catalog()
spec = carried_view()
sample_id = st.query_params.get("id", "")
st.title("Sample")
if sample_id:
    show_sample(catalog, open_view(catalog, spec), sample_id)
choose_sample(sample_id, lambda chosen: open_sample(chosen, spec))
