"""Every list that can be reviewed now, my share of those that were split, and what an audit shows."""

from __future__ import annotations

import streamlit as st

from dashboards.components.cards import broken_folders, count_card, nothing_yet, problem
from dashboards.components.filters import choose_folder, chosen_view
from dashboards.components.format import count_of
from dashboards.components.navigation import Page
from dashboards.components.review import reviewer
from dashboards.data.audit import Rate, Stratum, audit, audit_verdicts, rate_of
from dashboards.data.catalog import Catalog, scan
from dashboards.data.filters import View
from dashboards.data.reviews import read_decisions
from dashboards.review.assignment import OVERLAP, Assignment, new_assignment, read_assignments, save
from dashboards.review.button import review_button
from dashboards.review.entries import content_digest
from dashboards.review.offered import Offered, Progress, offered, progress
from dashboards.review.queues import Queue, entries
from dashboards.settings import corrections_folder, data_root
from winnow.errors import UserError

PAGE = Page(4, "Queues", ":material/checklist:", "Review")

# What the reader chooses → the parameter ``undecided`` of every queue.
_ROWS = {
    "All": "",
    "Undecided by me first": "first",
    "Only undecided by me": "me",
    "Only undecided by anyone": "anyone",
}
_LISTED = 20  # assignments
_FAILED = "queues_failed"


def show() -> None:
    """Draw the page."""
    catalog = scan(data_root())
    st.title(PAGE.title)
    if failed := st.session_state.pop(_FAILED, ""):
        problem(failed)
    view = chosen_view(catalog)
    has_sets = bool(catalog.finished("curated"))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        curated = choose_folder(catalog, "curated") if has_sets else None
        shown = st.selectbox("Rows", list(_ROWS), key="queue_rows", bind="query-params", width=280)
    with st.spinner("Counting what is left"):
        found = offered(catalog, view, curated, reviewer())
    _assignments(catalog)
    _list(catalog, found, _ROWS[shown])
    if found:
        _split(catalog, found)
    if view:
        _audit(catalog, view)


def _list(catalog: Catalog, found: list[Offered], rows: str) -> None:
    if not found:
        nothing_yet("evals")
        broken_folders(catalog)
        return
    st.subheader("All queues")
    with st.grid(2, gap="small"):
        for number, item in enumerate(found):
            with st.container(
                border=True, height="stretch", horizontal=True, horizontal_alignment="distribute",
                vertical_alignment="center",
            ):  # fmt: skip
                with st.container(gap="xxsmall"):
                    st.text(item.label)
                    st.caption(f"{count_of(item.total, 'row')}, {item.left:,} left to you")
                queue = item.queue
                if rows:
                    queue = Queue(queue.name, (*queue.parameters, ("undecided", rows)))
                review_button(queue, "Review", key=f"queue_{number}")


def _assignments(catalog: Catalog) -> None:
    listed, problems = read_assignments(catalog.root)
    for sentence in problems:
        problem(sentence)
    if not listed:
        return
    st.subheader("Split among reviewers")
    decisions = read_decisions(corrections_folder())
    for assignment in sorted(listed, key=lambda one: not one.holds(reviewer()))[:_LISTED]:
        with st.container(border=True, gap="xsmall"):
            _assignment(assignment, progress(catalog, assignment, decisions))
    if len(listed) > _LISTED:
        st.caption(f"The newest {_LISTED} of {len(listed)}; all are in the folder assignments.")


def _assignment(assignment: Assignment, found: Progress) -> None:
    st.text(f"{assignment.title} · {assignment.total:,} rows")
    st.caption(f"split at {assignment.made_at:%Y-%m-%d %H:%M} UTC")
    if found.problem:
        problem(found.problem)
        return
    st.text(
        " · ".join(f"{name} {done:,} of {total:,}, {total - done:,} left" for name, (done, total) in found.done.items())
    )
    if found.twice:
        st.text(_agreement(found))
    name = assignment.assignment_id
    with st.container(horizontal=True):
        if assignment.holds(reviewer()):
            review_button(Queue("assigned", (("name", name), ("who", "me"))), "My queue", key=f"mine_{name}")
        if found.disputed:
            conflicts = Queue("conflicts", (("name", name),))
            review_button(conflicts, f"Settle {count_of(found.disputed, 'disagreement')}", key=f"settle_{name}")


