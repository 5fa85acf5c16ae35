"""What curation recorded about a sample: its decision, leaks, copies, and the nearest training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboards.components.cards import decision_badge, problem
from dashboards.components.format import DECISION_WORDS, as_label
from dashboards.components.navigation import open_sample_alone
from dashboards.components.picture import picture
from dashboards.data.catalog import Folder
from dashboards.data.curated import FiredRule, RowDecision
from dashboards.data.duplicates import Match, Matches
from dashboards.find.neighbors import Nearest, Neighbor, TrainingRow, nearest

_OPEN = "nearest_open"


def curated_decision(row: RowDecision) -> None:
    """Decision of one curated set about a training row: every rule that fired, with values and threshold."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.text(f"Curated set {row.folder.name}")
            decision_badge(row.decision)
            if row.reason:
                st.text(f"because of {row.reason}")
        if row.rules:
            st.dataframe(
                pd.DataFrame([_rule_row(rule) for rule in row.rules]), hide_index=True, key=f"rules_{row.folder.name}"
            )
        else:
            st.caption("No rule fired on this row.")
        if row.representative and row.representative != row.sample_id:
            st.caption("Near-duplicate of")
            st.text(f"{row.representative}{_distance(row)}")


def _distance(row: RowDecision) -> str:
    parts = []
    if row.duplicate_distance is not None:
        parts.append(f"thumbnails differ by {row.duplicate_distance:.2f} of 255")
    if row.hamming is not None:
        parts.append(f"hashes by {row.hamming} of 64 bits")
    return f" ({', '.join(parts)})" if parts else ""


def leaks(found: Matches) -> None:
    """Training rows that show the image of an evaluation row."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.text(f"Curated set {found.folder.name}")
            if found.leak_count:
                st.badge(f"{found.leak_count:,} training rows show this image", color="orange")
            elif found.checked:
                st.badge("no training row shows this image", color="green")
            else:
                st.badge("not compared with evaluation data", color="gray")
        if found.leaks:
            _matches_table(found.leaks, f"leaks_{found.folder.name}")


def copies(found: Matches) -> None:
    """Training rows that were dropped or flagged because of this row."""
    if found.copies:
        with st.container(border=True):
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.text(f"Curated set {found.folder.name}")
                st.badge(f"{found.copy_count:,} rows dropped or flagged because of this one", color="gray")
            _matches_table(found.copies, f"copies_{found.folder.name}")


def _matches_table(matches: Sequence[Match], key: str) -> None:
    rows = [
        {
            "Training row": match.sample_id,
            "Decision": DECISION_WORDS.get(match.decision, match.decision),
            "Same question": {True: "yes", False: "no", None: ""}[match.same_question],
            "Thumbnails differ by": "" if match.distance is None else f"{match.distance:.2f} of 255",
            "Hashes differ by": "" if match.hamming is None else f"{match.hamming} of 64 bits",
        }
        for match in matches
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, key=key)


def _rule_row(rule: FiredRule) -> dict[str, str]:
    return {
        "Rule": rule.rule,
        "Action": rule.action,
        "Values of this row": values_text(rule.values),
        "Condition": rule.expression,
        "Threshold": rule.threshold,
        "Because of row": rule.related_row,
    }


def values_text(values: Mapping[str, Any]) -> str:
    """``sharpness 12.25, entropy 4.5``."""
    shown = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in values.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def nearest_panel(
    sets: tuple[Folder, ...], sample_id: str, image_keys: tuple[str | None, ...], question: str,
    references: tuple[str, ...], of_training: str,
) -> None:  # fmt: skip
    """A button, and below it the nearest images of every curated set.

    Args:
        of_training: name of the set that the row itself belongs to, '' for a row of an evaluation.
    """
    shown = st.session_state.get(_OPEN, False)
    label = "Hide the nearest training rows" if shown else "Nearest training rows"
    st.button(label, icon=":material/hub:", key="nearest", on_click=_toggle, disabled=not sets)
    key = next((key for key in image_keys if key), None)
    if not shown:
        return
    if key is None:
        st.caption("This row has no image to compare.")
        return
    for folder in sets:
        with st.spinner("Comparing with the training images"):
            found = nearest(folder, key, question, references, of_training=of_training == folder.name)
        _one_set(found, sample_id)


def show_nearest() -> None:
    """Open the panel of the nearest rows, before it is drawn."""
    st.session_state[_OPEN] = True


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
        asked = neighbor.rows[0].question if neighbor.rows else ""
        picture(folder, first, [neighbor.image_key], asked)
        st.caption(
            f"cosine {neighbor.cosine:.3f} · {neighbor.row_count:,} {'row' if neighbor.row_count == 1 else 'rows'}"
        )
        for number, row in enumerate(neighbor.rows[:2]):
            _row(row, f"{key}_{number}")


def _row(row: TrainingRow, key: str) -> None:
    with st.container(horizontal=True, gap="xxsmall", vertical_alignment="center"):
        decision_badge(row.decision)
        if row.same_question:
            st.badge("same question", color="blue")
        if row.reason:
            st.badge(as_label(row.reason), color="gray")
    st.text(f"{row.question}\n{row.answer}")
    if st.button("Open", key=f"near_{key}", type="tertiary"):
        open_sample_alone(row.sample_id)
