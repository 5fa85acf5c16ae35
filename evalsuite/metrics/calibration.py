"""Whether a model's confidence is how often it is right: expected calibration error and Brier score."""

from __future__ import annotations

import numpy as np

from evalsuite.metrics.base import Answers, Metric, MetricOptions, Quantity, Scores, divide
from evalsuite.metrics.right_rows import right_rows
from evalsuite.statistics import Estimate, Floats, mean_of_sums


def bin_of(confidences: Floats, bins: int) -> np.ndarray:
    """(rows,) the bin of each confidence: bin m holds those in (m / bins, (m + 1) / bins]; 0 is in the first."""
    return np.clip(np.ceil(confidences * bins).astype(np.int64) - 1, 0, bins - 1)


def _calibration_error(bins: int) -> Estimate:
    """From sums of (rows, confidence, right) of every bin."""

    def estimate(sums: Floats) -> Floats:
        parts = sums.reshape(len(sums), bins, 3)
        gaps = np.abs(parts[:, :, 1] - parts[:, :, 2]).sum(axis=1)
        return divide(gaps, parts[:, :, 0].sum(axis=1))

    return estimate


def _score(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    right, judge = right_rows(answers, options)
    given = np.array([np.nan if value is None else value for value in answers.confidences], dtype=np.float64)
    known = np.isfinite(given)
    confidence = np.where(known, given, 0.0)
    rows = np.arange(len(given))
    sums = np.zeros((len(given), options.bins, 3))
    sums[rows, bin_of(confidence, options.bins)] = np.stack([known, confidence * known, right * known], axis=1)
    squared = np.where(known, (confidence - right) ** 2, 0.0)
    lost = f"; {int((~known).sum()):,} rows without a confidence are left out" if not known.all() else ""
    variant = f"{options.bins} bins of equal width; {judge}, without an answer it is wrong{lost}"
    gap = np.where(known, 1.0 - np.abs(confidence - right), np.nan)
    return {
        "": Scores(
            per_row=gap, sums=sums.reshape(len(given), -1), estimate=_calibration_error(options.bins),
            variant=f"expected calibration error, {variant}",
        ),
        "_brier": Scores(
            per_row=np.where(known, 1.0 - squared, np.nan), sums=np.stack([squared, known.astype(np.float64)], axis=1),
            estimate=mean_of_sums, variant=f"mean of (confidence − right)²; {judge}{lost}",
        ),
    }  # fmt: skip


ECE = Metric(
    name="ece",
    about="Expected calibration error (Naeini et al. 2015, Guo et al. 2017) and Brier score; lower is better.",
    numbers={
        "": Quantity(title="ECE (lower is better)", top=None, mean_of_rows=False, lower_is_better=True),
        "_brier": Quantity(
            title="Brier score (lower is better)", unit="", top=None, mean_of_rows=False, lower_is_better=True
        ),
    },
    score=_score,
    options=("bins", "of", "normalizer"),
    needs=("confidences",),
)
