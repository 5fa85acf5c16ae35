"""Rows on which reviewers disagree, one at a time: what each of them says side by side, and a line that settles it."""

from __future__ import annotations

import streamlit as st

from dashboards.components.cards import problem
from dashboards.components.format import as_label, count_of
from dashboards.components.navigation import Page, open_sample_alone
from dashboards.components.picture import picture
from dashboards.components.review import reviewer
from dashboards.data.catalog import scan
from dashboards.data.conflicts import (
    Conflict,
    Conflicts,
    JudgedRow,
    Side,
    agree_with,
    conflicts,
    judged_row,
    last_settlement,
    settle,
    still_open,
)
from dashboards.data.review_log import log_of
from dashboards.data.reviews import append, new_text, said, undo
from dashboards.settings import corrections_folder, data_root
from winnow.corrections import Action, Correction
from winnow.errors import UserError

PAGE = Page(5, "Conflicts", ":material/balance:", "Review")

_PLACE = "conflict_place"  # which of the open conflicts is on the screen
_FAILED = "conflict_failed"
_TEXT = "conflict_text"
_NOTE = "conflict_note"
_MOST_SIDES = 4  # beside each other
_MOST_REFERENCES, _MOST_ANSWERS = 4, 2  # above the verdicts
_MOST_TEXT = 20_000  # characters


def show() -> None:
    """Draw the page."""
    st.title(PAGE.title)
    found = conflicts(log_of(corrections_folder()))
    if failed := st.session_state.pop(_FAILED, ""):
        problem(failed)
    if not found.left:
        _nothing_left(found)
        return
    wanted = next((n for n, one in enumerate(found.left) if one.sample_id == st.query_params.get("id")), None)
    place = (st.session_state.get(_PLACE, 0) if wanted is None else wanted) % len(found.left)
    st.session_state[_PLACE] = place
    conflict = found.left[place]
    _progress(found, place)
    row = judged_row(scan(data_root()), conflict)
    left, right = st.columns([2, 3], gap="medium")
    with left:
        _pictures(row, conflict)
    with right:
        _row(row)
        _sides(conflict)
        _otherwise(conflict)
        _more(row)


def _nothing_left(found: Conflicts) -> None:
    with st.container(border=True):
        if found.settled:
            st.markdown(f"**All {found.settled:,} conflicts are settled**")
        else:
            st.markdown("**No conflict**")
        st.caption("Two people's verdicts on one row that exclude each other appear here; nothing of them is applied.")
        st.page_link("app_pages/corrections.py", label="Corrections", icon=":material/rate_review:")
        _take_back()


