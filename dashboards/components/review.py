"""Review with the keyboard: the reviewer's name, the keys that decide, and the list of all keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd
import streamlit as st

from dashboards.people import COOKIE, LONGEST_NAME, person
from winnow.corrections import WRONG_REFERENCE, Action

_REVIEWER = "reviewer_name"  # kept for the session; see name_box
_BOX = "reviewer"


# Keeps the name for the next session of this browser, which reads it when it connects. It is kept when the box is left,
# not only when the server knows it: a page that is loaded anew in between asks the cookie.
_cookie = st.components.v2.component(
    "winnow_cookie",
    js="""let kept;
    export default function ({ data }) {
      const path = new URL(".", document.baseURI).pathname;
      const keep = (name) => {
        document.cookie = `${data.name}=${encodeURIComponent(name)}; path=${path}; max-age=31536000; samesite=lax`;
      };
      // Entered with Enter: the box lets go of the keyboard, so that the keys of a review are not typed into it.
      const box = document.querySelector(".st-key-reviewer input");
      if (box) box.onchange = () => box.value.trim() && keep(box.value.trim());
      if (kept !== data.value && box === document.activeElement && box?.value === data.value) box.blur();
      kept = data.value;
      if (data.value) keep(data.value);
    }""",
)


def name_box() -> None:
    """The reviewer's name in the sidebar: a box, or a line of text where a trusted proxy names the visitor.

    The name lives in the session and in a cookie, never in the box itself: a box forgets when the page changes.
    """
    who = person(st.context.headers, st.context.cookies)
    if who.is_trusted:
        st.session_state[_REVIEWER] = who.name
        with st.sidebar:
            st.caption("Reviewer")
            st.text(who.name or "(the proxy named nobody)")
        return
    st.session_state.setdefault(_REVIEWER, who.name)
    # Set on every run, the value of a run that began earlier would undo a name that was typed since.
    st.session_state.setdefault(_BOX, st.session_state[_REVIEWER])
    with st.sidebar:
        st.text_input(
            "Reviewer", key=_BOX, icon=":material/person:", max_chars=LONGEST_NAME, on_change=_named,
            placeholder="Your name",
            help="Written into every decision. Nobody checks it: there is no log-in.",
        )  # fmt: skip
        _cookie(data={"name": COOKIE, "value": reviewer()}, key="reviewer_cookie", height=1)


def _named() -> None:
    st.session_state[_REVIEWER] = " ".join(st.session_state[_BOX].split())


def reviewer() -> str:
    """The name, '' where none was entered."""
    return str(st.session_state.get(_REVIEWER, ""))


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
    Verdict("A", "Ambiguous", "ambiguous", ":material/help:",
            "The question has no single right answer: an evaluation row leaves the corrected score, a training row is"
            " flagged."),
    Verdict("L", "Leave out", "exclude_from_eval", ":material/block:",
            "Leave the row out of the corrected score for another reason, such as a broken picture.", ("evals",)),
    Verdict("W", "Wrong reference", "exclude_from_eval", ":material/rule:",
            "The reference is wrong: leave the row out of the corrected score.", ("evals",), (WRONG_REFERENCE,)),
    Verdict("D", "Drop", "drop", ":material/delete:", "Leave the row out of the next curated set.", ("curated",)),
)  # fmt: skip


_NAVIGATE = (
    ("O", "Failures: review from the first row of the page"),
    ("J / K", "next / previous page of a list, or next / previous row under review"),
    ("B", "back to the page where the review started"),
    ("N", "the nearest training rows"),
    ("Z, + and −, 0", "zoom to the picture's own pixels; larger, smaller; all of it"),
    ("P", "the next picture of the row"),
    ("F", "full screen, and back"),
)
_DECIDE = (
    ("1 … 9", "give or take back a tag"),
    ("E", "write other references or another question (Ctrl+Enter saves)"),
    ("M", "write a note"),
    ("U", "take back your last decision"),
    ("X", "Failures: select the card in focus; a verdict key then decides all selected cards"),
)
_ADVANCE = (
    "A verdict goes on to the next row by itself, and a J right after it is the same step, so that both habits decide"
    " row after row; press J once more to pass a row. Pressing the same verdict again confirms it; U, or undo beside"
    " it, takes it back."
)


def keyboard_help() -> None:
    """A button in the sidebar that opens the list of keys."""
    if st.sidebar.button("Keys", shortcut="H", icon=":material/keyboard:", key="keys", type="tertiary"):
        _keys_dialog()


def keyboard_rows() -> list[tuple[str, str]]:
    """All keys, each with what it does."""
    verdicts = [(verdict.key, f"{verdict.label}: {verdict.help}") for verdict in VERDICTS]
    return [*_NAVIGATE, *verdicts, *_DECIDE, ("H or ?", "this list")]


@st.dialog("Keys")
def _keys_dialog() -> None:
    st.table(pd.DataFrame(keyboard_rows(), columns=["Key", "What it does"]).set_index("Key"))
    st.caption(_ADVANCE)
    st.caption(
        "Letters do nothing while you type in a box. Decisions that the server has not confirmed wait in this browser."
    )
