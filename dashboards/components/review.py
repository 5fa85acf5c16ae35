"""Review with the keyboard: the reviewer's name, the keys that decide, and the list of all keys.

Every verdict, tag and edit of the row on the screen is written to disk at once.
"""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import streamlit as st

from dashboards.components.cards import problem
from dashboards.components.format import as_label
from dashboards.data.reviews import (
    Decision,
    ReviewTarget,
    append,
    decide,
    last_of,
    new_text,
    of_sample,
    read_decisions,
    tags_by,
    tags_of,
    undo,
)
from dashboards.settings import corrections_folder
from winnow.corrections import Action, Correction
from winnow.errors import UserError

WRONG_REFERENCE = "wrong reference"
_REVIEWER = "reviewer"  # the name, kept for the session
_FAILED = "review_failed"
_LISTED = 8  # decisions about one row


def name_box() -> None:
    """A box for the name in the sidebar; it starts with the user that runs the dashboard."""
    if _REVIEWER not in st.session_state:
        st.session_state[_REVIEWER] = _system_name()
    with st.sidebar:
        st.text_input(
            "Reviewer", key=_REVIEWER, icon=":material/person:", max_chars=80,
            help="Written into every decision. Nobody checks it: there is no log-in.",
        )  # fmt: skip


def reviewer() -> str:
    """The name, '' where none was entered."""
    return str(st.session_state.get(_REVIEWER, "")).strip()


def _system_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return ""


@dataclass(frozen=True)
class Verdict:
    """A button: its key on the keyboard, what it writes, and the kinds of rows that it is for."""

    key: str
    label: str
    action: Action
    icon: str
    help: str
    kinds: tuple[Literal["evals", "curated"], ...] = ("evals", "curated")
    tags: tuple[str, ...] = ()


VERDICTS = (
    Verdict("G", "Good", "keep", ":material/thumb_up:", "The row is right as it stands."),
    Verdict("A", "Ambiguous", "ambiguous", ":material/help:", "The question has no single right answer."),
    Verdict("W", "Wrong reference", "exclude_from_eval", ":material/rule:",
            "The reference is wrong: leave the row out of the corrected score.", ("evals",), (WRONG_REFERENCE,)),
    Verdict("D", "Drop", "drop", ":material/delete:", "Leave the row out of the next curated set.", ("curated",)),
)  # fmt: skip


def review_bar(target: ReviewTarget) -> None:
    """Buttons with keys for ``target``, and what was decided about it so far."""
    with st.container(border=True, key="review"):
        if failed := st.session_state.pop(_FAILED, ""):
            problem(failed)
        st.caption("Your verdict · every key writes one line to data/corrections at once · U takes the last one back")
        with st.container(horizontal=True, gap="xsmall"):
            for verdict in VERDICTS:
                if target.kind in verdict.kinds:
                    _verdict(verdict, target)
            _edit(target)
            _undo()
        _tag_buttons(target)
        _decided(of_sample(read_decisions(corrections_folder()), target.sample_id))


def _verdict(verdict: Verdict, target: ReviewTarget) -> None:
    st.button(
        verdict.label, shortcut=verdict.key, icon=verdict.icon, help=verdict.help, key=f"verdict_{verdict.key}",
        on_click=_write, args=(target, verdict.action, None, verdict.tags),
    )  # fmt: skip


def _edit(target: ReviewTarget) -> None:
    if st.button("Edit", shortcut="E", icon=":material/edit:", key="edit", help="Write another answer or question."):
        _edit_dialog(target)


@st.dialog("Edit the row")
def _edit_dialog(target: ReviewTarget) -> None:
    st.text(target.question)
    field = st.segmented_control("Edit", ["Answer", "Question"], default="Answer", required=True, key="edit_field")
    before = target.question if field == "Question" else (target.references[0] if target.references else "")
    new = st.text_input("New text", value=before, key=f"edit_{field}", max_chars=2000)
    note = st.text_input("Note", key="edit_note", placeholder="why", max_chars=500)
    if st.button("Save", type="primary", key="edit_save"):
        _write(target, "edit_question" if field == "Question" else "relabel", new, (), note)
        st.rerun()


def _undo() -> None:
    last = last_of(read_decisions(corrections_folder()), reviewer())
    st.button(
        "Undo", shortcut="U", icon=":material/undo:", key="undo", disabled=last is None,
        help="Take back your last decision, on whatever row it was.",
        on_click=_take_back, args=(last,),
    )  # fmt: skip


def _tag_buttons(target: ReviewTarget) -> None:
    mine = tags_by(read_decisions(corrections_folder()), target.sample_id, reviewer())
    with st.container(horizontal=True, gap="xsmall", key="tags"):
        for number, tag in enumerate(tags_of(corrections_folder()), start=1):
            st.button(
                as_label(tag), shortcut=str(number), key=f"tag_{number}",
                type="primary" if tag in mine else "secondary", on_click=_write,
                args=(target, "tag", None, tuple(sorted(mine ^ {tag}))),
            )  # fmt: skip


def _decided(decisions: list[Decision]) -> None:
    for decision in decisions[:_LISTED]:
        line = decision.line
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.badge(line.action.replace("_", " "), color="blue" if decision.state == "active" else "gray")
            if decision.state != "active":
                st.badge(decision.state, color="orange" if decision.state == "conflict" else "gray")
            st.text(
                " · ".join(part for part in (new_text(line), ", ".join(line.tags), line.note, line.reviewer) if part)
            )


def _write(target: ReviewTarget, action: Action, new: str | None, tags: tuple[str, ...], note: str = "") -> None:
    try:
        append(corrections_folder(), decide(target, action, reviewer(), new=new, tags=tags, note=note))
    except UserError as error:
        st.session_state[_FAILED] = str(error)


def _take_back(last: Correction) -> None:
    try:
        append(corrections_folder(), undo(last, reviewer()))
    except UserError as error:
        st.session_state[_FAILED] = str(error)


_NAVIGATE = (
    ("O", "Failures: review from the first row of the page"),
    ("J / K", "next / previous page of a list, or next / previous sample of the view"),
    ("B", "Sample: back to the gallery"),
    ("N", "Sample: show the nearest training rows"),
)
_DECIDE = (
    ("1 … 9", "give or take back a tag"),
    ("E", "write another answer or question"),
    ("U", "take back your last decision"),
)


def keyboard_help() -> None:
    """A button in the sidebar that opens the list of keys."""
    if st.sidebar.button("Keys", shortcut="H", icon=":material/keyboard:", key="keys", type="tertiary"):
        _keys_dialog()


@st.dialog("Keys")
def _keys_dialog() -> None:
    verdicts = [(verdict.key, f"{verdict.label}: {verdict.help}") for verdict in VERDICTS]
    rows = [*_NAVIGATE, *verdicts, *_DECIDE, ("H", "this list")]
    st.table(pd.DataFrame(rows, columns=["Key", "What it does"]).set_index("Key"))
    st.caption("Letters do nothing while you type in a box. Every decision is on disk before the page answers.")
