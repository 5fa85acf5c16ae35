"""Empty and broken states: what is missing, and the command that makes it."""

from __future__ import annotations

import streamlit as st

from dashboards.data.catalog import MAKE, Catalog, Kind

_WHAT = {
    "evals": ("No evaluation yet", "Scores and answers appear here when a model has been evaluated."),
    "curated": ("No curated set yet", "The funnel appears here when a data set has been curated."),
    "runs": ("No training run yet", "The loss curve appears here when a model has been fine-tuned."),
}
_DEMO = {"evals": "make eval", "curated": "make curate", "runs": "make train"}


def nothing_yet(kind: Kind) -> None:
    """A notice that there is no finished folder of this kind, and what to run."""
    title, why = _WHAT[kind]
    with st.container(border=True):
        st.markdown(f"**{title}**")
        st.caption(why)
        st.code(f"{_DEMO[kind]}\n# or, with a recipe of your own\n{MAKE[kind]}", language="bash")


def problem(sentence: str) -> None:
    """Show an error sentence as plain text: it may hold names from data, which must not be read as Markdown."""
    with st.container(border=True):
        st.badge("Cannot be shown", icon=":material/error:", color="orange")
        st.text(sentence)


def broken_folders(catalog: Catalog) -> None:
    """List folders that are unfinished or damaged, each with the sentence that says how to finish it."""
    broken = catalog.broken()
    if not broken:
        return
    st.subheader("Not finished", help="Without a manifest there is no result: the run stopped, or is still going.")
    for folder in broken:
        problem(folder.problem)
