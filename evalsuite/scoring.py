"""Answers in, metric columns out: a score for every row and the sums that make the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evalsuite.metrics.bleu import BleuCounts, bleu_counts, bleu_of
from evalsuite.metrics.cider import FEW_IMAGES, cider_of
from evalsuite.metrics.ngrams import ORDER, Corpus, build_corpus
from evalsuite.metrics.rouge import rouge_l
from evalsuite.metrics.vqa import exact_match, vqa_accuracy
from evalsuite.statistics import Estimate, Floats, mean_of_sums, mean_sums
from evalsuite.task import MetricSettings


@dataclass(frozen=True)
class Answered:
    """The rows of one task, ready to score.

    Attributes:
        ids: sample ids.
        texts: extracted answers, None where the status is not ok.
        references: accepted answers of each row.
    """

    ids: Sequence[str]
    texts: Sequence[str | None]
    references: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Column:
    """One metric on all rows of a task.

    Attributes:
        name: of the column in ``predictions.parquet``.
        per_row: score of every row. A row without an answer scores 0: keeping silent never pays.
        sums: (rows, k); the metric of any set of rows is ``estimate`` of their sum.
        estimate: (m, k) → (m,).
        variant: what exactly was computed, for the report.
        binary: every row is right or wrong, so that McNemar's test applies.
    """

    name: str
    per_row: Floats
    sums: Floats
    estimate: Estimate
    variant: str
    binary: bool = False


def score(answered: Answered, metrics: Mapping[str, MetricSettings]) -> list[Column]:
    """All columns of a task, in the order of ``metrics``.

    Raises:
        UserError: a row has no references.
    """
    corpus: Corpus | None = None
    columns: list[Column] = []
    for name, settings in metrics.items():
        kind = settings.metric or name
        if kind in CORPUS_METRICS:
            corpus = corpus or build_corpus(*_as_mappings(answered))
            columns += CORPUS_METRICS[kind](name, corpus)
        else:
            columns.append(ROW_METRICS[kind](name, answered, settings))
    return columns


def _as_mappings(answered: Answered) -> tuple[dict[str, str], dict[str, Sequence[str]]]:
    texts = {key: text or "" for key, text in zip(answered.ids, answered.texts, strict=True)}
    return texts, dict(zip(answered.ids, answered.references, strict=True))


def _accuracy(name: str, answered: Answered, settings: MetricSettings) -> Column:
    values = [
        0.0 if text is None else exact_match(text, references, normalizer=settings.normalizer)
        for text, references in zip(answered.texts, answered.references, strict=True)
    ]
    variant = f"exact match with any reference, {_normalizer(settings)}"
    return Column(name, np.array(values), mean_sums(values), mean_of_sums, variant, binary=True)


def _vqa_accuracy(name: str, answered: Answered, settings: MetricSettings) -> Column:
    def one(text: str, references: Sequence[str]) -> float:
        if len(references) == 1:  # the variant says so, so no warning for each row
            return exact_match(text, references, normalizer=settings.normalizer)
        return vqa_accuracy(text, references, normalizer=settings.normalizer, unanimous=settings.unanimous)

    pairs = zip(answered.texts, answered.references, strict=True)
    values = [0.0 if text is None else one(text, references) for text, references in pairs]
    single = sum(len(references) == 1 for references in answered.references)
    variant = f"leave-one-out agreement, {_normalizer(settings)}, unanimous answers: {settings.unanimous}"
    if single == len(values):
        variant = f"exact match, {_normalizer(settings)}: every row has one reference, so agreement is undefined"
    elif single:
        variant += f"; exact match on the {single:,} rows with one reference"
    return Column(name, np.array(values), mean_sums(values), mean_of_sums, variant, binary=single == len(values))


def _normalizer(settings: MetricSettings) -> str:
    return "verbatim" if settings.normalizer == "none" else f"{settings.normalizer} VQA normalisation"


def _rouge_l(name: str, answered: Answered, settings: MetricSettings) -> Column:
    values = list(rouge_l(*_as_mappings(answered)).per_sample.values())
    return Column(name, np.array(values), mean_sums(values), mean_of_sums, "ROUGE-L F, beta 1.2, COCO tokens")


def _bleu(name: str, corpus: Corpus) -> list[Column]:
    counts = bleu_counts(corpus)
    each = bleu_of(counts.correct, counts.guess, counts.length, counts.reference_length)
    sums = _bleu_sums(counts)
    return [
        Column(
            f"{name}_{order}", each[:, order - 1], sums, _bleu_estimate(order),
            f"corpus BLEU-{order}, closest reference length, COCO tokens",
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


def _cider(name: str, corpus: Corpus) -> list[Column]:
    values = cider_of(corpus)
    variant = f"CIDEr-D × 10, idf from the references of all {corpus.images:,} rows"
    if corpus.images < FEW_IMAGES:
        variant += "; too few rows for a stable idf"
    return [Column(name, values, mean_sums(values), mean_of_sums, variant)]


ROW_METRICS: dict[str, Callable[[str, Answered, MetricSettings], Column]] = {
    "accuracy": _accuracy,
    "vqa_accuracy": _vqa_accuracy,
    "rouge_l": _rouge_l,
}
CORPUS_METRICS: dict[str, Callable[[str, Corpus], list[Column]]] = {"bleu": _bleu, "cider": _cider}
