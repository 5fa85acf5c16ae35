"""Panels of the overview: each shows one kind of result, or how to get it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
import streamlit as st

from dashboards import state
from dashboards.query.catalog import Catalog, Folder
from dashboards.query.filters import Outcome
from dashboards.query.scores import Score
from dashboards.query.views import View
from dashboards.widgets.charts import funnel_chart, loss_chart, scores_chart
from dashboards.widgets.links import own_filters
from dashboards.widgets.notice import nothing_yet
from dashboards.widgets.numbers import metric_name, score_with_interval

_OFFERED: tuple[tuple[Outcome, str], ...] = (
    ("Wrong", "wrong answers"),
    ("Broken", "broken: the baseline had them right"),
    ("Fixed", "fixed: the baseline had them wrong"),
)


def scores_panel(scores: Sequence[Score]) -> None:
    """Dots with intervals for shares of 1; the table below has every metric."""
    st.subheader("Scores with 95% intervals")
    shares = [score for score in scores if score.is_share]
    if shares:
        st.altair_chart(scores_chart(shares), alt="Scores of the runs with their 95% intervals")
    else:
        st.caption("No score is a share of 1; see the table of all runs.")


def next_panel(view: View) -> None:
    """Where to look next: the cases behind the numbers."""
    st.subheader("Look at the cases")
    counts = state.outcome_counts(view)
    for outcome, words in _OFFERED:
        if outcome == "Wrong" or view.base:
            spec = replace(view.spec, outcome=outcome)
            label = f"{counts[outcome]:,} {words}"
            st.page_link(
                "app_pages/failures.py", label=label, icon=":material/grid_view:", query_params=own_filters(spec)
            )


def curation_panel(catalog: Catalog) -> None:
    """The funnel of a curated set: rows in, what each rule did, rows kept."""
    st.subheader("Curation")
    sets = catalog.finished("curated")
    if not sets:
        nothing_yet("curated")
        return
    funnel = state.funnel(_chosen(sets, "Curated set", "set"))
    share = f" ({100 * funnel.kept / funnel.rows_in:.1f}%)" if funnel.rows_in else ""
    st.caption(f"{funnel.rows_in:,} rows in → {funnel.kept:,} kept{share}, {funnel.flagged:,} of them flagged")
    if funnel.steps:
        st.altair_chart(funnel_chart(funnel), alt="Rows on which each rule fired, and rows that it dropped")
    else:
        st.caption("No rule fired on any row.")


def training_panel(catalog: Catalog) -> None:
    """The loss curve of a training run."""
    st.subheader("Training")
    runs = catalog.finished("runs")
    if not runs:
        nothing_yet("runs")
        return
    points = state.loss_curve(_chosen(runs, "Training run", "training"))
    if points:
        last = points[-1]
        st.caption(f"{last.step:,} steps, last loss {last.loss:.3f} nats per token")
        st.altair_chart(loss_chart(points), alt="Training loss over steps")
    else:
        st.caption("metrics.jsonl holds no logged step.")


def _chosen(folders: list[Folder], label: str, key: str) -> Folder:
    """The newest folder, or the one chosen where there are several."""
    if len(folders) == 1:
        st.text(folders[0].name)
        return folders[0]
    name = st.selectbox(
        label, [folder.name for folder in folders], key=key, bind="query-params", label_visibility="collapsed"
    )
    return next((folder for folder in folders if folder.name == name), folders[0])


def all_runs_panel(by_run: Mapping[str, Sequence[Score]]) -> None:
    """Table of every run and metric, numbers with intervals."""
    st.subheader("All evaluations")
    rows = []
    for run, scores in by_run.items():
        row: dict[str, str] = {"Run": run}
        for score in scores:
            row[f"{metric_name(score.metric)} · {score.task}"] = score_with_interval(score)
        row["n"] = ", ".join(f"{score.n:,}" for score in {score.task: score for score in scores}.values())
        rows.append(row)
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="all_runs")