def _agreement(found: Progress) -> str:
    """What is known of the rows that two people judge."""
    parts = [
        f"{pair.first} and {pair.second} agree with κ {'–' if pair.kappa is None else f'{pair.kappa:.2f}'} over"
        f" {count_of(pair.n, 'row')}"
        for pair in found.agreements
    ]
    return " · ".join(
        [f"{count_of(found.twice, 'row is', 'rows are')} judged by two", *(parts or ["none by both so far"])]
    )


def _split(catalog: Catalog, found: list[Offered]) -> None:
    with st.expander("Split a queue among reviewers", icon=":material/call_split:"), st.form("split", border=False):
        st.selectbox("Queue", [item.label for item in found], key="split_queue")
        st.text_input("Reviewers", key="split_names", placeholder="anna, ben, chen", max_chars=2000)
        st.slider(
            "Judged by two", 0, 50, round(100 * OVERLAP), format="%d%%", key="split_overlap",
            help="These rows are given to two reviewers, who do not see each other's verdict before their own;"
            " from them comes κ.",
        )  # fmt: skip
        st.form_submit_button("Split", type="primary", on_click=_save, args=(catalog, found))


def _save(catalog: Catalog, found: list[Offered]) -> None:
    chosen = next(item.queue for item in found if item.label == st.session_state["split_queue"]).fixed()
    names = st.session_state["split_names"].replace(";", ",").split(",")
    try:
        rows = entries(catalog, chosen, reviewer())
        assignment = new_assignment(
            chosen.to_parameter(), rows.title, len(rows), content_digest(rows), names,
            st.session_state["split_overlap"] / 100, reviewer(),
        )  # fmt: skip
        save(catalog.root, assignment)
    except UserError as error:
        st.session_state[_FAILED] = str(error)


def _audit(catalog: Catalog, view: View) -> None:
    queue = Queue("audit", (("run", view.run.name),))
    found = entries(catalog, queue)
    if not len(found):
        return
    st.subheader("Audit of the references")
    st.caption(
        "Reviewing wrong answers alone can only raise the corrected score: a wrong reference that made an answer right"
        " is never seen. The audit samples right answers too, so its error rate leans neither way, if the sample is"
        " judged in its order or to its end."
    )
    result = audit(view.run, found.row_of, audit_verdicts(view.run, found.row_of, read_decisions(corrections_folder())))
    with st.grid(4, gap="small"):
        note = f"{result.in_conflict:,} more in conflict" if result.in_conflict else "a random sample"
        count_card("Judged so far", f"{result.judged:,} of {result.size:,}", note)
        count_card("Wrong references", _percent(result.wrong_references()), _interval(result.wrong_references()))
        count_card("Of right answers", _percent(rate_of(result.right)), _counted(result.right))
        count_card("Of wrong answers", _percent(rate_of(result.wrong)), _counted(result.wrong))
    if rate := result.ambiguous():
        st.caption(f"Ambiguous, counted apart: {_percent(rate)} ({_interval(rate)}).")
    review_button(queue, "Review this sample", key="review_audit")


def _percent(rate: Rate | None) -> str:
    return "–" if rate is None else f"{100 * rate.value:.1f}%"


def _interval(rate: Rate | None) -> str:
    return (
        "judge a right and a wrong answer first"
        if rate is None
        else f"95% {100 * rate.low:.1f}% to {100 * rate.high:.1f}%"
    )


def _counted(part: Stratum) -> str:
    judged = f"{part.wrong_reference:,} of {part.judged:,} judged" if part.judged else "none judged yet"
    return f"{judged}, {part.rows:,} in the run"


if __name__ == "__main__":  # Streamlit runs the file; app.py imports it for PAGE
    show()
