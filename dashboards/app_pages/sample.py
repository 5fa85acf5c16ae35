"""Sample: one question, all that is known about it."""

from dataclasses import replace

import streamlit as st

from dashboards import state
from dashboards.widgets.links import carried_filters, open_sample
from dashboards.widgets.run_choice import chosen_view
from dashboards.widgets.sample_page import choose_sample, show_sample

catalog = state.catalog()
sample_id = st.query_params.get("id", "")
filters = carried_filters()
view = chosen_view(catalog)
if view:
    filters = replace(filters, run=view.spec.run, base=view.spec.base)
    view = replace(view, spec=filters)
st.title("Sample")
if sample_id:
    show_sample(catalog, view, sample_id)
if wanted := choose_sample(sample_id):
    open_sample(wanted, filters)
