"""Scores as text, in the unit each metric is usually quoted in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TITLES = {
    "accuracy": "accuracy", "vqa_accuracy": "VQA accuracy", "rouge_l": "ROUGE-L", "cider": "CIDEr-D", "anls": "ANLS",
    "pope": "POPE", "mme": "MME",
}  # fmt: skip
# What a column's name says about its highest value; all others go to 1 and are quoted × 100.
_TOPS = (("cider", 10.0), ("_perception", 2000.0), ("_cognition", 800.0))


def top_of(metric: str) -> float:
    """The highest value of a metric: 10 for CIDEr-D, 2000 and 800 for MME's sums, 1 for all others."""
    return next((top for part, top in _TOPS if part in metric), 1.0)


def title(metric: str) -> str:
    """A metric column's name for people: ``bleu_4`` → BLEU-4, ``pope_yes_ratio`` → POPE yes ratio."""
    if metric in _TITLES:
        return _TITLES[metric]
    if metric.startswith("bleu_") and metric.removeprefix("bleu_").isdigit():
        return "BLEU-" + metric.removeprefix("bleu_")
    first, _, rest = metric.partition("_")
    return f"{_TITLES[first]} {rest.replace('_', ' ')}" if rest and first in _TITLES else metric


def number(metric: str, value: float | None, *, sign: bool = False) -> str:
    """``0.8953`` → ``89.5``; CIDEr ``5.3121`` → ``5.31``; None → ``–``."""
    if value is None:
        return "–"
    top = top_of(metric)
    shown = f"{100 * value:+.1f}" if top == 1.0 else f"{value:+.2f}" if top == 10.0 else f"{value:+.1f}"
    return shown.replace("-", "−") if sign else shown.lstrip("+").replace("-", "−")


def between(metric: str, entry: Mapping[str, Any], *, sign: bool = False) -> str:
    """The interval of an entry with ``ci_low`` and ``ci_high``."""
    if entry.get("ci_low") is None:
        return "–"
    return f"{number(metric, entry['ci_low'], sign=sign)} to {number(metric, entry['ci_high'], sign=sign)}"


def probability(p: float | None) -> str:
    """A p-value with two digits, never 0."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def share(value: float) -> str:
    """A share as a percentage."""
    return f"{100 * value:.1f} %"
