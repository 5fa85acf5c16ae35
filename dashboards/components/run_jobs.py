"""Jobs on the page: what runs and waits, its log as it grows, and what ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pandas as pd
import streamlit as st

from dashboards.components.cards import problem
from dashboards.jobs import requests
from dashboards.jobs.access import Visitor, refusal
from dashboards.jobs.log import Progress, progress, tail
from dashboards.jobs.stages import STAGES
from dashboards.jobs.store import LOG, Job, all_jobs, find_job, folder_of, in_order, recipe_of, stop_asked
from dashboards.jobs.worker import ensure_workers
from winnow.errors import UserError

_EVERY = 1.0  # seconds between two looks at something that runs
_LISTED = 100
_COLOURS: dict[str, Literal["blue", "gray", "green", "red", "orange"]] = {
    "running": "blue", "waiting": "gray", "finished": "green", "failed": "red", "stopped": "orange",
    "interrupted": "orange",
}  # fmt: skip
_PAGES = {
    "curated": ("curation", "set", "The curated set"),
    "runs": ("training", "training", "The training"),
    "evals": ("overview", "run", "The scores"),
}
_CHOSEN = "job_shown"


def follow(root: Path, id: str, visitor: Visitor) -> Job | None:
    """A job with its log, drawn again every second until it ends; then the page itself is drawn once more."""
    job = find_job(root, id)
    if job is None:
        return None
    going = job.state in ("waiting", "running")
    st.fragment(_follow, run_every=_EVERY if going else None, key=f"follow_{id}")(root, id, visitor, going)
    return job


def _follow(root: Path, id: str, visitor: Visitor, going: bool) -> None:
    job = find_job(root, id)
    if job is None:
        return
    if going and job.state not in ("waiting", "running"):
        st.rerun()
    if job.state == "waiting" and not refusal(visitor):
        ensure_workers(root)  # in case the worker died
    with st.container(border=True):
        _head(root, job, visitor)
        shown = tail(folder_of(root, job) / LOG)
        if job.state == "running" and (found := progress(shown)) and found.share < 1:
            st.progress(found.share)
            st.text(_progress_text(found))
        if shown:
            with st.container(height=360 if shown.count("\n") > 14 else "content", autoscroll=True, border=False):
                st.code(shown, language=None)  # tables keep their lines


def _head(root: Path, job: Job, visitor: Visitor) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        state_badge(job)
        st.text(f"{'Check of ' if job.lane == 'check' else ''}{STAGES[job.stage].title}: {job.name}")
        facts = (_time_text(job), f"by {job.by}" if job.by else "", _place(root, job), job.note)
        st.text(" · ".join(filter(None, facts)))
        may = not refusal(visitor)
        if job.state in ("waiting", "running") and may:
            asked = stop_asked(root, job)
            label = "Kill" if asked else "Stop"
            if st.button(label, icon=":material/stop_circle:", key=f"stop_{job.id}", help=_STOP_HELP):
                _do(requests.stop, root, job.id, visitor)
            if asked:
                st.text("stopping …")
        elif job.state in ("interrupted", "stopped", "failed") and job.lane == "run" and may:
            label = "Try again" if job.state == "failed" else "Continue"
            if st.button(label, icon=":material/resume:", key=f"continue_{job.id}"):
                _do(requests.go_on, root, job.id, visitor)
        if job.state == "finished" and job.lane == "run":
            _result_link(job)


_STOP_HELP = (
    "As Ctrl-C in a terminal: the run keeps what it has and can be continued. Pressed again, it is killed at once;"
    " that also happens a minute later by itself."
)


def _do(action: Callable[[Path, str, Visitor], None], root: Path, id: str, visitor: Visitor) -> None:
    try:
        action(root, id, visitor)
    except UserError as error:
        problem(str(error))
    else:
        st.rerun()


def _result_link(job: Job) -> None:
    kind = STAGES[job.stage].kind
    folder = Path(job.result)
    if kind is None or folder.parent.name != kind:
        st.text(f"written to {folder}")
        return
    page, key, label = _PAGES[kind]
    st.page_link(f"app_pages/{page}.py", label=label, icon=":material/open_in_new:", query_params={key: folder.name})


def _place(root: Path, job: Job) -> str:
    if job.state != "waiting":
        return ""
    waiting = [each.id for each in in_order(all_jobs(root, job.lane))]
    if job.id not in waiting:
        return f"on the machine {job.machine}"
    return f"number {waiting.index(job.id) + 1} in the queue"


def state_badge(job: Job) -> None:
    """The state of a job."""
    st.badge(job.state, color=_COLOURS[job.state])


def _time_text(job: Job) -> str:
    if job.started is None:
        return ""
    if job.ended is None and job.state != "running":
        return ""
    return duration((job.ended or time.time()) - job.started)


def duration(seconds: float) -> str:
    """``8 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = int(max(seconds, 0))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _progress_text(found: Progress) -> str:
    left = f", {found.left} left" if found.left else ""
    return f"{found.label or 'progress'}: {found.done:,} of {found.total:,}{left}"


def going_on(root: Path, visitor: Visitor) -> None:
    """What runs and what waits, in order."""
    jobs = all_jobs(root, "run")
    for job in [each for each in jobs if each.state == "running"] + in_order(jobs):
        follow(root, job.id, visitor)


def ended(root: Path, visitor: Visitor) -> None:
    """What ended, newest first; a line opens its log and its recipe."""
    jobs = [job for job in all_jobs(root, "run") if job.state not in ("waiting", "running")]
    # The one whose process died last is what somebody comes back for.
    newest = sorted(jobs, key=lambda job: (-job.queued, job.id))[:_LISTED]
    if not newest:
        return
    st.subheader("Ended")
    table = pd.DataFrame(
        {
            "State": [job.state for job in newest],
            "Run": [job.name for job in newest],
            "What": [STAGES[job.stage].title for job in newest],
            "Started": [pd.to_datetime(job.started, unit="s") if job.started else pd.NaT for job in newest],
            "Took": [_time_text(job) for job in newest],
            "By": [job.by for job in newest],
            "Note": [job.note for job in newest],
        }
    )
    event = st.dataframe(
        table, hide_index=True, on_select="rerun", selection_mode="single-row",
        key=f"ended_{newest[0].id}_{len(newest)}",
        column_config={"Started": st.column_config.DatetimeColumn("Started (UTC)", format="YYYY-MM-DD HH:mm")},
    )  # fmt: skip
    rows = event.selection.rows
    chosen = newest[rows[0]].id if rows else st.session_state.get(_CHOSEN) or newest[0].id
    job = follow(root, chosen, visitor) if chosen in [each.id for each in newest] else None
    if job is not None:
        with st.expander("Recipe"):
            try:
                st.code(recipe_of(root, job), language="yaml", wrap_lines=True)
            except UserError as error:
                problem(str(error))


def start_button(command: str) -> None:
    """A button that goes to the form of a console command's stage, with the recipe of its newest result."""
    title = next(form.title for stage, form in STAGES.items() if stage == command.split()[0])
    if st.button("Start", icon=":material/play_arrow:", key=f"to_run_{command}"):
        st.switch_page("app_pages/run.py", query_params={"stage": title})


def show_job(id: str) -> None:
    """Have ``ended`` open this job."""
    st.session_state[_CHOSEN] = id
