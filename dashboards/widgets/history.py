"""What curation said about a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import streamlit as st

from dashboards.query.decisions import Fate, FiredRule
from dashboards.query.matches import Match, Matches

DECISION_COLOURS: dict[str, Literal["green", "red", "orange"]] = {"keep": "green", "drop": "red", "flag": "orange"}
DECISION_WORDS = {"keep": "kept", "drop": "dropped", "flag": "kept and flagged"}


def curated_fate(fate: Fate) -> None:
    """Decision of one curated set about a training row: every rule that fired, with values and threshold."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.text(f"Curated set {fate.folder.name}")
            st.badge(DECISION_WORDS.get(fate.decision, "undecided"), color=DECISION_COLOURS.get(fate.decision, "gray"))
            if fate.reason:
                st.text(f"because of {fate.reason}")
        if fate.rules:
            st.dataframe(
                pd.DataFrame([_rule(rule) for rule in fate.rules]), hide_index=True, key=f"rules_{fate.folder.name}"
            )
        else:
            st.caption("No rule fired on this row.")
        if fate.representative and fate.representative != fate.sample_id:
            st.caption("Near-duplicate of")
            st.text(f"{fate.representative}{_distance(fate)}")


def _distance(fate: Fate) -> str:
    parts = []
    if fate.duplicate_distance is not None:
        parts.append(f"thumbnails differ by {fate.duplicate_distance:.2f} of 255")
    if fate.hamming is not None:
        parts.append(f"hashes by {fate.hamming} of 64 bits")
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
            _table(found.leaks, f"leaks_{found.folder.name}")


def copies(found: Matches) -> None:
    """Training rows that were dropped or flagged because of this row."""
    if found.copies:
        with st.container(border=True):
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.text(f"Curated set {found.folder.name}")
                st.badge(f"{found.copy_count:,} rows dropped or flagged because of this one", color="gray")
            _table(found.copies, f"copies_{found.folder.name}")


def _table(matches: Sequence[Match], key: str) -> None:
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


def _rule(rule: FiredRule) -> dict[str, str]:
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
