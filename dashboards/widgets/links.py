"""Ways from one page to another, with the view that they carry."""

from __future__ import annotations

from urllib.parse import parse_qs, urlencode

import streamlit as st

from dashboards.query.filters import FilterSpec

# The sample page carries the view as one parameter: Streamlit drops parameters that
# widgets of another page are bound to when the page changes.
VIEW = "view"


def sample_parameters(sample_id: str, spec: FilterSpec) -> dict[str, str]:
    """URL parameters of the sample page for a sample seen in a view."""
    return {"id": sample_id, VIEW: urlencode(spec.to_parameters(), doseq=True)}


def open_sample(sample_id: str, spec: FilterSpec) -> None:
    """Go to a sample; for callbacks."""
    st.switch_page("app_pages/sample.py", query_params=sample_parameters(sample_id, spec))


def open_failures(spec: FilterSpec) -> None:
    """Go to the gallery of a view; for callbacks."""
    st.switch_page("app_pages/failures.py", query_params=spec.to_parameters())


def carried_view() -> FilterSpec:
    """The view that the URL of the sample page carries; all answers in any outcome without one."""
    carried = st.query_params.get(VIEW)
    return FilterSpec(outcome="All") if carried is None else FilterSpec.from_parameters(parse_qs(carried))
