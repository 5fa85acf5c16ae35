"""Pages of the gallery: buttons with the keys J and K, and page numbers in the URL."""

from __future__ import annotations

import streamlit as st

PAGE_SIZE = 24
_KEY = "page"


def first_page() -> None:
    """Go back to page 1; the callback of every filter."""
    st.session_state[_KEY] = 1


def pager(total: int, size: int = PAGE_SIZE) -> int:
    """Draw the pager for ``total`` rows, ``size`` a page.

    Returns: offset of the first row of the chosen page.
    """
    pages = max(1, -(-total // size))
    if st.session_state.get(_KEY, 1) > pages:
        st.session_state[_KEY] = pages
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="right", gap="small"):
        page = st.session_state.get(_KEY, 1)
        st.button("Previous", shortcut="K", on_click=_turn, args=(-1,), disabled=page <= 1, key="page_back")
        chosen = st.pagination(pages, key=_KEY, bind="query-params", max_visible_pages=5)
        st.button("Next", shortcut="J", on_click=_turn, args=(1,), disabled=page >= pages, key="page_on")
    return (min(max(chosen, 1), pages) - 1) * size


def _turn(by: int) -> None:
    st.session_state[_KEY] = st.session_state.get(_KEY, 1) + by
