"""Cards of training rows: image, question, answer, fate."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dashboards.images.route import thumb_url
from dashboards.query.catalog import Folder
from dashboards.query.rows import Case
from dashboards.widgets.history import DECISION_COLOURS, DECISION_WORDS
from dashboards.widgets.links import open_sample_alone
from dashboards.widgets.numbers import as_label


def case_grid(folder: Folder, cases: Sequence[Case], key: str, notes: Sequence[str] = (), columns: int = 6) -> None:
    """Cards in a grid; ``notes`` is a line of ours for each, such as its value."""
    with st.grid(columns, gap="small"):
        for number, case in enumerate(cases):
            with st.container(border=True, gap="xxsmall"):
                st.image(thumb_url(folder, case.sample_id, case.image_keys, "tile"), width="stretch", alt="")
                if notes:
                    st.caption(notes[number])
                with st.container(horizontal=True, gap="xxsmall"):
                    st.badge(DECISION_WORDS.get(case.decision, "?"), color=DECISION_COLOURS.get(case.decision, "gray"))
                    if case.reason:
                        st.badge(as_label(case.reason), color="gray")
                st.text(f"{case.question}\n{case.answer}")
                if st.button("Open", key=f"{key}_{number}", type="tertiary"):
                    open_sample_alone(case.sample_id)
