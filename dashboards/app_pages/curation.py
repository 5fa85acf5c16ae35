"""The funnel, the cases behind each rule, and why one row was kept or dropped."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from curate.rules.explain import RowExplanation
from dashboards.components import commands
from dashboards.components.cards import decision_badge, problem, say_where_images_are_missing
from dashboards.components.charts import funnel_panel
from dashboards.components.commands import same_in_terminal
from dashboards.components.filters import PAGE_SIZE, choose_folder, first_page, pager
from dashboards.components.navigation import Page
from dashboards.components.provenance import values_text
from dashboards.data.catalog import Folder, scan
from dashboards.data.curated import Funnel, cases_of_rule, explanation_of, funnel
from dashboards.review.button import review_button
from dashboards.review.gallery import row_cards
from dashboards.review.queues import Queue
from dashboards.settings import data_root
from winnow.errors import UserError

PAGE = Page(12, "Curation", ":material/filter_alt:", "Data")


def show() -> None:
    """Draw the page."""
    st.title(PAGE.title)
    folder = choose_folder(scan(data_root()), "curated")
    if not folder:
        return
    counted = funnel(folder)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        funnel_panel(counted)
    with right:
        _why(folder)
    _cases(folder, counted)


def _why(folder: Folder) -> None:
    st.subheader("Why was this row dropped?")
    wanted = st.text_input(
        "Id of a row", key="why", bind="query-params", icon=":material/search:", placeholder="source/split/number"
    )
    if not wanted:
        st.caption("Shows every rule in order with the row's values, whether it fired or not.")
        return
    try:
        _explained(explanation_of(folder, wanted.strip()))
        same_in_terminal(commands.explain_row(folder, wanted.strip()))
    except UserError as error:
        problem(str(error))


def _explained(found: RowExplanation) -> None:
    """Every rule in order: its condition, the row's values, and which one was the reason."""
    decision = found.decision["decision"]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        decision_badge(decision)
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


def _cases(folder: Folder, counted: Funnel) -> None:
    st.subheader("Cases")
    rules = [step.rule for step in counted.steps if step.fired]
    if not rules:
        return
    hardest = max(counted.steps, key=lambda step: step.dropped).rule
    rule = st.selectbox(
        "Rule", rules, index=rules.index(hardest), key="rule", bind="query-params", width=360, on_change=first_page
    )
    total = next(step.fired for step in counted.steps if step.rule == rule)
    review_button(Queue("rule", (("set", folder.name), ("rule", rule))), f"Review these {total:,}", key="review_rule")
    start = pager(total)
    cases = cases_of_rule(folder, rule, start, PAGE_SIZE)
    say_where_images_are_missing(folder)
    row_cards(folder, cases, "cases")
    st.caption(f"{start + 1:,}–{min(start + PAGE_SIZE, total):,} of {total:,} rows on which the rule fired")


if __name__ == "__main__":  # Streamlit runs the file; app.py imports it for PAGE
    show()
