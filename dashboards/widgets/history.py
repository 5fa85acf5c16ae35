"""What curation said about a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import streamlit as st

from dashboards.query.decisions import Fate, FiredRule, Match

_COLOURS: dict[str, Literal["green", "red", "orange"]] = {"keep": "green", "drop": "red", "flag": "orange"}
_WORDS = {"keep": "kept", "drop": "dropped", "flag": "kept and flagged"}


def curated_fate(fate: Fate) -> None:
    """Decision of one curated set about a training row: every rule that fired, with values and threshold."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.text(f"Curated set {fate.folder.name}")
            st.badge(_WORDS.get(fate.decision, "undecided"), color=_COLOURS.get(fate.decision, "gray"))
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


def training_matches(found: Sequence[tuple[str, Sequence[Match]]]) -> None:
    """Training rows that curation matched to this row: leaks of an evaluation row, or copies."""
    for name, matches in found:
        with st.container(border=True):
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.text(f"Curated set {name}")
                if matches:
                    st.badge(f"{len(matches)} matching training rows", color="orange")
                else:
                    st.badge("no matching training row", color="green")
            if matches:
                st.dataframe(pd.DataFrame([_match(match) for match in matches]), hide_index=True, key=f"matches_{name}")


def _match(match: Match) -> dict[str, str]:
    return {
        "Training row": match.sample_id,
        "Decision": _WORDS.get(match.decision, match.decision),
        "Rule": match.rule,
        "Values": values_text(match.values),
    }


def _rule(rule: FiredRule) -> dict[str, str]:
    return {
        "Rule": rule.rule,
        "Action": rule.action,
        "Values of this row": values_text(rule.values),
        "Condition": rule.expression,
        "Threshold": rule.threshold,
        "Kept instead": rule.kept_twin,
    }


def values_text(values: Mapping[str, Any]) -> str:
    """``sharpness 12.25, entropy 4.5``."""
    shown = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in values.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())
