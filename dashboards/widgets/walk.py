"""Previous and next sample of a view, and the way back to its gallery."""

from __future__ import annotations

import numpy as np
import streamlit as st

from dashboards import state
from dashboards.query.failures import Answer
from dashboards.query.views import View
from dashboards.widgets.links import open_failures, open_sample


def walk(view: View, current: Answer | None) -> None:
    """Buttons (keys B, K, J) around the place of ``current`` in the view."""
    rows = state.view_rows(view)
    places = np.flatnonzero(rows == current.row) if current else np.empty(0, dtype=int)
    place = int(places[0]) if len(places) else None
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if st.button("Back to the gallery", icon=":material/arrow_back:", shortcut="B", key="back"):
            open_failures(view.spec)
        _step(view, None if place is None else place - 1, "Previous", "K")
        _step(view, 0 if place is None else place + 1, "Next", "J")
        if place is None:
            st.caption(f"Not among the {len(rows):,} answers of this view")
        else:
            st.caption(f"{place + 1:,} of {len(rows):,} in this view")


def _step(view: View, place: int | None, label: str, key: str) -> None:
    rows = state.view_rows(view)
    possible = place is not None and 0 <= place < len(rows)
    if st.button(label, shortcut=key, disabled=not possible, key=f"step_{key}") and place is not None and possible:
        for answer in state.answers(view, (int(rows[place]),)):
            open_sample(answer.sample_id, view.spec)
