"""The gallery: one component that draws a page of cards and reports which card was opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from dashboards.components.format import votes
from dashboards.components.navigation import sample_link
from dashboards.data.answers import Answer
from dashboards.data.filters import View
from dashboards.data.predictions import TRUNCATED
from dashboards.data.scores import titles
from dashboards.images import thumb_url

_HERE = Path(__file__)
_component = st.components.v2.component(
    "winnow_gallery",
    html='<div class="grid"></div>\n',
    css=_HERE.with_suffix(".css").read_text(encoding="utf-8"),
    js=_HERE.with_suffix(".js").read_text(encoding="utf-8"),
)


def gallery(answers: Sequence[Answer], view: View) -> str | None:
    """Draw the cards; each is a link that can be copied.

    Returns: the id of the sample whose card was clicked, once, else None.
    """
    names = titles(view.run)
    cards = [_card(answer, view, names) for answer in answers]
    result = _component(data={"cards": cards}, key="gallery", on_opened_change=lambda: None)
    return None if result.opened is None else str(result.opened)


def _card(answer: Answer, view: View, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": answer.sample_id,
        "href": sample_link(answer.sample_id, view.spec),
        "image": thumb_url(view.run, answer.sample_id, answer.image_keys, "tile"),
        "question": answer.question,
        "chips": chips(answer, names),
        "facts": _facts(answer, view),
    }


def chips(answer: Answer, names: Mapping[str, str]) -> list[dict[str, str]]:
    """An answer in a few words: verdict, change against the baseline, status.

    Args:
        names: metric → its name for people.
    """
    found = []
    if answer.correct is not None:
        found.append({"text": "right" if answer.correct else "wrong", "tone": "good" if answer.correct else "bad"})
    if answer.base_correct is not None and answer.correct is not None and answer.base_correct != answer.correct:
        found.append({"text": "fixed" if answer.correct else "broken", "tone": "odd"})
    if answer.near:
        found.append({"text": f"fixable by scorer: {answer.near}", "tone": "odd"})
    if answer.status != "ok":
        found.append({"text": answer.status, "tone": "odd"})
    if answer.truncated:
        found.append({"text": TRUNCATED, "tone": "odd"})
    if answer.correct is None:
        found += [
            {"text": f"{names.get(metric, metric)} {value:.2f}", "tone": ""}
            for metric, value in list(answer.scores.items())[-2:]
        ]
    return found


def _facts(answer: Answer, view: View) -> list[dict[str, str]]:
    expected = votes(answer.references)
    shown = " · ".join(text if count == 1 else f"{text} ×{count}" for text, count in expected[:3])
    facts = [
        {"name": "answer", "text": answer_text(answer.extracted, answer.raw)},
        {"name": "expected", "text": shown + (f" · {len(expected) - 3} more" if len(expected) > 3 else "")},
    ]
    if view.base is not None and answer.base_extracted is not None:
        facts.append({"name": "baseline", "text": answer.base_extracted or "(nothing)"})
    return facts


def answer_text(extracted: str | None, raw: str) -> str:
    """The answer taken from the model's text, or the text where no answer could be taken."""
    return (raw if extracted is None else extracted) or "(nothing)"
