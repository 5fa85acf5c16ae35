"""Each group's images side by side, what binds them, and a way to keep a replaced row."""

from __future__ import annotations

import streamlit as st

from dashboards.components.cards import problem, say_where_images_are_missing
from dashboards.components.export import export_menu
from dashboards.components.filters import choose_folder, first_page, pager
from dashboards.components.format import count_of
from dashboards.components.navigation import Page, open_sample_alone
from dashboards.components.picture import picture
from dashboards.components.review import reviewer
from dashboards.data.catalog import Folder, scan
from dashboards.data.duplicates import ORDERS, Group, Member, page_of_groups
from dashboards.data.reviews import ReviewTarget, append, decide, read_decisions
from dashboards.review.button import review_button
from dashboards.review.queues import Queue
from dashboards.settings import corrections_folder, data_root
from winnow.errors import UserError

PAGE = Page(14, "Duplicates", ":material/content_copy:", "Data")

_GROUPS_A_PAGE = 24
_SMALL = 2  # images of a group that takes half the width
_FAILED = "duplicates_failed"


def show() -> None:
    """Draw the page."""
    st.title(PAGE.title)
    folder = choose_folder(scan(data_root()), "curated")
    if folder:
        _groups(folder)


def _groups(folder: Folder) -> None:
    if failed := st.session_state.pop(_FAILED, ""):
        problem(failed)
    total = page_of_groups(folder, ORDERS[0], 0, 1)[1]
    if not total:
        st.caption("No row of this set was dropped as a duplicate.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        order = st.selectbox("Order", ORDERS, key="groups_order", bind="query-params", on_change=first_page, width=240)
        start = pager(total)
    say_where_images_are_missing(folder)
    with st.container(horizontal=True):
        review_button(
            Queue("duplicates", (("set", folder.name), ("order", order))), "Review these", key="review_duplicates"
        )
        export_menu("duplicates", {"set": folder.name}, "All replaced rows")
    groups, _ = page_of_groups(folder, order, start, _GROUPS_A_PAGE)
    kept = {
        decision.line.sample_id
        for decision in read_decisions(corrections_folder())
        if decision.line.action == "keep" and decision.state == "active"
    }
    for numbered in _rows(list(enumerate(groups, start=start + 1))):
        columns = st.columns(2 if len(numbered[0][1].members) <= _SMALL else 1, gap="small")
        for column, (number, group) in zip(columns, numbered, strict=False):
            with column:
                _group(folder, group, number, kept)
    st.caption(f"{start + 1:,}–{min(start + _GROUPS_A_PAGE, total):,} of {count_of(total, 'group')} with replaced rows")


def _rows(groups: list[tuple[int, Group]]) -> list[list[tuple[int, Group]]]:
    """Lines of the page: two small groups share one, a large group has its own."""
    lines: list[list[tuple[int, Group]]] = []
    for number, group in groups:
        last = lines[-1] if lines else []
        small = len(group.members) <= _SMALL
        if small and len(last) == 1 and len(last[0][1].members) <= _SMALL:
            last.append((number, group))
        else:
            lines.append([(number, group)])
    return lines


def _group(folder: Folder, group: Group, number: int, kept: set[str]) -> None:
    with st.container(border=True, height="stretch", key=f"group_{number}"):
        rows = sum(len(member.replaced) for member in group.members)
        st.caption(f"Group {number:,} · {len(group.members)} images · {rows:,} rows replaced")
        if len(group.members) <= _SMALL:  # a grid would put them below each other
            for place, (column, member) in enumerate(zip(st.columns(_SMALL), group.members, strict=False)):
                with column:
                    _member(folder, member, f"{number}_{place}", kept)
            return
        with st.grid(6, gap="small"):
            for place, member in enumerate(group.members):
                _member(folder, member, f"{number}_{place}", kept)


def _member(folder: Folder, member: Member, key: str, kept: set[str]) -> None:
    with st.container(gap="xxsmall"):
        case = member.case
        picture(folder, case.sample_id, case.image_keys, case.question)
        if not member.replaced:
            st.badge("kept", color="green")
            st.caption(f"{member.rows:,} rows")
        else:
            st.badge(f"{len(member.replaced):,} of {member.rows:,} rows replaced", color="red")
            st.caption(_evidence(member))
            left = [row for row in member.replaced if row[0] not in kept]
            st.button(
                "Keep them" if left else "Kept from the next run on", key=f"keep_{key}", disabled=not left,
                on_click=_keep, args=(folder, left), help="Writes one `keep` a row; `curate run` applies it.",
            )  # fmt: skip
        if st.button("Open", key=f"open_{key}", type="tertiary"):
            open_sample_alone(case.sample_id)


def _evidence(member: Member) -> str:
    parts = []
    if member.distance is not None:
        parts.append(f"thumbnails {member.distance:.2f} of 255")
    if member.hamming is not None:
        parts.append(f"hashes {member.hamming} of 64 bits")
    differs = f"differs from the kept image by: {', '.join(parts)}" if parts else ""
    return ": ".join(part for part in (member.kind, differs) if part)


def _keep(folder: Folder, rows: list[tuple[str, str, str, str]]) -> None:
    try:
        for sample_id, content_hash, question, answer in rows:
            target = ReviewTarget("curated", sample_id, content_hash, question, (answer,), folder.name)
            append(corrections_folder(), decide(target, "keep", reviewer(), note="not a duplicate"))
    except UserError as error:
        st.session_state[_FAILED] = str(error)


if __name__ == "__main__":  # Streamlit runs the file; app.py imports it for PAGE
    show()
