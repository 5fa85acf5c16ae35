"""The review panel: picture, question, references and answer of one row after another, judged with single keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from dashboards.components.review import VERDICTS, reviewer
from dashboards.data.reviews import tags_of
from dashboards.review.api import PATH
from dashboards.review.queues import Queue
from dashboards.settings import address, corrections_folder

_HERE = Path(__file__).parent
# One module of several files: each names what the next ones use.
_SCRIPTS = ("outbox", "texts", "row", "said", "edit", "picture", "screen", "panel")


def scripts(*names: str) -> str:
    """The text of these scripts of this folder as one module."""
    return "\n".join((_HERE / f"{name}.js").read_text(encoding="utf-8") for name in names)


_KEY = "review_panel"
_component = st.components.v2.component(
    "winnow_review",
    html='<div class="panel" tabindex="-1"></div>\n',
    css=(_HERE / "panel.css").read_text(encoding="utf-8"),
    js=scripts(*_SCRIPTS),
)


def verdict_keys(kind: Literal["evals", "curated"] | None = None) -> list[dict[str, Any]]:
    """The verdicts for a script, of one kind of rows or of both: key, label, help, and what it writes."""
    return [
        {"key": verdict.key, "label": verdict.label, "action": verdict.action, "help": verdict.help,
         "kinds": list(verdict.kinds), "tags": list(verdict.tags)}
        for verdict in VERDICTS if kind is None or kind in verdict.kinds
    ]  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What the reviewer asked of the page; the panel does everything else by itself.

    Attributes:
        shown: id of the row on the panel's screen, as far as it has told: it does when the keys pause.
        nearest: id of the row whose nearest training rows are wanted, '' for none.
        is_back: back to the list.
    """

    shown: str
    nearest: str
    is_back: bool


def review_panel(queue: Queue, sample_id: str) -> Asked:
    """Draw the panel, open at a row of the queue, or at the first one that the reviewer has not decided.

    While rows go by the panel keeps the URL's ``id`` at the one on the screen, and runs the page again when the keys
    pause.

    Args:
        sample_id: '' for the first undecided row.
    """
    data: dict[str, Any] = {
        "api": address(PATH),
        "view": queue.to_parameter(),
        "id": sample_id,
        "shown": (st.session_state.get(_KEY) or {}).get("shown"),
        "reviewer": reviewer(),
        "tags": list(tags_of(corrections_folder())),
        "verdicts": verdict_keys(),
    }
    result = _component(
        data=data, key=_KEY, default={"shown": None},
        on_shown_change=lambda: None, on_nearest_change=lambda: None, on_back_change=lambda: None,
    )  # fmt: skip
    # The address that Streamlit knows may still name the row at which the panel was opened.
    opened_at, shown = result.shown or ("", "")
    return Asked(shown if opened_at == sample_id else sample_id, str(result.nearest or ""), bool(result.back))
