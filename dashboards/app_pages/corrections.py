"""Everything that was decided, whether it counts now, and what curation and scores made of it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboards.components.cards import count_card
from dashboards.components.export import export_menu
from dashboards.components.filters import PAGE_SIZE, first_page, pager
from dashboards.components.format import count_of
from dashboards.components.navigation import Page, open_sample_alone
from dashboards.components.run_jobs import start_button
from dashboards.data.catalog import Catalog, scan
from dashboards.data.conflicts import conflicts
from dashboards.data.outcomes import Waiting, sentences, waiting, words_of
from dashboards.data.review_log import Decision, Log, log_files, log_of
from dashboards.data.reviews import as_rows, summary
from dashboards.settings import corrections_folder, data_root
from winnow.files import read_regular

PAGE = Page(6, "Corrections", ":material/rate_review:", "Review")

_STEPS = (
    (
        "Change the data: `curate` reports whether each decision was applied, is stale or in conflict.",
        "curate run RECIPE",
        "curate run curate/recipes/demo.yaml",
    ),
    (
        "Train on it: the old run was made from other data and is refused. `--fresh` replaces it;"
        " with another `name:` both stay, and Compare shows them.",
        "finetune train RECIPE --fresh",
        "finetune train finetune/recipes/demo.yaml --fresh",
    ),
    (
        "Score it: the score and the corrected score stand side by side on the overview.",
        "evalsuite run RECIPE",
        "evalsuite run evalsuite/recipes/demo_tuned.yaml",
    ),
)


_SCORE = "evalsuite score {folder} --corrections {corrections}"
_MOST_RUNS = 6  # for which the command is shown
_STATES = ("active", "conflict", "settled", "superseded", "undone")


def show() -> None:
    """Draw the page."""
    st.title(PAGE.title)
    log = log_of(corrections_folder())
    decisions = log.decisions
    if not decisions:
        _nothing_yet()
        return
    catalog = scan(data_root())
    _counts(log)
    _table(catalog, _filtered(decisions))
    left, right = st.columns([1, 2], gap="medium")
    with left:
        _tags(log)
    with right:
        _agreement(log)
    _next_steps(waiting(log, catalog))
    st.download_button(
        "Export all lines (JSONL)", _all_lines, "corrections.jsonl", "application/jsonl",
        icon=":material/download:", key="export",
    )  # fmt: skip


def _nothing_yet() -> None:
    with st.container(border=True):
        st.markdown("**Nothing decided yet**")
        st.caption("Open a failure and press G, A, L, W, E or a number; every key writes one line to data/corrections.")
        st.caption("Afterwards this page says what to run: `curate`, `finetune`, `evalsuite`, in this order.")
        st.page_link("app_pages/failures.py", label="Failures", icon=":material/grid_view:")


def _counts(log: Log) -> None:
    counted = summary(log)
    with st.grid(4, gap="small"):
        count_card(
            "Decisions that count", f"{counted.states['active']:,}", f"by {count_of(counted.reviewers, 'reviewer')}"
        )
        count_card("In conflict", f"{counted.states['conflict']:,}", "people disagree: nothing is applied")
        replaced = sum(counted.states[state] for state in ("settled", "superseded", "undone"))
        count_card("No longer counting", f"{replaced:,}", "settled, superseded or undone; kept in the log")
        count_card("New tags in the last 25", f"{counted.new_tags:,}", "at 0, further cases show little that is new")
    found = conflicts(log)
    if found.left:
        label = f"Settle {count_of(len(found.left), 'conflict')} side by side"
        if st.button(label, type="primary", icon=":material/balance:", key="settle"):
            st.switch_page("app_pages/conflicts.py")


def _table(catalog: Catalog, decisions: Sequence[Decision]) -> None:
    start = pager(len(decisions))
    page = decisions[start : start + PAGE_SIZE]
    became = words_of(page, catalog)
    event = st.dataframe(
        pd.DataFrame(as_rows(page, became)), hide_index=True, key=f"decisions_{start}", on_select="rerun",
        selection_mode="single-row",
        column_config={"When": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm")},
    )  # fmt: skip
    if chosen := event.selection.rows:
        open_sample_alone(page[chosen[0]].line.sample_id)
    st.caption(f"{count_of(len(decisions), 'line')}; choose one to open its row")


def _filtered(decisions: Sequence[Decision]) -> Sequence[Decision]:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        states = st.multiselect(
            "State", _STATES, key="states", bind="query-params", placeholder="All", on_change=first_page
        )
        names = sorted({decision.line.reviewer for decision in decisions})
        who = st.multiselect("Reviewer", names, key="by", placeholder="All", on_change=first_page)
        export_menu("corrections", {"states": states, "by": who}, "All lines that match")
    return [
        decision
        for decision in decisions
        if (not states or decision.state in states) and (not who or decision.line.reviewer in who)
    ]


def _tags(log: Log) -> None:
    st.subheader("Tags")
    counts = summary(log).tags
    if counts:
        st.dataframe(pd.DataFrame({"Tag": list(counts), "Samples": list(counts.values())}), hide_index=True, key="tags")
    else:
        st.caption("No tag given yet: keys 1–9 of a review.")


def _agreement(log: Log) -> None:
    if not (found := summary(log).agreements):
        return
    st.subheader(
        "Agreement",
        help="Cohen's κ over the rows that both reviewers judged: 1 is full agreement, 0 chance. Lines that settle a"
        " conflict are left out.",
    )
    table = pd.DataFrame(
        {
            "Reviewers": [f"{pair.first} and {pair.second}" for pair in found],
            "Rows judged by both": [pair.n for pair in found],
            "Same verdict": [f"{100 * pair.observed:.0f}%" for pair in found],
            "κ": ["–" if pair.kappa is None else f"{pair.kappa:.2f}" for pair in found],
        }
    )
    st.dataframe(table, hide_index=True, key="agreement")


def _next_steps(left: Waiting) -> None:
    """What decisions wait for: curation, training and evaluation, or only new scores."""
    st.subheader("What to run next")
    for sentence in sentences(left):
        st.caption(sentence)
    if left.scores:
        _score_again(left)
    if left.curation or not left.decided:
        with st.grid(3, gap="small"):
            for number, (reason, command, demo) in enumerate(_STEPS, start=1):
                with st.container(border=True, height="stretch", gap="xsmall"):
                    st.markdown(f"**{number}.** {reason}")
                    st.code(f"{command}\n# the demo\n{demo}", language="bash", wrap_lines=True)
                    start_button(command)
        st.caption("Recipes take the decisions in with `corrections: data/corrections`; the demo's do.")


def _score_again(left: Waiting) -> None:
    """The commands that bring corrected scores up to date."""
    with st.container(border=True, gap="xsmall"):
        st.markdown("Bring the corrected scores up to date. No model is asked, and nothing has to be trained for it.")
        commands = [
            _SCORE.format(folder=shlex.quote(f"data/evals/{run}"), corrections="data/corrections")
            for run in list(left.scores)[:_MOST_RUNS]
        ]
        if len(left.scores) > _MOST_RUNS:
            commands.append(f"# and {len(left.scores) - _MOST_RUNS} more runs")
        st.code("\n".join(commands), language="bash", wrap_lines=True)


def _all_lines() -> bytes:
    """All lines of all reviewers, as they are in the files."""
    return b"".join(read_regular(path) for path in log_files(corrections_folder()))


if __name__ == "__main__":  # Streamlit runs the file; app.py imports it for PAGE
    show()
