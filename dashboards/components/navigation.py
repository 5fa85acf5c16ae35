"""Pages, and the ways from one to another with the view that they carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import parse_qs, urlencode

import streamlit as st

from dashboards.data.filters import FilterSpec
from dashboards.settings import address


@dataclass(frozen=True)
class Page:
    """How the menu lists a page: a module of ``app_pages`` holds one as ``PAGE``.

    Attributes:
        place: pages are listed in this order, those of one place by the names of their files.
        section: heading of the menu under which it stands.
    """

    place: int
    title: str
    icon: str
    section: str = ""


Parameters = dict[str, str | list[str]]

# The sample page carries the filters as one parameter: Streamlit drops parameters that
# widgets of another page are bound to when the page changes.
_VIEW = "view"


def sample_link(sample_id: str, spec: FilterSpec) -> str:
    """Address of a sample seen in a view, complete, for a new tab or a message."""
    return address(f"/sample?{urlencode({**_shared(spec), **_sample_parameters(sample_id, spec)}, doseq=True)}")


def open_sample(sample_id: str, spec: FilterSpec) -> NoReturn:
    """Go to a sample; ends this run of the script."""
    st.switch_page("app_pages/sample.py", query_params=_sample_parameters(sample_id, spec))


def open_sample_alone(sample_id: str) -> NoReturn:
    """Go to a sample outside any view, such as a training row; ends this run of the script."""
    st.switch_page("app_pages/sample.py", query_params={"id": sample_id})


def open_failures(spec: FilterSpec) -> NoReturn:
    """Go to the gallery of a view; ends this run of the script."""
    st.switch_page("app_pages/failures.py", query_params=own_filters(spec))


def failures_link(spec: FilterSpec) -> str:
    """Address of the gallery of a view, relative to the app."""
    return f"failures?{urlencode(spec.to_parameters(), doseq=True)}"


def own_filters(spec: FilterSpec) -> Parameters:
    """URL parameters of a view without run and baseline, which belong to the whole app and stay."""
    return {name: value for name, value in spec.to_parameters().items() if name not in _shared(spec)}


def carried_filters() -> FilterSpec:
    """The filters that the URL of the sample page carries; all answers as stored without any."""
    carried = st.query_params.get(_VIEW)
    return (
        FilterSpec(outcome="All", order="As stored")
        if carried is None
        else FilterSpec.from_parameters(parse_qs(carried))
    )


def _sample_parameters(sample_id: str, spec: FilterSpec) -> Parameters:
    return {"id": sample_id, _VIEW: urlencode(own_filters(spec), doseq=True)}


def _shared(spec: FilterSpec) -> Parameters:
    return FilterSpec(run=spec.run, base=spec.base).to_parameters()
