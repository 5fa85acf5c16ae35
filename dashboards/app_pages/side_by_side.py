"""Several runs on the same rows: every run's answer in a column, and where they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlencode

import streamlit as st

from dashboards.components.export import export_menu
from dashboards.components.filters import PAGE_SIZE, first_page, pager, view_or_notice
from dashboards.components.format import short_name, votes
from dashboards.components.navigation import Page, Parameters
from dashboards.components.saved_views import views_menu
from dashboards.components.table import Cell, Column, link_table
from dashboards.data.agreement import (
    MOST_RUNS,
    PATTERN_HELP,
    PATTERNS,
    SIDE_ORDERS,
    SideRow,
    SideSpec,
    chosen_runs,
    pair_agreements,
    panel,
    pattern_counts,
    rows_at,
    side_rows,
)
from dashboards.data.answers import Answer
from dashboards.data.catalog import Catalog, Folder, scan
from dashboards.data.filters import View
from dashboards.data.predictions import tasks_by_size
from dashboards.images import thumb_url
from dashboards.review.button import review_button, review_parameters
from dashboards.review.gallery import answer_text
from dashboards.review.queues import Queue
from dashboards.settings import data_root

PAGE = Page(9, "Side by side", ":material/view_column:", "Model")

_FIRST_SHOWN = 3  # runs, until one chooses


def show() -> None:
    """Draw the page."""
    catalog = scan(data_root())
    st.title(PAGE.title)
    view = view_or_notice(catalog)
    if view is None:
        return
    runs = _choose_runs(catalog, view)
    if len(runs) < 2:
        st.caption("Choose two or more runs to see their answers to the same rows side by side.")
        return
    tasks = tasks_by_size(runs[0])
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        task = st.selectbox("Task", tasks, key="side_task", bind="query-params", on_change=first_page, width=360)
        order = st.selectbox(
            "Order", SIDE_ORDERS, key="side_sort", bind="query-params", on_change=first_page, width=230
        )
    with st.spinner("Joining the runs"):
        counts = pattern_counts(runs, task)
    if not counts["Any"]:
        st.caption("No row of this task was asked of all these runs.")
        return
    _rows(runs, _filters(runs, SideSpec(tuple(run.name for run in runs), task, order=order)))
    _pairs(runs, task)


def _choose_runs(catalog: Catalog, view: View) -> tuple[Folder, ...]:
    """The runs of the URL; at first the chosen one, its baseline and the newest."""
    names = [folder.name for folder in catalog.finished("evals")]
    first = [view.run.name, *([view.base.name] if view.base else []), *names]
    chosen = st.multiselect(
        "Runs", names, default=list(dict.fromkeys(first))[:_FIRST_SHOWN], max_selections=MOST_RUNS, key="runs",
        bind="query-params", on_change=first_page, help="The rows are those of the first run.",
    )  # fmt: skip
    return chosen_runs(catalog, chosen)


def _filters(runs: tuple[Folder, ...], spec: SideSpec) -> SideSpec:
    names = [run.name for run in runs]
    pattern = st.segmented_control(
        "Pattern", PATTERNS, default="Any", required=True, key="pattern", bind="query-params",
        on_change=first_page, help=PATTERN_HELP,
    )  # fmt: skip
    left, right = st.columns(2, gap="small")
    is_right = left.multiselect(
        "Right in", names, key="right", bind="query-params", on_change=first_page, placeholder="any run"
    )
    is_wrong = right.multiselect(
        "Wrong in", names, key="wrong", bind="query-params", on_change=first_page, placeholder="any run"
    )
    return replace(spec, pattern=pattern or "Any", right=tuple(is_right), wrong=tuple(is_wrong))


def _rows(runs: tuple[Folder, ...], spec: SideSpec) -> None:
    counts, left_out = pattern_counts(runs, spec.task), panel(runs, spec.task).left_out
    words = [f"{counts[pattern]:,} {pattern.lower()}" for pattern in PATTERNS if pattern != "Any"]
    asked = f"{counts['Any']:,} rows asked of all {len(runs)} runs"
    places = side_rows(runs, spec)
    st.caption(" · ".join([asked + (f" ({left_out:,} left out)" if left_out else ""), *words]))
    with st.container(horizontal=True):
        if len(places):
            review_button(_queue(spec), "Review these", key="review_runs")
        views_menu("side_by_side", {"run": runs[0].name, **spec.to_parameters()})
        export_menu("side_by_side", spec.to_parameters(), f"{len(places):,} rows")
    if not len(places):
        st.caption("No row shows this pattern.")
        return
    start = pager(len(places))
    shown = rows_at(runs, spec.task, [int(place) for place in places[start : start + PAGE_SIZE]])
    queue = _queue(spec)
    columns: list[Column] = [{"text": "Row"}, {"text": "Expected"}, {"text": "Agreement"}]
    columns += [{"text": short_name(run.name), "title": run.name} for run in runs]
    table = [_line(runs, row, queue, str(number)) for number, row in enumerate(shown)]
    if opened := link_table(columns, table, "Answers of each run", "side_by_side", wide=True):
        st.switch_page("app_pages/sample.py", query_params=_row_parameters(shown[int(opened)], queue))
    st.caption(f"{start + 1:,}–{start + len(shown):,} of {len(places):,} rows")


def _queue(spec: SideSpec) -> Queue:
    """The page's rows as a list to review."""
    listed = ((name, value) for name, value in spec.to_parameters().items())
    return Queue("runs", tuple((name, one) for name, value in listed for one in _each(value)))


