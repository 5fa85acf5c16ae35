"""The overview: headline numbers of one run, what changed, where to look next, and a panel per stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlencode

import streamlit as st

from dashboards.components.cards import broken_folders, count_card, nothing_yet, problem, score_card
from dashboards.components.charts import funnel_panel, loss_chart, scores_chart
from dashboards.components.filters import chosen_view
from dashboards.components.format import score_with_interval, short_names
from dashboards.components.navigation import Page, own_filters
from dashboards.components.table import Cell, Column, link_table
from dashboards.data.answers import count_outcomes
from dashboards.data.catalog import Catalog, Folder, scan
from dashboards.data.curated import funnel
from dashboards.data.filters import Outcome, View
from dashboards.data.scores import Change, Score, changes, headline, scores
from dashboards.data.training import loss_curve
from dashboards.review.button import review_button
from dashboards.review.queues import queue_of
from dashboards.settings import data_root
from winnow.errors import UserError

PAGE = Page(1, "Overview", ":material/insights:")

_NEWEST, _MOST_MORE = 4, 6  # runs in the chart beside the chosen one and its baseline: at first, and at most
_ROWS_AT_ONCE, _TABLE_HEIGHT = 12, 460  # rows of the table of all runs that need no scrolling; pixels
_OFFERED: tuple[tuple[Outcome, str], ...] = (
    ("Wrong", "wrong answers"),
    ("Broken", "broken since the baseline"),
    ("Fixed", "fixed since the baseline"),
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
    by_run = _by_run(catalog)
    found = scores(view.run)
    headlines = headline(found)
    changed = _changes(view, headlines)
    with st.grid(4, gap="small"):
        for score in headlines:
            score_card(score, changed.get((score.task, score.metric)))
        _counts(catalog, view)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _scores_panel(view, by_run)
    with right:
        _next_panel(view)
    _all_runs_panel(by_run)


def _changes(view: View, headlines: list[Score]) -> dict[tuple[str, str], Change]:
    if view.base is None:
        return {}
    found = changes(view.run, view.base, tuple(headlines))
    return {(change.task, change.metric): change for change in found}


def _counts(catalog: Catalog, view: View) -> None:
    counts = count_outcomes(view)
    judged = counts["Wrong"] + counts["Right"]
    share = (
        f"{100 * counts['Wrong'] / judged:.1f}% of {judged:,} scored right or wrong"
        if judged
        else "no answer is scored right or wrong"
    )
    count_card("Answers wrong", f"{counts['Wrong']:,}", share, f"{counts['All']:,} answers in all")
    sets = catalog.finished("curated")
    if sets:
        counted = funnel(sets[0])
        count_card(
            "Rows kept for training", f"{counted.kept:,}", f"of {counted.rows_in:,} in {sets[0].name}",
            f"{counted.flagged:,} of them flagged",
        )  # fmt: skip


def _scores_panel(view: View, by_run: Mapping[str, Sequence[Score]]) -> None:
    """Dots with intervals for metrics in percent; the table below has every run and metric."""
    st.subheader("Scores with 95% intervals")
    names = own = [folder.name for folder in (view.base, view.run) if folder]
    if len(by_run) > len(own):
        more = st.multiselect(
            "More runs in the chart", list(by_run), default=list(by_run)[:_NEWEST], max_selections=_MOST_MORE,
            key="chart", bind="query-params", placeholder="a run",
        )  # fmt: skip
        names = list(dict.fromkeys([*more[::-1], *own]))
        st.caption(f"{len(names)} of {len(by_run):,} runs: the chosen one, its baseline and those above.")
    shares = [score for name in names for score in by_run.get(name, ()) if score.unit == "%"]
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
            with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
                st.page_link(
                    "app_pages/failures.py", label=label, icon=":material/grid_view:", query_params=own_filters(spec)
                )
                if counts[outcome]:
                    review_button(queue_of(spec), "Review", key=f"review_{outcome.lower()}")


def _all_runs_panel(by_run: Mapping[str, Sequence[Score]]) -> None:
    """Table of every run and metric, numbers with intervals."""
    st.subheader("All evaluations")
    names = list(dict.fromkeys(_metric_name(score) for listed in by_run.values() for score in listed))
    short = short_names(by_run, 44)
    columns: list[Column] = [{"text": name} for name in ("Run", *names, "n")]
    rows: list[list[Cell]] = []
    for run, listed in by_run.items():
        values = {_metric_name(score): score_with_interval(score) for score in listed}
        n = ", ".join(f"{score.n:,}" for score in {score.task: score for score in listed}.values())
        address = f"overview?{urlencode({'run': run})}"
        head: Cell = {"text": short[run], "title": run, "href": address, "head": True}
        cells: list[Cell] = [{"text": text} for text in (*(values.get(name, "") for name in names), n)]
        rows.append([head, *cells])
    with st.container(height=_TABLE_HEIGHT if len(rows) > _ROWS_AT_ONCE else "content", border=False):
        link_table(columns, rows, "Scores of all evaluations", "all_runs", wide=True)


def _metric_name(score: Score) -> str:
    return f"{score.title} · {score.task}"


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
