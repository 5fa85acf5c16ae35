"""Everything that was decided, whether it counts now, and what curation made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from dashboards.components.cards import count_card
from dashboards.components.filters import PAGE_SIZE, first_page, pager
from dashboards.components.navigation import Page, open_sample_alone
from dashboards.data.catalog import scan
from dashboards.data.reviews import (
    Decision,
    agreements,
    applied,
    as_rows,
    log_files,
    new_tags_in_last,
    read_decisions,
    tag_counts,
)
from dashboards.settings import corrections_folder, data_root

PAGE = Page(10, "Corrections", ":material/rate_review:", "Data")

_STEPS = (
    (
        "Change the data: `curate` reports whether each decision was applied, is stale or in conflict.",
        "curate run RECIPE",
        "curate run curate/recipes/demo.yaml",
    ),
    (
        "Train on it: the old run was made from other data and is refused. `--fresh` replaces it;"
        " with another `name:` both stay, and Compare shows them.",
        "finetune train RECIPE --fresh",
        "finetune train finetune/recipes/demo.yaml --fresh",
    ),
    (
        "Score it: the score and the corrected score stand side by side on the overview.",
        "evalsuite run RECIPE",
        "evalsuite run evalsuite/recipes/demo_tuned.yaml",
    ),
)


_STATES = ("active", "conflict", "superseded", "undone")


def show() -> None:
    """Draw the page."""
    st.title(PAGE.title)
    decisions = read_decisions(corrections_folder())
    if not decisions:
        _nothing_yet()
        return
    outcomes = applied(tuple(scan(data_root()).finished("curated")))
    _counts(decisions)
    _table(outcomes, _filtered(decisions))
    _conflicts(decisions)
    left, right = st.columns([1, 2], gap="medium")
    with left:
        _tags(decisions)
    with right:
        _agreement(decisions)
    _next_steps(decisions, outcomes)
    st.download_button(
        "Export all lines (JSONL)", _all_lines, "corrections.jsonl", "application/jsonl",
        icon=":material/download:", key="export",
    )  # fmt: skip


def _nothing_yet() -> None:
    with st.container(border=True):
        st.markdown("**Nothing decided yet**")
        st.caption("Open a failure and press G, A, W, E or a number; every key writes one line to data/corrections.")
        st.caption("Afterwards this page says what to run: `curate`, `finetune`, `evalsuite`, in this order.")
        st.page_link("app_pages/failures.py", label="Failures", icon=":material/grid_view:")


def _counts(decisions: Sequence[Decision]) -> None:
    counts = Counter(decision.state for decision in decisions)
    reviewers = {decision.line.reviewer for decision in decisions}
    with st.grid(4, gap="small"):
        count_card("Decisions that count", f"{counts['active']:,}", f"by {len(reviewers)} reviewer(s)")
        count_card("In conflict", f"{counts['conflict']:,}", "two reviewers disagree: not applied")
        count_card("Superseded or undone", f"{counts['superseded'] + counts['undone']:,}", "kept in the log")
        count_card(
            "New tags in the last 25", f"{new_tags_in_last(decisions):,}", "0: further cases show little that is new"
        )


def _table(outcomes: Mapping[str, str], decisions: Sequence[Decision]) -> None:
    start = pager(len(decisions))
    page = decisions[start : start + PAGE_SIZE]
    event = st.dataframe(
        pd.DataFrame(as_rows(page, outcomes)), hide_index=True, key=f"decisions_{start}", on_select="rerun",
        selection_mode="single-row",
        column_config={"When": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm")},
    )  # fmt: skip
    if chosen := event.selection.rows:
        open_sample_alone(page[chosen[0]].line.sample_id)
    st.caption(f"{len(decisions):,} lines; choose one to open its row")


def _filtered(decisions: Sequence[Decision]) -> Sequence[Decision]:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        states = st.multiselect(
            "State", _STATES, key="states", bind="query-params", placeholder="All", on_change=first_page
        )
        names = sorted({decision.line.reviewer for decision in decisions})
        who = st.multiselect("Reviewer", names, key="by", placeholder="All", on_change=first_page)
    return [
        decision
        for decision in decisions
        if (not states or decision.state in states) and (not who or decision.line.reviewer in who)
    ]


def _conflicts(decisions: Sequence[Decision]) -> None:
    disputed = sorted({decision.line.sample_id for decision in decisions if decision.state == "conflict"})
    if not disputed:
        return
    st.subheader("In conflict", help="One of the reviewers has to undo, or decide as the other did.")
    for number, sample_id in enumerate(disputed[:PAGE_SIZE]):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.text(sample_id)
            if st.button("Open", key=f"conflict_{number}", type="tertiary"):
                open_sample_alone(sample_id)


def _tags(decisions: Sequence[Decision]) -> None:
    st.subheader("Tags")
    counts = tag_counts(decisions)
    if counts:
        st.dataframe(pd.DataFrame({"Tag": list(counts), "Samples": list(counts.values())}), hide_index=True, key="tags")
    else:
        st.caption("No tag given yet: keys 1–9 on the sample page.")


def _agreement(decisions: Sequence[Decision]) -> None:
    if not (found := agreements(decisions)):
        return
    st.subheader("Agreement", help="Cohen's κ over the rows that both reviewers judged: 1 is full agreement, 0 chance.")
    table = pd.DataFrame(
        {
            "Reviewers": [f"{pair.first} and {pair.second}" for pair in found],
            "Rows judged by both": [pair.n for pair in found],
            "Same verdict": [f"{100 * pair.observed:.0f}%" for pair in found],
            "κ": ["–" if pair.kappa is None else f"{pair.kappa:.2f}" for pair in found],
        }
    )
    st.dataframe(table, hide_index=True, key="agreement")


def _next_steps(decisions: Sequence[Decision], outcomes: Mapping[str, str]) -> None:
    """The three commands in their order; recipes name the folder with ``corrections: data/corrections``."""
    st.subheader("What to run next")
    left = _waiting(decisions, outcomes)
    if left:
        st.caption(f"{left:,} {'decision waits' if left == 1 else 'decisions wait'} for the next curation.")
    else:
        st.caption("The last curation has seen every decision that counts.")
    with st.grid(3, gap="small"):
        for number, (reason, command, demo) in enumerate(_STEPS, start=1):
            with st.container(border=True, height="stretch", gap="xsmall"):
                st.markdown(f"**{number}.** {reason}")
                st.code(f"{command}\n# the demo\n{demo}", language="bash", wrap_lines=True)
    st.caption("Recipes take the decisions in with `corrections: data/corrections`; the demo's do.")


def _waiting(decisions: Sequence[Decision], outcomes: Mapping[str, str]) -> int:
    """How many decisions that count were not yet part of a curation."""
    counting = [decision for decision in decisions if decision.state == "active"]
    return sum(decision.line.correction_id not in outcomes for decision in counting)


def _all_lines() -> bytes:
    """All lines of all reviewers, as they are in the files."""
    return b"".join(path.read_bytes() for path in log_files(corrections_folder()))


if __name__ == "__main__":  # Streamlit runs the file; app.py imports it for PAGE
    show()