def _row_parameters(row: SideRow, queue: Queue) -> Parameters:
    """URL parameters of the sample page that open a row in its list."""
    return review_parameters(queue, row.answers[0].sample_id)


def _each(value: str | list[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def _line(runs: tuple[Folder, ...], row: SideRow, queue: Queue, number: str) -> list[Cell]:
    first = row.answers[0]
    expected = votes(first.references)
    head: Cell = {
        "head": True,
        "image": thumb_url(runs[0], first.sample_id, first.image_keys, "tile"),
        "text": first.question,
        "title": f"{first.question} ({first.sample_id})",
        "href": f"sample?{urlencode(_row_parameters(row, queue), doseq=True)}",
        "id": number,
    }
    cells = [_answer_cell(answer) for answer in row.answers]
    wanted = " · ".join(text if count == 1 else f"{text} ×{count}" for text, count in expected[:3])
    said = [word for word in (row.agreement, row.answers_given) if word]
    return [head, {"text": wanted}, {"text": said[0], "note": " ".join(said[1:])}, *cells]


def _answer_cell(answer: Answer) -> Cell:
    verdict = "" if answer.correct is None else "right" if answer.correct else "wrong"
    notes = [verdict, "" if answer.status == "ok" else answer.status]
    return {
        "text": answer_text(answer.extracted, answer.raw),
        "note": ", ".join(note for note in notes if note),
        "tone": {"right": "good", "wrong": "bad"}.get(verdict, ""),
    }


def _pairs(runs: tuple[Folder, ...], task: str) -> None:
    """Shares of equal answers (above the diagonal) and of equal verdicts (below it)."""
    st.subheader("How far two runs agree")
    st.caption("Above the diagonal: rows with the same answer. Below it: rows right in both or wrong in both.")
    shares: dict[tuple[int, int], float | None] = {}
    for pair in pair_agreements(runs, task):
        shares[pair.first, pair.second] = pair.same_answer
        shares[pair.second, pair.first] = pair.same_verdict
    columns: list[Column] = [{"text": ""}]
    columns += [{"text": short_name(run.name, 18), "title": run.name, "number": True} for run in runs]
    rows: list[list[Cell]] = [
        [
            {"text": short_name(run.name), "title": run.name, "head": True},
            *(_share(shares.get((row, column)), row, column, runs) for column in range(len(runs))),
        ]
        for row, run in enumerate(runs)
    ]
    link_table(columns, rows, "Agreement of every two runs", "pairs")


def _share(share: float | None, row: int, column: int, runs: tuple[Folder, ...]) -> Cell:
    if share is None:
        return {"text": "", "number": True}
    what = "same answer" if row < column else "same verdict"
    return {
        "text": f"{100 * share:.1f}%",
        "title": f"{runs[row].name} and {runs[column].name}: {what} on {100 * share:.1f}% of the rows",
        "tone": "good",
        "shade": share,
        "number": True,
    }


if __name__ == "__main__":  # Streamlit runs the file; app.py imports it for PAGE
    show()
