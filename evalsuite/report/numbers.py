"""Scores as text, in the unit each metric is usually quoted in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TITLES = {"accuracy": "accuracy", "vqa_accuracy": "VQA accuracy", "rouge_l": "ROUGE-L", "cider": "CIDEr-D"}


def is_cider(metric: str) -> bool:
    """Whether the metric goes to 10 and is quoted as it is; all others go to 1 and are quoted × 100."""
    return "cider" in metric


def title(metric: str) -> str:
    """A metric column's name for people: ``bleu_4`` → BLEU-4."""
    if metric.startswith("bleu_"):
        return "BLEU-" + metric.removeprefix("bleu_")
    return _TITLES.get(metric, metric)


def number(metric: str, value: float | None, *, sign: bool = False) -> str:
    """``0.8953`` → ``89.5``; CIDEr ``5.3121`` → ``5.31``; None → ``–``."""
    if value is None:
        return "–"
    shown = f"{value:+.2f}" if is_cider(metric) else f"{100 * value:+.1f}"
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
