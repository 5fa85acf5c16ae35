"""Caption metrics: BLEU, ROUGE-L and CIDEr-D as the COCO caption evaluation computes them, without Java.

They equal pycocoevalcap 1.2 in constants and order of operations.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evalsuite.metrics.base import (
    Answers,
    HubModule,
    Metric,
    MetricOptions,
    Quantity,
    Reading,
    Row,
    Scores,
    TokenizerName,
    check_captions,
    mean_scores,
)
from evalsuite.metrics.ngrams import ORDER, SCALE, bleu_counts, bleu_of, build_corpus, cider_of
from evalsuite.metrics.tokenizers import Tokenize, caption_tokens, tokenizer_label, unfit_tokenizer
from evalsuite.statistics import Estimate, Floats

_BETA_SQUARED = 1.2**2  # ROUGE-L's weight of recall
FEW_IMAGES = 100  # below, CIDEr-D's idf weights, and with them the score, mean little
_COCO = "https://github.com/tylin/coco-caption"


@dataclass(frozen=True)
class CaptionScores:
    """Scores of one metric.

    Attributes:
        corpus: the score that papers quote.
        per_sample: id → score, in the order of the predictions.
    """

    corpus: float
    per_sample: dict[str, float]


@dataclass(frozen=True)
class BleuScores:
    """BLEU-1 to BLEU-4.

    Attributes:
        corpus: from summed counts, not a mean of sentences.
        per_sample: id → the four scores of that caption alone.
    """

    corpus: list[float]
    per_sample: dict[str, list[float]]


def _warn_of_script(references: Mapping[str, Sequence[str]], tokenize: TokenizerName) -> None:
    if problem := unfit_tokenizer((text for given in references.values() for text in given), tokenize):
        warnings.warn(problem, stacklevel=3)


# ---- BLEU ------------------------------------------------------------------------------------------


def bleu(
    predictions: Mapping[str, str], references: Mapping[str, Sequence[str]], *, tokenize: TokenizerName = "ptb"
) -> BleuScores:
    """BLEU-1 to BLEU-4 (Papineni et al. 2002, closest reference length), corpus and per caption, each 0 to 1.

    A perfect caption shorter than n words scores near 0 on BLEU-n, as in the original.

    Args:
        tokenize: ``ptb`` as the COCO evaluation does; for other languages see ``evalsuite.metrics.tokenizers``.

    Raises:
        UserError: the ids of predictions and references differ, there are none, or the tokeniser is
            unknown or not installed.
    """
    _warn_of_script(references, tokenize)
    corpus = build_corpus(predictions, references, tokenize)
    counts = bleu_counts(corpus)
    each = bleu_of(counts.correct, counts.guess, counts.length, counts.reference_length)
    whole = bleu_of(
        counts.correct.sum(0, keepdims=True),
        counts.guess.sum(0, keepdims=True),
        counts.length.sum(keepdims=True),
        counts.reference_length.sum(keepdims=True),
    )
    return BleuScores(whole[0].tolist(), dict(zip(corpus.ids, each.tolist(), strict=True)))


# ---- ROUGE-L ---------------------------------------------------------------------------------------


def rouge_l(
    predictions: Mapping[str, str], references: Mapping[str, Sequence[str]], *, tokenize: TokenizerName = "ptb"
) -> CaptionScores:
    """ROUGE-L F score (Lin and Hovy 2004, beta 1.2), mean over images and per image, 0 to 1.

    Precision and recall are maximised separately over the references. An empty caption counts as
    one empty word, as in the original: against an empty reference it scores 1.

    Args:
        tokenize: ``ptb`` as the COCO evaluation does; for other languages see ``evalsuite.metrics.tokenizers``.

    Raises:
        UserError: the ids of predictions and references differ, there are none, or the tokeniser is
            unknown or not installed.
    """
    _warn_of_script(references, tokenize)
    scores = _rouge_scores(predictions, references, tokenize)
    return CaptionScores(sum(scores.values()) / len(scores), scores)


def _rouge_scores(
    predictions: Mapping[str, str], references: Mapping[str, Sequence[str]], tokenize: TokenizerName
) -> dict[str, float]:
    check_captions(predictions, references)
    tokens_of = caption_tokens(tokenize)
    return {key: _score(predictions[key], references[key], tokens_of) for key in predictions}


def _score(prediction: str, references: Sequence[str], tokens_of: Tokenize) -> float:
    candidate = tokens_of(prediction) or [""]
    where: dict[str, int] = {}
    for position, token in enumerate(candidate):
        where[token] = where.get(token, 0) | 1 << position
    precision = recall = 0.0
    for reference in references:
        tokens = tokens_of(reference) or [""]
        common = _common_subsequence(where, len(candidate), tokens)
        precision, recall = max(precision, common / len(candidate)), max(recall, common / len(tokens))
    if not precision or not recall:
        return 0.0
    return (1 + _BETA_SQUARED) * precision * recall / (recall + _BETA_SQUARED * precision)


def _common_subsequence(where: Mapping[str, int], length: int, tokens: Sequence[str]) -> int:
    """Length of the longest common subsequence, one integer operation per token (Hyyrö 2004).

    Args:
        where: token → bit mask of its positions in the candidate.
        length: tokens in the candidate.
    """
    full = (1 << length) - 1
    row = full
    for token in tokens:
        matches = row & where.get(token, 0)
        row = (row + matches | row - matches) & full
    return length - row.bit_count()


# ---- CIDEr-D ---------------------------------------------------------------------------------------


def cider(
    predictions: Mapping[str, str], references: Mapping[str, Sequence[str]], *, tokenize: TokenizerName = "ptb"
) -> CaptionScores:
    """CIDEr-D (Vedantam et al. 2015), corpus (mean over images) and per image, from 0 to 10.

    Document frequencies come from the references given here, so the score depends on the set of
    images: compare only what was scored on the same ones. With a single image, or with references
    that are the same for every image, it is 0.

    Args:
        tokenize: ``ptb`` as the COCO evaluation does; for other languages see ``evalsuite.metrics.tokenizers``.

    Raises:
        UserError: the ids of predictions and references differ, there are none, or the tokeniser is
            unknown or not installed.
    """
    _warn_of_script(references, tokenize)
    corpus = build_corpus(predictions, references, tokenize)
    scores = cider_of(corpus)
    return CaptionScores(float(scores.mean()), dict(zip(corpus.ids, scores.tolist(), strict=True)))


# ---- as metrics ------------------------------------------------------------------------------------


def _warn_script(answers: Answers, options: MetricOptions) -> str | None:
    return unfit_tokenizer((text for given in answers.references for text in given), options.tokenize)


def _warn_cider(answers: Answers, options: MetricOptions) -> str | None:
    few = f"CIDEr-D takes its weights from the references of all rows, and {len(answers.ids):,} rows are too few"
    return _warn_script(answers, options) or (few if len(answers.ids) < FEW_IMAGES else None)


def _as_mappings(answers: Answers) -> tuple[dict[str, str], dict[str, Sequence[str]]]:
    texts = {key: text or "" for key, text in zip(answers.ids, answers.texts, strict=True)}
    return texts, dict(zip(answers.ids, answers.references, strict=True))


def _score_bleu(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    counts = bleu_counts(build_corpus(*_as_mappings(answers), options.tokenize))
    each = bleu_of(counts.correct, counts.guess, counts.length, counts.reference_length)
    lengths = np.stack([counts.length, counts.reference_length], axis=1)
    sums = np.concatenate([counts.correct, counts.guess, lengths], axis=1).astype(np.float64)
    label = tokenizer_label(options.tokenize)
    return {
        f"_{order}": Scores(
            per_row=each[:, order - 1], sums=sums, estimate=_corpus_bleu(order),
            variant=f"corpus BLEU-{order}, closest reference length, {label}",
        )
        for order in range(1, ORDER + 1)
    }  # fmt: skip


def _corpus_bleu(order: int) -> Estimate:
    def estimate(sums: Floats) -> Floats:
        return bleu_of(sums[:, :ORDER], sums[:, ORDER : 2 * ORDER], sums[:, -2], sums[:, -1])[:, order - 1]

    return estimate


def _score_rouge_l(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    found = _rouge_scores(*_as_mappings(answers), options.tokenize)
    variant = f"ROUGE-L F, beta 1.2, {tokenizer_label(options.tokenize)}"
    return {"": mean_scores(list(found.values()), variant)}


def _score_cider(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    corpus = build_corpus(*_as_mappings(answers), options.tokenize)
    label = tokenizer_label(options.tokenize)
    variant = f"CIDEr-D × 10, idf from the references of all {corpus.images:,} rows (in slices too), {label}"
    if corpus.images < FEW_IMAGES:
        variant += "; too few rows for a stable idf"
    return {"": mean_scores(cider_of(corpus), variant)}


def _read_caption(row: Row, options: MetricOptions, rule: str) -> Reading:
    """Tokens, and the reference that shares most with them (ROUGE-L); a caption is neither right nor wrong."""
    text = row["extracted"]
    if text is None:
        return Reading(rule, None, "", None)
    tokens_of = caption_tokens(options.tokenize)
    shared = [_score(text, [reference], tokens_of) for reference in row["references"]]
    closest = row["references"][shared.index(max(shared))]
    return Reading(rule, " ".join(tokens_of(text)), " ".join(tokens_of(closest)), None)


def _module(name: str, about: str, citation: str, score: Callable[..., Any], example: str) -> HubModule:
    return HubModule(
        name=name,
        about=f"{about} as the COCO caption evaluation computes {'them' if name == 'bleu' else 'it'}, without Java.",
        citation=citation,
        url=_COCO,
        score=score,
        whole_set=True,
        columns={"predictions": "one caption an image.", "references": "a list of captions for each."},
        options={"tokenize": "ptb, or for other languages zh, ja-mecab, ko-mecab, char, 13a, intl."},
        example=example,
        gives="the corpus score and per_sample, in the order given.",
    )


BLEU = Metric(
    name="bleu",
    about="BLEU-1 to BLEU-4 of captions (Papineni et al. 2002).",
    numbers={f"_{order}": Quantity(title=f"BLEU-{order}", mean_of_rows=False) for order in range(1, ORDER + 1)},
    score=_score_bleu,
    options=("tokenize",),
    warn=_warn_script,
    read_row=_read_caption,
    modules=(
        _module(
            "bleu", "BLEU-1 to BLEU-4", "Papineni et al., BLEU, ACL 2002", bleu,
            'found = metric.compute(predictions=["a red dog runs"], references=[["A red dog runs."]])\n'
            'round(found["bleu_4"], 6)\n1.0',
        ),
    ),
)  # fmt: skip

ROUGE_L = Metric(
    name="rouge_l",
    about="Longest common subsequence with a reference, as F score (Lin and Hovy 2004).",
    numbers={"": Quantity(title="ROUGE-L")},
    score=_score_rouge_l,
    options=("tokenize",),
    warn=_warn_script,
    read_row=_read_caption,
    modules=(
        _module(
            "rouge_l", "ROUGE-L", "Lin, ROUGE, ACL workshop 2004", rouge_l,
            'metric.compute(predictions=["a red dog"], references=[["A red dog."]])["rouge_l"]\n1.0',
        ),
    ),
)  # fmt: skip

CIDER = Metric(
    name="cider",
    about="Weighted n-gram similarity of captions, 0 to 10 (Vedantam et al. 2015).",
    numbers={"": Quantity(title="CIDEr-D", unit="", top=SCALE, best_row=SCALE)},
    score=_score_cider,
    whole_set=True,
    options=("tokenize",),
    warn=_warn_cider,
    read_row=_read_caption,
    modules=(
        _module(
            "cider", "CIDEr-D", "Vedantam et al., CIDEr, CVPR 2015", cider,
            'texts = ["a red dog runs", "two cats sleep here"]\n'
            'metric.compute(predictions=texts, references=[[text] for text in texts])["cider"]\n10.0',
        ),
    ),
)  # fmt: skip
