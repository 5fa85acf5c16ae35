"""The nearest training rows of a failure: seen or not, kept or dropped, agreeing or not."""

from __future__ import annotations

import streamlit as st

from dashboards import state
from dashboards.images.route import thumb_url
from dashboards.query.catalog import Folder
from dashboards.query.neighbors import Nearest, Neighbor, TrainingRow
from dashboards.widgets.history import DECISION_COLOURS, DECISION_WORDS
from dashboards.widgets.links import open_sample_alone
from dashboards.widgets.notice import problem
from dashboards.widgets.numbers import as_label

_OPEN = "nearest_open"


def nearest_panel(
    sets: tuple[Folder, ...], sample_id: str, image_keys: tuple[str | None, ...], question: str,
    references: tuple[str, ...], of_training: str,
) -> None:  # fmt: skip
    """A button (key N), and below it the nearest images of every curated set.

    Args:
        of_training: name of the set that the row itself belongs to, '' for a row of an evaluation.
    """
    shown = st.session_state.get(_OPEN, False)
    label = "Hide the nearest training rows" if shown else "Nearest training rows"
    st.button(label, shortcut="N", icon=":material/hub:", key="nearest", on_click=_toggle, disabled=not sets)
    key = next((key for key in image_keys if key), None)
    if not shown:
        return
    if key is None:
        st.caption("This row has no image to compare.")
        return
    for folder in sets:
        found = state.nearest(folder, key, question, references, of_training == folder.name)
        _one_set(found, sample_id)


def _toggle() -> None:
    st.session_state[_OPEN] = not st.session_state.get(_OPEN, False)


def _one_set(found: Nearest, sample_id: str) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.text(f"Curated set {found.folder.name}")
            _verdicts(found)
        if found.problem:
            problem(found.problem)
            return
        with st.grid(4, gap="small"):
            for number, neighbor in enumerate(found.neighbors):
                _neighbor(found.folder, neighbor, f"{found.folder.name}_{number}", sample_id)


def _verdicts(found: Nearest) -> None:
    if found.is_identical:
        st.badge("leak: a kept row shows this image", icon=":material/warning:", color="red")
    if found.is_far:
        st.badge(
            "coverage gap", icon=":material/travel_explore:", color="orange",
            help=f"The nearest training image is farther away (cosine below {found.usual:.3f}) than 95% of the"
            " training images are from their own nearest one.",
        )  # fmt: skip
    if found.contradicting:
        count = len(found.contradicting)
        st.badge(
            f"label noise: {count:,} kept {'row gives' if count == 1 else 'rows give'} another answer",
            icon=":material/balance:", color="red",
        )  # fmt: skip
    if not (found.problem or found.is_identical or found.is_far or found.contradicting):
        st.badge("covered: near images, none the same", color="green")


def _neighbor(folder: Folder, neighbor: Neighbor, key: str, sample_id: str) -> None:
    with st.container(border=True, gap="xxsmall"):
        first = neighbor.rows[0].sample_id if neighbor.rows else sample_id
        st.image(thumb_url(folder, first, [neighbor.image_key], "tile"), width="stretch", alt="")
        st.caption(
            f"cosine {neighbor.cosine:.3f} · {neighbor.row_count:,} {'row' if neighbor.row_count == 1 else 'rows'}"
        )
        for number, row in enumerate(neighbor.rows[:2]):
            _row(row, f"{key}_{number}")


def _row(row: TrainingRow, key: str) -> None:
    with st.container(horizontal=True, gap="xxsmall", vertical_alignment="center"):
        st.badge(DECISION_WORDS.get(row.decision, "?"), color=DECISION_COLOURS.get(row.decision, "gray"))
        if row.same_question:
            st.badge("same question", color="blue")
        if row.reason:
            st.badge(as_label(row.reason), color="gray")
    st.text(f"{row.question}\n{row.answer}")
    if st.button("Open", key=f"near_{key}", type="tertiary"):
        open_sample_alone(row.sample_id)
