"""Caption metrics as columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from evalsuite.metrics.caption import BleuCounts, bleu_counts, bleu_of
from evalsuite.metrics.cider import FEW_IMAGES, cider_of
from evalsuite.metrics.ngrams import ORDER, build_corpus
from evalsuite.metrics.rouge import rouge_l
from evalsuite.metrics.tokenizers import tokenizer_label
from evalsuite.scoring.columns import Answered, Column
from evalsuite.scoring.settings import MetricSettings
from evalsuite.statistics import Estimate, Floats, mean_of_sums, mean_sums


def _as_mappings(answered: Answered) -> tuple[dict[str, str], dict[str, Sequence[str]]]:
    texts = {key: text or "" for key, text in zip(answered.ids, answered.texts, strict=True)}
    return texts, dict(zip(answered.ids, answered.references, strict=True))


def _rouge_l(name: str, answered: Answered, settings: MetricSettings) -> list[Column]:
    values = list(rouge_l(*_as_mappings(answered), tokenize=settings.tokenize).per_sample.values())
    variant = f"ROUGE-L F, beta 1.2, {tokenizer_label(settings.tokenize)}"
    return [Column(name, np.array(values), mean_sums(values), mean_of_sums, variant)]


def _bleu(name: str, answered: Answered, settings: MetricSettings) -> list[Column]:
    counts = bleu_counts(build_corpus(*_as_mappings(answered), settings.tokenize))
    each = bleu_of(counts.correct, counts.guess, counts.length, counts.reference_length)
    sums = _bleu_sums(counts)
    label = tokenizer_label(settings.tokenize)
    return [
        Column(
            f"{name}_{order}", each[:, order - 1], sums, _bleu_estimate(order),
            f"corpus BLEU-{order}, closest reference length, {label}",
        )
        for order in range(1, ORDER + 1)
    ]  # fmt: skip


def _bleu_sums(counts: BleuCounts) -> Floats:
    lengths = np.stack([counts.length, counts.reference_length], axis=1)
    return np.concatenate([counts.correct, counts.guess, lengths], axis=1).astype(np.float64)


def _bleu_estimate(order: int) -> Estimate:
    def estimate(sums: Floats) -> Floats:
        return bleu_of(sums[:, :ORDER], sums[:, ORDER : 2 * ORDER], sums[:, -2], sums[:, -1])[:, order - 1]

    return estimate


def _cider(name: str, answered: Answered, settings: MetricSettings) -> list[Column]:
    corpus = build_corpus(*_as_mappings(answered), settings.tokenize)
    values = cider_of(corpus)
    variant = (
        f"CIDEr-D × 10, idf from the references of all {corpus.images:,} rows, {tokenizer_label(settings.tokenize)}"
    )
    if corpus.images < FEW_IMAGES:
        variant += "; too few rows for a stable idf"
    return [Column(name, values, mean_sums(values), mean_of_sums, variant)]


BY_CORPUS: dict[str, Callable[[str, Answered, MetricSettings], list[Column]]] = {
    "bleu": _bleu,
    "rouge_l": _rouge_l,
    "cider": _cider,
}
