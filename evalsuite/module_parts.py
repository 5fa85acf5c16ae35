"""What the ``evaluate`` modules share: how they describe themselves, and the shape of what they return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import datasets
import evaluate

TEXT = datasets.Value("string")
TEXTS = datasets.Sequence(TEXT)


def info(
    description: str | None, citation: str, inputs: str, url: str, columns: dict[str, Any] | None = None
) -> evaluate.MetricInfo:
    """Description of a module.

    Args:
        columns: its inputs; a text and a list of references for each by default.
    """
    return evaluate.MetricInfo(
        description=description,
        citation=citation,
        inputs_description=inputs,
        features=datasets.Features(columns or {"predictions": TEXT, "references": TEXTS}),
        reference_urls=[url],
    )


def by_number(*columns: Sequence[Any]) -> list[dict[str, Any]]:
    """Each column as a mapping from the row's number, which is what the metrics of a whole set take."""
    return [{str(number): value for number, value in enumerate(column)} for column in columns]


def mean_of(name: str, scores: Sequence[float]) -> dict[str, Any]:
    """The mean under the metric's name, and each score in the order given."""
    return {name: sum(scores) / len(scores), "per_sample": list(scores)}


def all_of(scores: Any) -> dict[str, Any]:
    """Every field of a score object; ``per_sample`` in the order given."""
    found = asdict(scores)
    return {**found, "per_sample": list(found["per_sample"].values())}
