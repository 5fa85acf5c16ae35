"""The gallery: one component that draws a page of cards, decides about them, and reports which was opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import streamlit as st

from dashboards.components.format import DECISION_WORDS, as_label, votes
from dashboards.components.navigation import open_sample_alone, sample_link
from dashboards.components.review import reviewer
from dashboards.data.answers import Answer
from dashboards.data.catalog import Folder
from dashboards.data.curated import Case
from dashboards.data.filters import View
from dashboards.data.predictions import TRUNCATED
from dashboards.data.review_log import decisions_on
from dashboards.data.scores import titles
from dashboards.images import thumb_url
from dashboards.review.api import PATH
from dashboards.review.panel import scripts, verdict_keys
from dashboards.review.row import Reader
from dashboards.settings import address, corrections_folder

_HERE = Path(__file__)
_component = st.components.v2.component(
    "winnow_gallery",
    html='<div class="gallery"><div class="grid"></div></div>\n',
    css=_HERE.with_suffix(".css").read_text(encoding="utf-8"),
    js=scripts("outbox", "texts", "row", "said") + _HERE.with_suffix(".js").read_text(encoding="utf-8"),
)
_DECISION_TONES = {"keep": "good", "drop": "bad", "flag": "odd"}


def gallery(answers: Sequence[Answer], view: View) -> str | None:
    """Draw the cards of answers; each is a link that can be copied.

    Returns: the id of the sample whose card was clicked, once, else None.
    """
    names = titles(view.run)
    return _drawn([_card(answer, view, names) for answer in answers], "evals", "gallery")


def row_cards(folder: Folder, cases: Sequence[Case], key: str, notes: Sequence[str] = ()) -> None:
    """Draw training rows as cards: image, question, answer, decision. A click opens the row.

    Args:
        notes: a line for each card, such as its value.
    """
    listed = [_row_card(folder, case, note) for case, note in zip(cases, [*notes] or [""] * len(cases), strict=True)]
    if opened := _drawn(listed, "curated", f"row_cards_{key}"):
        open_sample_alone(opened)


def _drawn(cards: Sequence[dict[str, Any]], kind: Literal["evals", "curated"], key: str) -> str | None:
    data = {
        "cards": [card | {"decisions": _decisions(card["id"])} for card in cards],
        "api": address(PATH),
        "reviewer": reviewer(),
        "verdicts": verdict_keys(kind),
    }
    result = _component(data=data, key=key, on_opened_change=lambda: None)
    return None if result.opened is None else str(result.opened)


def _decisions(sample_id: str) -> list[dict[str, Any]]:
    decisions = decisions_on(corrections_folder(), sample_id)
    return Reader(reviewer(), decisions).decisions_of([sample_id])[sample_id]


def _row_card(folder: Folder, case: Case, note: str) -> dict[str, Any]:
    decided = DECISION_WORDS.get(case.decision, "undecided")
    chips = [{"text": decided, "tone": _DECISION_TONES.get(case.decision, "")}]
    if case.reason:
        chips.append({"text": as_label(case.reason), "tone": ""})
    return {
        "id": case.sample_id,
        "folder": folder.name,
        "content_hash": case.content_hash,
        "href": address(f"/sample?{urlencode({'id': case.sample_id})}"),
        "image": thumb_url(folder, case.sample_id, case.image_keys, "tile"),
        "question": case.question,
        "chips": chips,
        "facts": [*([{"name": "value", "text": note}] if note else []), {"name": "answer", "text": case.answer}],
    }


def _card(answer: Answer, view: View, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": answer.sample_id,
        "folder": view.run.name,
        "content_hash": answer.content_hash,
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
