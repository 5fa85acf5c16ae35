"""Start a run: its recipe as a form, what its check says, then the run with its log; and the queue."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import get_args

import streamlit as st

from dashboards.components.cards import problem
from dashboards.components.navigation import Page
from dashboards.components.run_form import edited_recipe, plain
from dashboards.components.run_jobs import ended, follow, going_on, show_job
from dashboards.data.catalog import Catalog, scan
from dashboards.jobs import requests
from dashboards.jobs.access import Visitor, refusal, visitor_of
from dashboards.jobs.commands import Options, Stage
from dashboards.jobs.concerns import concerns
from dashboards.jobs.recipes import placed, recipe_of_result, run_to_merge, shipped_recipes
from dashboards.jobs.stages import STAGES
from dashboards.jobs.store import ENDED, Job, Lane, find_job
from dashboards.jobs.suggestions import suggestions
from dashboards.jobs.worker import ensure_workers
from dashboards.settings import data_root
from winnow.errors import UserError

PAGE = Page(15, "Start a run", ":material/play_circle:")

_STAGES: tuple[Stage, ...] = get_args(Stage)
_OWN = "A recipe of my own"
_CHECKED = "job_checked"  # stage, text and id of the last check of this session
_LARGEST_UPLOAD = 1  # MB


def show() -> None:
    """Draw the page."""
    st.title(PAGE.title)
    root, visitor = data_root(), visitor_of(st.context.headers, st.context.cookies, st.context.ip_address)
    reason = refusal(visitor)
    if reason:
        st.text(reason)
    else:
        ensure_workers(root)  # after a restart: what waited goes on
    going_on(root, visitor)
    if not reason:
        _new_run(root, visitor)
    ended(root, visitor)


def _new_run(root: Path, visitor: Visitor) -> None:
    st.subheader("New run")
    catalog = scan(root)
    stage = st.segmented_control(
        "What", _STAGES, default=_STAGES[0], required=True, key="stage", bind="query-params",
        format_func=lambda one: STAGES[one].title, label_visibility="collapsed",
    )  # fmt: skip
    try:
        source, text = _start_from(stage, catalog, root)
    except UserError as error:
        problem(str(error))
        return
    st.caption(plain(f"Relative paths start from {Path.cwd()}, where the dashboards were started."))
    suggest = functools.partial(_suggest, stage, catalog, root)
    try:
        recipe = edited_recipe((stage, source), text, STAGES[stage], suggest)
    except UserError as error:
        problem(str(error))
        return
    _check_and_start(root, stage, recipe, visitor)


def _suggest(stage: Stage, catalog: Catalog, root: Path, path: tuple[str, ...]) -> list[str]:
    return suggestions(stage, path, catalog, root, Path.cwd())


def _start_from(stage: Stage, catalog: Catalog, root: Path) -> tuple[str, str]:
    """Name and text of the recipe to start from: a result's, one that ships, or the visitor's own."""
    below, kind = Path.cwd(), STAGES[stage].kind
    results = {f"result {folder.name}": folder for folder in catalog.finished(kind or "runs")}
    shipped = {f"shipped {name}": text for name, text in shipped_recipes(stage).items()}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        source = st.selectbox(
            "Start from", [*results, *shipped, _OWN], key=f"start_{stage}", width=420,
            help="The recipe of a result of this data folder, newest first; one that ships with Winnow; or your own.",
        )  # fmt: skip
    if source in results:
        folder = results[source]
        text = run_to_merge(folder, root, below) if kind is None else recipe_of_result(stage, folder, below)
    elif source in shipped:
        text = placed(shipped[source], stage, root, below)
    else:
        text = _uploaded()
    return source, text


def _uploaded() -> str:
    file = st.file_uploader(
        "A recipe file; or write it below, as a form or as YAML", type=["yaml", "yml"], key="recipe_file",
        max_upload_size=_LARGEST_UPLOAD,
    )  # fmt: skip
    if file is None:
        return ""
    try:
        return file.getvalue().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file.name}: is not UTF-8; save the file as UTF-8") from error


def _check_and_start(root: Path, stage: Stage, recipe: str, visitor: Visitor) -> None:
    kept: tuple[str, str, str] | None = st.session_state.get(_CHECKED)
    checked = find_job(root, kept[2]) if kept and kept[:2] == (stage, recipe) else None
    done = checked is not None and checked.state in ENDED
    options = _options(stage)
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Check", icon=":material/fact_check:", key="check", type="secondary" if done else "primary") and (
            job := _submit(root, stage, "check", recipe, visitor, options)
        ):
            st.session_state[_CHECKED] = (stage, recipe, job.id)
            st.rerun()
        label = "Start anyway" if done and checked is not None and checked.state != "finished" else "Start"
        if st.button(
            label, icon=":material/play_arrow:", key="start", disabled=not done,
            type="primary" if label == "Start" and done else "secondary",
            help=None if done else f"Check the recipe first: {STAGES[stage].checked_by}.",
        ) and (job := _submit(root, stage, "run", recipe, visitor, options)):  # fmt: skip
            st.session_state.pop(_CHECKED)
            show_job(job.id)
            st.rerun()
        if kept and checked is None:
            st.text("The recipe was changed since its last check.")
    if checked is not None:
        _warn(root, stage, recipe)
        follow(root, checked.id, visitor)


def _options(stage: Stage) -> Options:
    offered = STAGES[stage].options
    if not offered:
        return ()
    chosen = st.pills(
        "Options", list(offered), selection_mode="multi", format_func=lambda one: offered[one], key=f"options_{stage}"
    )
    return tuple(chosen)


def _submit(
    root: Path, stage: Stage, lane: Lane, recipe: str, visitor: Visitor, options: Options
) -> Job | None:  # fmt: skip
    """Put it in the queue; None after the sentence that says why not."""
    try:
        return requests.submit(root, stage, lane, recipe, visitor, options)
    except UserError as error:
        problem(str(error))
        return None


def _warn(root: Path, stage: Stage, recipe: str) -> None:
    """Say what the recipe does beyond computing, before it is started."""
    for sentence in concerns(requests.read_recipe(stage, recipe), Path.cwd(), root):
        with st.container(border=True):
            st.badge("Look at this first", icon=":material/warning:", color="orange")
            st.text(sentence)


if __name__ == "__main__":  # Streamlit runs the file; app.py imports it for PAGE
    show()
