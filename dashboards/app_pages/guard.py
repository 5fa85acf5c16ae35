"""What a guard let through and refused, and the way to say that a refusal was wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboards.components.cards import count_card
from dashboards.components.filters import PAGE_SIZE, first_page, pager
from dashboards.components.format import count_of, with_hidden_signs
from dashboards.components.navigation import Page
from dashboards.components.picture import decoded_picture
from dashboards.components.review import reviewer
from dashboards.data.guard import correct, image_of, logs, said_of, take_back, verdicts
from dashboards.settings import corrections_folder, data_root
from serving.guard.verdicts import LONGEST_CONTENTS, Verdict, days
from winnow.media.images import DEFAULT_MAX_BYTES, DEFAULT_MAX_PIXELS, decode

PAGE = Page(16, "Guard", ":material/shield:", "Review")
_VERDICTS = ("block", "mask", "clean", "error", "pass")
_SAID = {"wrong": "wrong: it passes", "right": "right", "conflict": "reviewers disagree: it stays refused"}


def show() -> None:
    """Draw the page."""
    st.title(PAGE.title)
    found = logs(data_root())
    if not found:
        st.markdown(
            "No guard has written a log below data/guard yet: `serve guard` with `log: {folder: data/guard/NAME}`."
        )
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        names = [folder.name for folder in found]
        name = st.selectbox("Log", names, key="log", bind="query-params", width=240, on_change=first_page)
        folder = next(each for each in found if each.name == name)
        day = st.selectbox("Day", days(folder), key="day", width=180, on_change=first_page)
        lines = verdicts(folder, day)
        kinds = st.multiselect(
            "Verdict", _VERDICTS, default=["block"], key="verdict", placeholder="All", on_change=first_page
        )
        rules = sorted({line.rule for line in lines if line.rule and (not kinds or line.verdict in kinds)})
        rule = st.selectbox("Rule", ["All", *rules], key="rule", width=320, on_change=first_page)
    _counts(lines)
    shown = [line for line in lines if (not kinds or line.verdict in kinds) and rule in ("All", line.rule)]
    chosen = _table(shown)
    if chosen is not None:
        _one(folder, chosen)


def _counts(lines: Sequence[Verdict]) -> None:
    counted = Counter(line.verdict for line in lines)
    with st.grid(4, gap="small"):
        count_card("Requests", f"{len(lines):,}", "on this day")
        count_card("Refused", f"{counted['block']:,}", "nothing forbidden was sent")
        count_card("Changed", f"{counted['clean'] + counted['mask']:,}", "something was taken out or masked")
        count_card("Failed", f"{counted['error']:,}", "limits, keys, the upstream or a scorer")


def _table(shown: Sequence[Verdict]) -> Verdict | None:
    start = pager(len(shown))
    page = shown[start : start + PAGE_SIZE]
    said = [said_of(corrections_folder(), line) if line.digest else "" for line in page]
    rows = [
        {"At": line.at[11:19], "Verdict": line.verdict, "Where": line.stage, "Rule": line.rule, "Score": line.score,
         "Key": line.key, "Model": line.model, "ms": line.guard_ms, "Reviewed": _SAID.get(word, "")}
        for line, word in zip(page, said, strict=True)
    ]  # fmt: skip
    first = page[0].id if page else ""  # lines that come in the meantime end the choice of a row
    event = st.dataframe(
        pd.DataFrame(rows), hide_index=True, key=f"verdicts_{start}_{first}", on_select="rerun",
        selection_mode="single-row",
    )  # fmt: skip
    st.caption(f"{count_of(len(shown), 'line')}; choose a refused one to say whether that was right")
    return page[event.selection.rows[0]] if event.selection.rows else None


def _one(folder: Path, line: Verdict) -> None:
    st.subheader("This request")
    st.text(f"{line.id} · {line.rule}{f' · {line.score:.3f}' if line.score is not None else ''}")
    if (path := image_of(folder, line)) is not None:
        image, facts = decode(path.read_bytes(), max_bytes=DEFAULT_MAX_BYTES, max_pixels=DEFAULT_MAX_PIXELS)
        if image is None:
            st.caption(f"The image cannot be decoded ({facts.error}).")
        else:
            decoded_picture(image, "the image that was refused")
    elif line.contents:
        st.code(with_hidden_signs(line.contents), language=None, wrap_lines=True)
        if len(line.contents) >= LONGEST_CONTENTS:
            st.caption(f"The log keeps the first {LONGEST_CONTENTS:,} characters; the reason may lie behind them.")
    else:
        st.markdown("The log keeps no contents; `log: {contents: true}` in the policy does from now on.")
    if not line.digest:
        st.caption("Nothing of it can be let through: it was refused for its form.")
        return
    who = reviewer()
    if not who:
        st.caption("Enter your name in the sidebar to decide.")
    corrections = corrections_folder()
    with st.container(horizontal=True):
        # What a button decides is the line that was drawn beside it, whatever the log has got since.
        given = (corrections, folder.name, line, who)
        st.button("Wrong: let it pass", icon=":material/check:", key="wrong", type="primary", disabled=not who,
                  on_click=correct, args=given, kwargs={"wrong": True})  # fmt: skip
        st.button("Right", icon=":material/block:", key="right", disabled=not who, on_click=correct, args=given,
                  kwargs={"wrong": False})  # fmt: skip
        st.button("Take back", icon=":material/undo:", key="back", disabled=not who, on_click=take_back, args=given)
    word = said_of(corrections, line)
    st.markdown(
        f"Reviewed: {_SAID.get(word, 'not yet')}. A guard whose policy names this folder under `corrections:` reads it"
        " within seconds; these very contents pass then, and nothing else."
    )


if __name__ == "__main__":  # Streamlit runs the file; app.py imports it for PAGE
    show()
