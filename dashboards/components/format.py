"""How numbers read: shares as percent with one decimal, always beside their interval."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from dashboards.data.scores import Corrected, Score

METRIC_NAMES = {
    "accuracy": "Accuracy",
    "vqa_accuracy": "VQA accuracy",
    "exact_match": "Exact match",
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr-D",
}


def metric_name(metric: str) -> str:
    """The usual spelling of a metric's name."""
    return METRIC_NAMES.get(metric, metric)


def as_label(name: str) -> str:
    """A name from data as plain words, for the places where Streamlit reads Markdown."""
    return " ".join(re.sub(r"[^\w.-]|_", " ", name).split())


def amount(value: float, *, is_share: bool) -> str:
    """``97.1%`` for a share of 1, ``6.43`` for anything else."""
    return f"{100 * value:.1f}%" if is_share else f"{value:.2f}"


def interval(low: float | None, high: float | None, *, is_share: bool) -> str:
    """``96.7–97.4%`` or ``6.31–6.55``; '' without both ends."""
    if low is None or high is None:
        return ""
    return f"{100 * low:.1f}–{100 * high:.1f}%" if is_share else f"{low:.2f}–{high:.2f}"


def difference(value: float, *, is_share: bool) -> str:
    """``+60.2 points`` (of percent) or ``-0.31``; with the ASCII minus that ``st.metric`` tells losses by."""
    return f"{100 * value:+.1f} points" if is_share else f"{value:+.2f}"


def difference_interval(low: float, high: float, *, is_share: bool) -> str:
    """``+59.1 to +61.3``; ends keep their sign because it is what matters."""
    factor = 100 if is_share else 1
    digits = 1 if is_share else 2
    return " to ".join(f"{factor * end:+.{digits}f}" for end in (low, high))


def score_with_interval(score: Score) -> str:
    """``97.1% (96.7–97.4%)``."""
    shown = amount(score.value, is_share=score.is_share)
    between = interval(score.low, score.high, is_share=score.is_share)
    return f"{shown} ({between})" if between else shown


def corrected_text(corrected: Corrected, *, is_share: bool) -> str:
    """``corrected 97.9% (97.5–98.2%), 9,671 rows``."""
    between = interval(corrected.low, corrected.high, is_share=is_share)
    shown = amount(corrected.value, is_share=is_share) + (f" ({between})" if between else "")
    return f"corrected {shown}, {corrected.n:,} rows"


def votes(references: Sequence[str]) -> list[tuple[str, int]]:
    """Distinct references with their votes, most votes first, then by first occurrence."""
    return Counter(references).most_common()
