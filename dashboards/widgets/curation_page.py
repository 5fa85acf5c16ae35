"""Curation: the funnel, the cases behind each rule, and why one row has its fate."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from curate.rules.explain import RowExplanation
from dashboards import state
from dashboards.query.catalog import Folder
from dashboards.query.commands import explain_row
from dashboards.query.decisions import Funnel
from dashboards.query.why import why
from dashboards.widgets.cases import case_grid
from dashboards.widgets.charts import funnel_chart
from dashboards.widgets.command import same_in_terminal
from dashboards.widgets.history import DECISION_COLOURS, DECISION_WORDS, values_text
from dashboards.widgets.notice import problem
from dashboards.widgets.pager import PAGE_SIZE, first_page, pager
from winnow.errors import UserError


def show_curation(folder: Folder) -> None:
    """Everything below the choice of the set."""
    funnel = state.funnel(folder)
    share = f" ({100 * funnel.kept / funnel.rows_in:.1f}%)" if funnel.rows_in else ""
    st.caption(f"{funnel.rows_in:,} rows in → {funnel.kept:,} kept{share}, {funnel.flagged:,} of them flagged")
    left, right = st.columns([3, 2], gap="medium")
    with left:
        if funnel.steps:
            st.altair_chart(funnel_chart(funnel), alt="Rows on which each rule fired, and rows that it dropped")
        else:
            st.caption("No rule fired on any row.")
    with right:
        _why(folder)
    _cases(folder, funnel)


def _why(folder: Folder) -> None:
    st.subheader("Why was this row dropped?")
    wanted = st.text_input(
        "Id of a row", key="why", bind="query-params", icon=":material/search:", placeholder="source/split/number"
    )
    if not wanted:
        st.caption("Shows every rule in order with the row's values, whether it fired or not.")
        return
    try:
        explained(why(folder, wanted.strip()))
        same_in_terminal(explain_row(folder, wanted.strip()))
    except UserError as error:
        problem(str(error))


def explained(found: RowExplanation) -> None:
    """Every rule in order: its condition, the row's values, and which one was the reason."""
    decision = found.decision["decision"]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(DECISION_WORDS.get(decision, "undecided"), color=DECISION_COLOURS.get(decision, "gray"))
        if found.decision["reason"]:
            st.text(f"because of {found.decision['reason']}")
    st.text(f"{found.sample['question']}\n{found.sample['answer']}")
    rows = [
        {
            "Fired": outcome.fired,
            "Rule": outcome.rule.name,
            "Action": outcome.rule.action,
            "Fires when": outcome.rule.expression.text,
            "This row": values_text(outcome.values),
        }
        for outcome in found.rules
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="explained")


def _cases(folder: Folder, funnel: Funnel) -> None:
    st.subheader("Cases")
    rules = [step.rule for step in funnel.steps if step.fired]
    if not rules:
        return
    hardest = max(funnel.steps, key=lambda step: step.dropped).rule
    rule = st.selectbox(
        "Rule", rules, index=rules.index(hardest), key="rule", bind="query-params", width=360, on_change=first_page
    )
    total = next(step.fired for step in funnel.steps if step.rule == rule)
    start = pager(total)
    cases = state.cases_of_rule(folder, rule, start, PAGE_SIZE)
    case_grid(folder, cases, "cases")
    st.caption(f"{start + 1:,}–{min(start + PAGE_SIZE, total):,} of {total:,} rows on which the rule fired")
