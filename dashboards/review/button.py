"""Ways into the review of a list, and back to the page that they started from."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NoReturn
from urllib.parse import parse_qs, urlencode

import streamlit as st

from dashboards.components.navigation import Parameters
from dashboards.review.queues import Queue

CAME_FROM = "from"  # URL parameter of the sample page: a page's name and its own parameters
_HERE = "page_on_screen"
_SHARED = ("run", "base")  # of the whole app: they stay when the page changes
# Where a list is at home, if the URL does not say which page it came from.
_HOMES = {
    "assigned": "queues", "audit": "queues", "conflicts": "queues", "duplicates": "duplicates", "leaks": "queues",
    "losses": "training", "nearest": "queues", "rule": "curation", "runs": "side_by_side", "selection": "find",
    "suspect": "queues", "threshold": "thresholds",
}  # fmt: skip


def remember_page(name: str) -> None:
    """Note which page is on the screen; for ``app.py``."""
    st.session_state[_HERE] = name or "overview"


def review_button(
    queue: Queue | Callable[[], Queue], label: str, *, key: str, shortcut: str | None = None, first: str = "",
    help: str | None = None,
) -> None:  # fmt: skip
    """Draw a button that opens the review of ``queue``.

    Args:
        queue: or what makes it when the button is pressed.
        shortcut: a key on the keyboard that presses it.
        first: id of the row to begin with; '' for the first one that the reviewer has not decided.
    """
    if st.button(label, icon=":material/rate_review:", type="primary", key=key, shortcut=shortcut, help=help):
        open_review(queue() if callable(queue) else queue, first)


def open_review(queue: Queue, first: str = "") -> NoReturn:
    """Go to the review of ``queue``, at its first undecided row or at ``first``; ends this run of the script."""
    st.switch_page("app_pages/sample.py", query_params=review_parameters(queue, first))


def review_parameters(queue: Queue, first: str = "") -> Parameters:
    """URL parameters of the sample page for the review of ``queue``."""
    found: Parameters = {"view": queue.fixed().to_parameter()}
    if first:
        found["id"] = first
    if here := st.session_state.get(_HERE):
        own = {name: st.query_params.get_all(name) for name in st.query_params if name not in _SHARED}
        found[CAME_FROM] = f"{here}?{urlencode(own, doseq=True)}"
    return found


def home_of(queue: Queue, came_from: str, pages: Collection[str]) -> tuple[str, dict[str, list[str]]] | None:
    """The page to go back to and its parameters; None for the gallery of answers in the queue's own view.

    Args:
        came_from: what the URL says; a page that is none of ``pages`` counts as nothing.
    """
    page, _, parameters = came_from.partition("?")
    if page in pages:
        own = parse_qs(parameters)
        return page, {name: values for name, values in own.items() if name not in _SHARED}
    home = _HOMES.get(queue.name)
    return (home, {}) if home else None
