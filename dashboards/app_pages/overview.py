"""The overview: headline numbers of one run, what changed, where to look next, and a panel per stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
import streamlit as st

from dashboards.components.cards import broken_folders, count_card, nothing_yet, problem, score_card
from dashboards.components.charts import funnel_panel, loss_chart, scores_chart
from dashboards.components.filters import chosen_view
from dashboards.components.format import score_with_interval
from dashboards.components.navigation import Page, own_filters
from dashboards.data.answers import count_outcomes
from dashboards.data.catalog import Catalog, Folder, scan
from dashboards.data.curated import funnel
from dashboards.data.filters import Outcome, View
from dashboards.data.scores import Change, Score, changes, headline, scores
from dashboards.data.training import loss_curve
from dashboards.settings import data_root
from winnow.errors import UserError

PAGE = Page(1, "Overview", ":material/insights:")

_OFFERED: tuple[tuple[Outcome, str], ...] = (
    ("Wrong", "wrong answers"),
    ("Broken", "broken: the baseline had them right"),
    ("Fixed", "fixed: the baseline had them wrong"),
)


def show() -> None:
    """Draw the page."""
    catalog = scan(data_root())
    st.title(PAGE.title)
    view = chosen_view(catalog)
    if view:
        _evaluation(catalog, view)
    else:
        nothing_yet("evals")
    left, right = st.columns(2, gap="medium")
    with left:
        _curation_panel(catalog)
    with right:
        _training_panel(catalog)
    broken_folders(catalog)


def _evaluation(catalog: Catalog, view: View) -> None:
    found = scores(view.run)
    before = scores(view.base) if view.base else []
    headlines = headline(found)
    changed = _changes(view, headlines)
    with st.grid(4, gap="small"):
        for score in headlines:
            score_card(score, changed.get((score.task, score.metric)))
        _counts(catalog, view)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _scores_panel([*before, *found])
    with right:
        _next_panel(view)
    _all_runs_panel(_by_run(catalog))


def _changes(view: View, headlines: list[Score]) -> dict[tuple[str, str], Change]:
    if view.base is None:
        return {}
    found = changes(view.run, view.base, tuple(headlines))
    return {(change.task, change.metric): change for change in found}


def _counts(catalog: Catalog, view: View) -> None:
    counts = count_outcomes(view)
    judged = counts["Wrong"] + counts["Right"]
    share = (
        f"{100 * counts['Wrong'] / judged:.1f}% of {judged:,} with a verdict" if judged else "no answer has a verdict"
    )
    count_card("Answers wrong", f"{counts['Wrong']:,}", share, f"{counts['All']:,} answers in all")
    sets = catalog.finished("curated")
    if sets:
        counted = funnel(sets[0])
        count_card(
            "Rows kept for training", f"{counted.kept:,}", f"of {counted.rows_in:,} in {sets[0].name}",
            f"{counted.flagged:,} of them flagged",
        )  # fmt: skip


def _scores_panel(listed: Sequence[Score]) -> None:
    """Dots with intervals for metrics in percent; the table below has every metric."""
    st.subheader("Scores with 95% intervals")
    shares = [score for score in listed if score.unit == "%"]
    if shares:
        st.altair_chart(scores_chart(shares), alt="Scores of the runs with their 95% intervals")
    else:
        st.caption("No score is in percent; see the table of all runs.")


def _next_panel(view: View) -> None:
    """Where to look next: the cases behind the numbers."""
    st.subheader("Look at the cases")
    counts = count_outcomes(view)
    for outcome, words in _OFFERED:
        if outcome == "Wrong" or view.base:
            spec = replace(view.spec, outcome=outcome)
            label = f"{counts[outcome]:,} {words}"
            st.page_link(
                "app_pages/failures.py", label=label, icon=":material/grid_view:", query_params=own_filters(spec)
            )


def _all_runs_panel(by_run: Mapping[str, Sequence[Score]]) -> None:
    """Table of every run and metric, numbers with intervals."""
    st.subheader("All evaluations")
    rows = []
    for run, listed in by_run.items():
        row: dict[str, str] = {"Run": run}
        for score in listed:
            row[f"{score.title} · {score.task}"] = score_with_interval(score)
        row["n"] = ", ".join(f"{score.n:,}" for score in {score.task: score for score in listed}.values())
        rows.append(row)
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="all_runs")


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


def _curation_panel(catalog: Catalog) -> None:
    """The funnel of a curated set: rows in, what each rule did, rows kept."""
    st.subheader("Curation")
    sets = catalog.finished("curated")
    if not sets:
        nothing_yet("curated")
        return
    funnel_panel(funnel(_chosen_folder(sets, "Curated set", "set")))


def _chosen_folder(folders: list[Folder], label: str, key: str) -> Folder:
    """The newest folder, or the one chosen where there are several."""
    if len(folders) == 1:
        st.text(folders[0].name)
        return folders[0]
    name = st.selectbox(
        label, [folder.name for folder in folders], key=key, bind="query-params", label_visibility="collapsed"
    )
    return next((folder for folder in folders if folder.name == name), folders[0])


def _training_panel(catalog: Catalog) -> None:
    """The loss curve of a training run."""
    st.subheader("Training")
    runs = catalog.finished("runs")
    if not runs:
        nothing_yet("runs")
        return
    points = loss_curve(_chosen_folder(runs, "Training run", "training"))
    if points:
        last = points[-1]
        st.caption(f"{last.step:,} steps, last loss {last.loss:.3f} nats per token")
        st.altair_chart(loss_chart(points), alt="Training loss over steps")
    else:
        st.caption("metrics.jsonl holds no logged step.")


if __name__ == "__main__":  # Streamlit runs the file; app.py imports it for PAGE
    show()
