"""The overview: headline numbers of one run, then a panel per stage."""

from __future__ import annotations

import streamlit as st

from dashboards import state
from dashboards.query.catalog import Catalog, Folder
from dashboards.query.compare import Change
from dashboards.query.scores import Score, headline, scores
from dashboards.query.views import View
from dashboards.widgets.headline import count_card, score_card
from dashboards.widgets.notice import nothing_yet, problem
from dashboards.widgets.panels import (
    all_runs_panel,
    curation_panel,
    next_panel,
    scores_panel,
    training_panel,
)
from dashboards.widgets.run_choice import chosen_view
from winnow.errors import UserError


def show_overview(catalog: Catalog) -> None:
    """Everything on the page below its title, except unfinished folders."""
    view = chosen_view(catalog)
    if view:
        _evaluation(catalog, view)
    else:
        nothing_yet("evals")
    left, right = st.columns(2, gap="medium")
    with left:
        curation_panel(catalog)
    with right:
        training_panel(catalog)


def _evaluation(catalog: Catalog, view: View) -> None:
    found = scores(view.run)
    before = scores(view.base) if view.base else []
    headlines = headline(found)
    changes = _changes(view, headlines)
    with st.grid(4, gap="small"):
        for score in headlines:
            score_card(score, changes.get((score.task, score.metric)))
        _counts(catalog, view)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        scores_panel([*before, *found])
    with right:
        next_panel(view)
    all_runs_panel(_by_run(catalog))


def _changes(view: View, headlines: list[Score]) -> dict[tuple[str, str], Change]:
    if view.base is None:
        return {}
    found = state.changes(view.run, view.base, tuple(headlines))
    return {(change.task, change.metric): change for change in found}


def _counts(catalog: Catalog, view: View) -> None:
    counts = state.outcome_counts(view)
    judged = counts["Wrong"] + counts["Right"]
    share = f"{100 * counts['Wrong'] / judged:.1f}% of {judged:,} with a verdict" if judged else "none has a verdict"
    count_card("Answers wrong", f"{counts['Wrong']:,}", share, f"{counts['All']:,} answers in all")
    sets = catalog.finished("curated")
    if sets:
        funnel = state.funnel(sets[0])
        count_card(
            "Rows kept for training", f"{funnel.kept:,}", f"of {funnel.rows_in:,} in {sets[0].name}",
            f"{funnel.flagged:,} of them flagged",
        )  # fmt: skip


def _by_run(catalog: Catalog) -> dict[str, list[Score]]:
    found = {}
    for folder in catalog.finished("evals"):
        if (loaded := _scores_or_problem(folder)) is not None:
            found[folder.name] = loaded
    return found


def _scores_or_problem(folder: Folder) -> list[Score] | None:
    try:
        return scores(folder)
    except UserError as error:
        problem(str(error))
        return None
