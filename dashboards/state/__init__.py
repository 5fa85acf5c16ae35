"""Queries behind Streamlit's caches. Keys hold the folders' fingerprints, so a changed file is a miss."""

from dashboards.state.comparisons import changes, flips, slices, touched
from dashboards.state.curated import cases, cases_of_rule, fates, funnel, groups, matches, nearest
from dashboards.state.evaluations import (
    answers,
    answers_of_all,
    filter_values,
    outcome_counts,
    predictions,
    readings,
    view_rows,
)
from dashboards.state.folders import catalog, connection, corrections_folder
from dashboards.state.losses import highest_losses, loss_curve, losses_by_source, losses_over_epochs
from dashboards.state.reviews import applied, corrections_export, decisions
from dashboards.state.tuning import rows_near, threshold_histogram, threshold_preview, threshold_values, thresholds

__all__ = [
    "answers",
    "answers_of_all",
    "applied",
    "cases",
    "cases_of_rule",
    "catalog",
    "changes",
    "connection",
    "corrections_export",
    "corrections_folder",
    "decisions",
    "fates",
    "filter_values",
    "flips",
    "funnel",
    "groups",
    "highest_losses",
    "loss_curve",
    "losses_by_source",
    "losses_over_epochs",
    "matches",
    "nearest",
    "outcome_counts",
    "predictions",
    "readings",
    "rows_near",
    "slices",
    "threshold_histogram",
    "threshold_preview",
    "threshold_values",
    "thresholds",
    "touched",
    "view_rows",
]
