"""The menu of saved views: save this one, open, rename or delete another."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from dashboards.components.cards import problem
from dashboards.components.review import reviewer
from dashboards.components.table import Cell, link_table
from dashboards.settings import data_root
from dashboards.views.saved import SavedView, checked, delete_view, read_views, rename_view, save_view
from winnow.errors import UserError

_NAME, _CHOSEN, _NEW_NAME, _FAILED = "views_name", "views_chosen", "views_new_name", "views_failed"


def views_menu(page: str, parameters: dict[str, str | list[str]]) -> None:
    """Draw the menu on a page whose view is all in ``parameters``, the names of its runs among them."""
    try:
        views = read_views(data_root())
    except UserError as error:
        problem(str(error))
        return
    if failed := st.session_state.pop(_FAILED, ""):
        problem(failed)
    with st.popover("Views", icon=":material/bookmarks:", key="views"):
        st.text_input("Save this view as", key=_NAME, placeholder="a name, for everybody who uses these pages")
        st.button("Save", key="views_save", on_click=_save, args=(page, parameters))
        if not views:
            st.caption("No view is saved yet.")
            return
        rows: list[list[Cell]] = [[_link(view), {"text": view.by, "note": _when(view)}] for view in views]
        link_table([{"text": "Saved view"}, {"text": "By"}], rows, "Saved views", "views_table")
        chosen = st.selectbox("Rename or delete", [view.name for view in views], key=_CHOSEN, index=None)
        if chosen:
            st.text_input("New name", key=_NEW_NAME, value=None, placeholder=chosen)
            with st.container(horizontal=True):
                st.button("Rename", key="views_rename", on_click=_rename)
                st.button("Delete", key="views_delete", on_click=_delete)


def _link(view: SavedView) -> Cell:
    return {"text": view.name, "href": view.address, "title": f"{view.name} ({view.page.replace('_', ' ')})"}


def _when(view: SavedView) -> str:
    return "" if view.at is None else f"{view.at:%Y-%m-%d}"


def _save(page: str, parameters: dict[str, str | list[str]]) -> None:
    try:
        now = datetime.now(UTC).replace(microsecond=0)
        view = checked(name=st.session_state[_NAME], page=page, parameters=parameters, by=reviewer(), at=now)
        save_view(data_root(), view)
        st.session_state[_NAME] = ""
    except UserError as error:
        st.session_state[_FAILED] = str(error)


def _rename() -> None:
    try:
        rename_view(data_root(), st.session_state[_CHOSEN], st.session_state.get(_NEW_NAME) or "")
        st.session_state[_CHOSEN] = None
    except UserError as error:
        st.session_state[_FAILED] = str(error)


def _delete() -> None:
    try:
        delete_view(data_root(), st.session_state[_CHOSEN])
        st.session_state[_CHOSEN] = None
    except UserError as error:
        st.session_state[_FAILED] = str(error)
