"""Why an answer scored as it did: for every metric its value and what was compared, in one sentence."""

from __future__ import annotations

import re

from dashboards.components.format import amount
from dashboards.data.answers import Answer
from dashboards.data.catalog import Folder
from dashboards.data.scores import MetricExplanation, metric_explanations, scores
from winnow.errors import UserError

_LONGEST = 200  # characters of a text within a sentence
_COUNTED = re.compile(r"(\d+) of (\d+)")
_WITHOUT = {
    "failed": "No reply came.",
    "refused": "The model declined to answer.",
    "unparsed": "No answer could be read from the reply.",
}


def why_of(folder: Folder, answer: Answer) -> list[dict[str, str]]:
    """``{"text", "scores"}``: a sentence, and what each metric that it holds for gives, such as ``Accuracy 0.0%``."""
    try:
        known = {(score.task, score.metric): score for score in scores(folder)}
    except UserError:
        known = {}
    explained = {name: found for found in metric_explanations(folder, answer) for name in found.metrics}
    found: dict[str, list[str]] = {}
    for metric, value in answer.scores.items():
        score = known.get((answer.task, metric))
        of = explained.get(metric) or next(
            (explained[name] for name in explained if metric.startswith(f"{name}_")), None
        )
        given = f"{score.title if score else metric} {amount(value, score.unit if score else '')}"
        found.setdefault(_sentence(answer, of), []).append(given)
    return [{"text": sentence, "scores": " · ".join(given)} for sentence, given in found.items()]


def _sentence(answer: Answer, found: MetricExplanation | None) -> str:
    if answer.status in _WITHOUT:
        return _WITHOUT[answer.status]
    if found is None:
        return ""
    if not found.text:
        return "The metric reads no answer from the reply."
    read = f"Compared as “{_short(found.text)}”"
    if counted := _COUNTED.fullmatch(found.matched):
        equal, of = map(int, counted.groups())
        return f"{read}: equals {'the reference' if of == 1 else f'{equal} of {of} references'}."
    if found.matched:
        return f"{read}: {'matches' if found.judges else 'nearest to'} “{_short(found.matched)}”."
    if not found.judges:
        return f"{read}."
    only = answer.references[0] if len(set(answer.references)) == 1 else ""
    return f"{read}: {f'does not match “{_short(only)}”' if only else 'matches none of the references'}."


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