def _progress(found: Conflicts, place: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.progress(found.settled / found.total, text=f"{found.settled:,} of {found.total:,} settled", width=260)
        st.button("Previous", shortcut="K", key="conflict_before", on_click=_go, args=(place - 1,))
        st.button(
            "Next", shortcut="J", key="conflict_after", on_click=_go, args=(place + 1,), help="Leave this one open."
        )
        _take_back()


def _take_back() -> None:
    last = last_settlement(log_of(corrections_folder()), reviewer())
    st.button(
        "Undo", shortcut="U", icon=":material/undo:", key="conflict_undo", disabled=last is None,
        help="Take back the last conflict that you settled.", on_click=_undo, args=(last,),
    )  # fmt: skip


def _pictures(row: JudgedRow | None, conflict: Conflict) -> None:
    if row is not None:
        with st.container(key="conflict_images"):
            for number in range(max(len(row.image_keys), 1)):
                picture(row.folder, conflict.sample_id, row.image_keys, row.question, "full", number)
    if st.button(conflict.sample_id, key=f"open_{conflict.sample_id}", type="tertiary", help="Open the row."):
        open_sample_alone(conflict.sample_id)


def _row(row: JudgedRow | None) -> None:
    """What is asked and known."""
    if row is None:
        problem("No run and no curated set holds this row any more; its verdicts count for nothing.")
        return
    with st.container(key="question"):
        st.text(row.question or "(no question)")
    if not row.is_same:
        problem("The row has changed since it was judged: these verdicts are stale, whichever of them is right.")
    with st.container(horizontal=True, gap="medium"):
        shown, more = row.references[:_MOST_REFERENCES], len(row.references) - _MOST_REFERENCES
        _labelled("References", " · ".join([*shown, *([f"{more} more, below"] if more > 0 else [])]) or "(none)")
        for run, text in row.answers[:_MOST_ANSWERS]:
            _labelled(f"Answer of {run}", text or "(empty)")


def _more(row: JudgedRow | None) -> None:
    """All references and answers, below the verdicts: what a row has many of does not push them off the screen."""
    if row is None or (len(row.references) <= _MOST_REFERENCES and len(row.answers) <= _MOST_ANSWERS):
        return
    with st.expander(f"All {count_of(len(row.references), 'reference')}, {count_of(len(row.answers), 'answer')}"):
        _labelled("References", "\n".join(row.references))
        for run, text in row.answers:
            _labelled(f"Answer of {run}", text or "(empty)")


def _sides(conflict: Conflict) -> None:
    """A card for each verdict, with a button that agrees with it."""
    for start in range(0, len(conflict.sides), _MOST_SIDES):
        sides = conflict.sides[start : start + _MOST_SIDES]
        for number, (column, side) in enumerate(zip(st.columns(len(sides)), sides, strict=True), start=start + 1):
            with column, st.container(border=True, height="stretch", gap="xsmall"):
                st.badge(as_label(said(side.line)), color="blue")
                if text := new_text(side.line):
                    st.text(text)
                for line in side.lines:
                    _who(line)
                st.button(
                    f"Agree with {as_label(' and '.join(side.names))}", shortcut=str(number) if number < 10 else None,
                    key=_key("agree", conflict, str(number)), on_click=_agree, args=(conflict, side), width="stretch",
                )  # fmt: skip


def _who(line: Correction) -> None:
    st.caption(f"{as_label(line.reviewer)} · {line.at:%Y-%m-%d %H:%M}")
    tags = ", ".join(tag for tag in line.tags if tag != said(line))
    if more := " · ".join(part for part in (tags, line.note) if part):
        st.text(more)


def _otherwise(conflict: Conflict) -> None:
    """What nobody said: ambiguous, or another text."""
    is_verdict = conflict.aspect == "verdict"
    label = "Another answer" if is_verdict else "Another question"
    with st.container(border=True, gap="xsmall"):
        left, right = st.columns([3, 2])
        with left:
            st.text_area(label, key=_key(_TEXT, conflict), height=68, max_chars=_MOST_TEXT)
        with right:
            st.text_input(
                "Note", key=_key(_NOTE, conflict), placeholder="why", max_chars=2000,
                help="Goes with whatever you choose, also with “Agree”.",
            )  # fmt: skip
        with st.container(horizontal=True, gap="small"):
            action: Action = "relabel" if is_verdict else "edit_question"
            st.button(
                f"Settle with {label.lower()}", key=_key("text", conflict), on_click=_settle, args=(conflict, action),
            )  # fmt: skip
            if is_verdict and not any(side.line.action == "ambiguous" for side in conflict.sides):
                st.button(
                    "Ambiguous", shortcut="A", key=_key("ambiguous", conflict), on_click=_settle,
                    args=(conflict, "ambiguous"), help="The question has no single right answer.",
                )  # fmt: skip


def _key(name: str, conflict: Conflict, *more: str) -> str:
    """Of a widget: another one for another conflict, so that a late click never settles the next."""
    return "_".join((name, *(side.line.correction_id for side in conflict.sides), *more))


def _labelled(label: str, text: str) -> None:
    with st.container(gap="xxsmall", width="content"):
        st.caption(as_label(label))
        st.text(text)


def _go(place: int) -> None:
    st.session_state[_PLACE] = place
    st.query_params.pop("id", None)


def _agree(conflict: Conflict, side: Side) -> None:
    _write(conflict, side, side.line.action)


def _settle(conflict: Conflict, action: Action) -> None:
    _write(conflict, None, action)


def _write(conflict: Conflict, side: Side | None, action: Action) -> None:
    folder, note = corrections_folder(), str(st.session_state.get(_key(_NOTE, conflict), ""))
    try:
        known = still_open(folder, conflict)
        if known is None:
            st.session_state[_FAILED] = "This conflict has changed or was settled in the meantime; nothing was written."
            return
        if side is not None:
            line = agree_with(conflict, known, side, reviewer(), note)
        else:
            text = str(st.session_state.get(_key(_TEXT, conflict), "")).strip()
            line = settle(conflict, known, action, reviewer(), new=None if action == "ambiguous" else text, note=note)
        append(folder, line)
    except UserError as error:
        st.session_state[_FAILED] = str(error)
    else:
        st.query_params.pop("id", None)


def _undo(last: Correction | None) -> None:
    if last is None:
        return
    try:
        append(corrections_folder(), undo(last, reviewer()))
    except UserError as error:
        st.session_state[_FAILED] = str(error)
    else:
        st.query_params["id"] = last.sample_id


if __name__ == "__main__":  # Streamlit runs the file; app.py imports it for PAGE
    show()
