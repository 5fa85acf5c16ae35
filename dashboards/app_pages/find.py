"""Failures and training rows by what their pictures show: by text or picture, on a map, and in groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from dashboards.components.cards import nothing_yet, problem
from dashboards.components.filters import PAGE_SIZE, filter_bar, outcome_choice, pager, view_or_notice
from dashboards.components.format import as_label
from dashboards.components.lasso import lasso
from dashboards.components.navigation import Page
from dashboards.components.picture import picture
from dashboards.data.answers import Answer, answers_at, matching_rows
from dashboards.data.catalog import Catalog, Folder, scan
from dashboards.data.curated import cases_at
from dashboards.data.filters import View
from dashboards.find.background import progress_of, start
from dashboards.find.clusters import FEWEST, Cluster, cluster_failures
from dashboards.find.embed import MOST, embed_missing
from dashboards.find.embeddings import HOW_TO_GET, model_of
from dashboards.find.layout import Layout, Method, best_method, inside, layout_digest, make_layout, open_layout
from dashboards.find.points import COLOURS, groups, rows_of_points
from dashboards.find.search import Hit, Pictured, found_answers, found_cases, pictured_run, pictured_set, query_of
from dashboards.find.selections import MOST as MOST_SELECTED
from dashboards.find.selections import open_selection, save_selection
from dashboards.review.button import open_review, review_button
from dashboards.review.gallery import gallery, row_cards
from dashboards.review.queues import Queue
from dashboards.settings import data_root

PAGE = Page(10, "Find", ":material/travel_explore:", "Model")

_WAYS = ("By text or picture", "On a map", "In groups")
_CASES = 12  # training rows on a page
_STRIP = 7  # pictures of a group
_STRIP_WIDTH = 104  # pixels
_LOOKED_AT = 48  # rows of a group among which different pictures are sought
_COLOUR_HELP = (
    "A picture with several rows takes the first of these that one of its rows has. Outcome follows the filters."
)


def show() -> None:
    """Draw the page."""
    catalog = scan(data_root())
    st.title(PAGE.title)
    view = view_or_notice(catalog)
    if view is None:
        return
    with st.sidebar:
        spec = filter_bar(view.run, view.base)
    view = replace(view, spec=spec)
    if picked := st.query_params.get("picked"):
        _picked(catalog, view, picked)
        return
    folder = _embedded_set(catalog)
    if folder is None:
        return
    with st.spinner("Reading the embeddings"):
        of_run, of_set = pictured_run(view.run, folder), pictured_set(folder)
    if of_run is None or of_set is None:
        st.info(HOW_TO_GET)
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        way = st.segmented_control("Find", _WAYS, default=_WAYS[0], required=True, key="find_by", bind="query-params")
        if way != _WAYS[2]:
            view = replace(view, spec=outcome_choice(spec))
    _missing(view.run, folder, of_run)
    if way == _WAYS[1]:
        _map(view, folder, of_run, of_set)
    elif way == _WAYS[2]:
        _groups(view, folder, of_run)
    else:
        _search(view, folder, of_run, of_set)


def _embedded_set(catalog: Catalog) -> Folder | None:
    """The curated set whose embeddings are used; None after a notice if there is none."""
    sets = catalog.finished("curated")
    if not sets:
        nothing_yet("curated")
        return None
    embedded = [folder for folder in sets if model_of(folder)]
    if not embedded:
        st.info(HOW_TO_GET)
        return None
    if len(embedded) == 1:
        return embedded[0]
    names = [folder.name for folder in embedded]
    name = st.selectbox("Curated set", names, key="set", bind="query-params", width=360)
    return embedded[names.index(name)]


def _missing(run: Folder, folder: Folder, of_run: Pictured) -> None:
    """How many pictures of the run are not embedded, and a button that has them embedded."""
    model = model_of(folder)
    key = ("embed", run.fingerprint, model)
    work = progress_of(key)
    if work and work.running:
        _watch(key, "Embedding pictures")
        return
    if work and work.problem:
        problem(work.problem)
    if not (missing := of_run.missing):
        return
    next_ones = min(missing, MOST)
    with st.container(border=True, horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.text(f"{missing:,} of {of_run.pictures:,} pictures of this run are not embedded yet and cannot be found.")
        if st.button(
            f"Embed {next_ones:,} pictures", key="embed", icon=":material/memory:",
            help=f"On this machine, in the background, at most {MOST:,} at a time; each is embedded once and kept.",
        ):  # fmt: skip
            start(key, partial(embed_missing, run, folder))
            st.rerun()


@st.fragment(run_every=1.0)
def _watch(key: tuple[object, ...], what: str) -> None:
    """Progress of background work; draws the page anew when it ends."""
    work = progress_of(key)
    if work is None or not work.running:
        st.rerun()
    share = work.done / work.total if work.total else 0.0
    counted = f" · {work.done:,} of {work.total:,}" if work.done else ""
    st.progress(share, f"{what}{counted}. It goes on when you leave this page.")


def _search(view: View, folder: Folder, of_run: Pictured, of_set: Pictured) -> None:
    left, right = st.columns(2)
    text = left.text_input(
        "Pictures that show", key="shows", bind="query-params", icon=":material/search:", placeholder="a red circle"
    )
    like = right.text_input(
        "Or: like the picture of this row", key="like", bind="query-params", icon=":material/image_search:",
        placeholder="id of an answer or a training row",
    )  # fmt: skip
    text, like = (text or "").strip(), (like or "").strip()
    if not text and not like:
        st.caption("Write what a picture shows, in the words of a caption, or open a sample and choose Find similar.")
        return
    with st.spinner("Searching"):
        query = query_of(view.run, folder, len(of_run.vectors), text, like)
    if query is None:
        st.info("No embedded picture belongs to this row: its run's pictures may still have to be embedded.")
        return
    title = f"pictures that show “{text}”" if text else f"pictures like that of {like}"
    answers = found_answers(view, folder, len(of_run.vectors), query.tobytes(), PAGE_SIZE, "" if text else like)
    st.subheader(f"{view.spec.outcome} answers" if view.spec.outcome != "All" else "Answers")
    _hits_caption(answers, "answers of this view")
    _answer_cards(view, [hit.rows[0] for hit in answers], [row for hit in answers for row in hit.rows], title, "hits")
    cases = found_cases(folder, query.tobytes(), _CASES, "" if text else like)
    st.subheader("Training rows")
    _hits_caption(cases, f"rows of {as_label(folder.name)}")
    notes = [f"cosine {hit.cosine:.3f}" + (f" · {len(hit.rows)} rows" if len(hit.rows) > 1 else "") for hit in cases]
    _case_cards(
        folder, [hit.rows[0] for hit in cases], [row for hit in cases for row in hit.rows], title, "hits", notes
    )


def _hits_caption(found: Sequence[Hit], what: str) -> None:
    if found:
        rows = sum(len(hit.rows) for hit in found)
        st.caption(
            f"The {len(found):,} nearest pictures, nearest first, one card each; {rows:,} {what} show them."
            f" Cosines {found[0].cosine:.3f} to {found[-1].cosine:.3f}."
        )
    else:
        st.caption(f"No embedded picture among the {what}.")


def _map(view: View, folder: Folder, of_run: Pictured, of_set: Pictured) -> None:
    method: Method = best_method()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        colour = st.segmented_control(
            "Colour", COLOURS, default=COLOURS[0], required=True, key="map_colour", bind="query-params",
            help=_COLOUR_HELP,
        )  # fmt: skip
        if method == "UMAP":
            chosen = st.segmented_control(
                "Placed by", ["UMAP", "PCA"], default="UMAP", required=True, key="map_by", bind="query-params"
            )
            method = "PCA" if chosen == "PCA" else "UMAP"
    layout = _layout(view.run, folder, of_run, of_set, method)
    if layout is None:
        return
    rows = matching_rows(view)
    coloured = groups(layout, colour or COLOURS[0], view.run, folder, of_run, of_set, rows)
    polygon = lasso(layout, coloured, f"map_{layout.digest}")
    st.caption(_map_caption(layout))
    if polygon is None:
        return
    points = inside(layout.xy, polygon)
    answers, cases = rows_of_points(layout, points, of_run, of_set, rows)
    title = f"{int(points.sum()):,} pictures on the map"
    st.subheader(f"Selected: {int(points.sum()):,} pictures")
    st.caption(f"{len(answers):,} answers of this view and {len(cases):,} training rows show them.")
    if len(answers):
        start_at = pager(len(answers))
        page = answers[start_at : start_at + PAGE_SIZE].tolist()
        _answer_cards(view, page, answers, title, "map")
    if len(cases):
        st.subheader("Training rows")
        _case_cards(folder, cases[:_CASES].tolist(), cases, title, "map")


def _layout(run: Folder, folder: Folder, of_run: Pictured, of_set: Pictured, method: Method) -> Layout | None:
    """The map, from the cache if it was made before; None while it is being made."""
    digest = layout_digest(run, folder, method)
    if found := open_layout(folder.root, digest):
        return found
    key = ("map", digest)
    work = progress_of(key)
    if work and not work.running and work.problem:
        problem(work.problem)
        return None
    start(key, partial(make_layout, run, folder, of_run, of_set, method))
    _watch(key, f"Placing the pictures by {method}")
    return None


def _map_caption(layout: Layout) -> str:
    how = "UMAP" if layout.method == "UMAP" else "the first two principal components"
    drawn = (
        f"{len(layout.xy):,} of {layout.pictures:,} embedded pictures, drawn with a fixed seed, those with wrong"
        " answers first"
        if len(layout.xy) < layout.pictures
        else f"All {layout.pictures:,} embedded pictures"
    )
    more = (
        "" if best_method() == "UMAP" else " The extra `map` of the package adds UMAP, which keeps neighbours closer."
    )
    return f"{drawn}, placed by {how}: near points look alike, the axes mean nothing.{more}"


def _groups(view: View, folder: Folder, of_run: Pictured) -> None:
    count = st.slider("Groups", 2, 20, 8, key="group_count", bind="query-params", width=360)
    with st.spinner("Grouping the wrong answers"):
        found = cluster_failures(view, folder, len(of_run.vectors), count)
    if not found.clusters:
        st.caption(f"{found.failures:,} wrong answers with an embedded picture; groups need at least {FEWEST}.")
        return
    drawn = "" if found.grouped == found.failures else f", {found.grouped:,} of them drawn with a fixed seed"
    counted = "" if found.counted == found.answers else f" ({found.counted:,} drawn)"
    st.caption(
        f"{found.failures:,} wrong answers under these filters{drawn}, grouped by picture and question;"
        f" {100 * found.rate:.1f}% of {found.answers:,} answers{counted} are wrong. A group's rate counts all answers"
        " nearest to it; intervals are 95%, clustered by image, and not corrected for the number of groups."
    )
    for number, cluster in enumerate(found.clusters):
        _group(view, cluster, number)


def group_title(cluster: Cluster) -> str:
    """``question says “color” · answered “red” · question type: color``."""
    says = {"question": "question says “{}”", "answer": "answered “{}”", "reference": "expected “{}”"}
    parts = [says.get(about, about + ": {}").format(value) for about, value in cluster.terms]
    return " · ".join(parts) or "nothing stands out"


def _group(view: View, cluster: Cluster, number: int) -> None:
    title = group_title(cluster)
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            with st.container(gap="xxsmall", width="stretch"):
                with st.container(key=f"group_name_{number}"):
                    st.text(title)
                between = (
                    "" if cluster.low is None or cluster.high is None
                    else f" ({100 * cluster.low:+.1f} to {100 * cluster.high:+.1f})"
                )  # fmt: skip
                st.caption(
                    f"{len(cluster.rows):,} wrong answers · {100 * cluster.rate:.1f}% of {cluster.answers:,} answers"
                    f" are wrong, {100 * cluster.excess:+.1f} points{between} against all"
                )
            if st.button("Open", key=f"group_open_{number}", icon=":material/grid_view:"):
                st.query_params["picked"] = save_selection(title, view.run, cluster.rows)
                st.rerun()
            _review_button(view.run, cluster.rows, title, f"group_{number}")
        with st.container(horizontal=True, gap="small"):
            for answer in _different_pictures(answers_at(view.run, view.base, cluster.rows[:_LOOKED_AT])):
                with st.container(width=_STRIP_WIDTH):
                    picture(view.run, answer.sample_id, answer.image_keys, answer.question)


def _different_pictures(answers: Sequence[Answer]) -> list[Answer]:
    by_picture = {next((key for key in answer.image_keys if key), ""): answer for answer in reversed(answers)}
    return list(reversed(by_picture.values()))[:_STRIP]


def _picked(catalog: Catalog, view: View, name: str) -> None:
    """The rows of a kept selection."""
    if st.button("Back", icon=":material/arrow_back:", key="picked_back"):
        del st.query_params["picked"]
        st.rerun()
    found = open_selection(catalog, name)
    if found is None or found.folder is None:
        st.info("This selection is no longer there: it was kept in the cache. Select the rows again.")
        return
    with st.container(key="group_name_picked"):
        st.text(found.title)
    st.caption(f"{len(found.rows):,} rows" + (f"; {found.lost:,} are gone since" if found.lost else ""))
    if not len(found.rows):
        return
    start_at = pager(len(found.rows))
    page = found.rows[start_at : start_at + PAGE_SIZE].tolist()
    if found.folder.kind == "curated":
        _case_cards(found.folder, page, found.rows, found.title, "picked")
    else:
        base = view.base if view.base != found.folder else None
        _answer_cards(replace(view, run=found.folder, base=base), page, found.rows, found.title, "picked")


def _answer_cards(
    view: View, shown: Sequence[int], rows: Sequence[int] | NDArray[np.int32], title: str, key: str
) -> None:
    """Cards of answers, and a button that reviews all of ``rows``."""
    if not len(shown):
        return
    _review_button(view.run, rows, title, f"{key}_answers")
    if opened := gallery(answers_at(view.run, view.base, tuple(shown)), view):
        open_review(_selected(view.run, rows, title), opened)


def _case_cards(
    folder: Folder, shown: Sequence[int], rows: Sequence[int] | NDArray[np.int32], title: str, key: str,
    notes: Sequence[str] = (),
) -> None:  # fmt: skip
    if not len(shown):
        return
    _review_button(folder, rows, title, f"{key}_cases")
    row_cards(folder, cases_at(folder, shown), f"find_{key}", notes)


def _review_button(folder: Folder, rows: Sequence[int] | NDArray[np.int32], title: str, key: str) -> None:
    count = f"these {len(rows):,}" if len(rows) <= MOST_SELECTED else f"the first {MOST_SELECTED:,} of {len(rows):,}"
    review_button(partial(_selected, folder, rows, title), f"Review {count} rows", key=f"review_{key}")


def _selected(folder: Folder, rows: Sequence[int] | NDArray[np.int32], title: str) -> Queue:
    """These rows as a list to review."""
    return Queue("selection", (("name", save_selection(title, folder, rows)),))


if __name__ == "__main__":  # Streamlit runs the file; app.py imports it for PAGE
    show()
