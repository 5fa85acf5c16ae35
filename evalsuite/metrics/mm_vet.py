"""MM-Vet's capabilities (Yu et al. 2024): the mean grade of the questions that need each; most need several."""

from __future__ import annotations

import re

import numpy as np

from evalsuite.metrics.base import RIGHT_FROM, Answers, Metric, MetricOptions, Quantity, Scores, in_part
from winnow.errors import UserError

CAPABILITIES = {
    "rec": "recognition", "ocr": "OCR", "know": "knowledge", "gen": "language generation", "spat": "spatial awareness",
    "math": "math",
}  # fmt: skip


def _score(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    """The judge's grades; a question without a grade is left out."""
    verdicts = answers.verdicts or [None] * len(answers.ids)
    given = np.array([verdict is not None for verdict in verdicts], dtype=bool)
    grades = np.array([verdict["score"] if verdict else 0.0 for verdict in verdicts], dtype=np.float64)
    needed = [_capabilities(answers, row) for row in range(len(answers.ids))]
    found = {}
    for name, title in CAPABILITIES.items():
        mask = given & np.array([name in names for names in needed], dtype=bool)
        if mask.any():
            found[f"_{name}"] = in_part(grades, mask, f"questions that need {title}, grades of the judge")
    return found


def _capabilities(answers: Answers, row: int) -> frozenset[str]:
    value = answers.facts[row].get("capability") if answers.facts else None
    names = frozenset(value if isinstance(value, list) else re.findall(r"\w+", str(value or "")))
    if not names or not names <= CAPABILITIES.keys():
        raise UserError(
            f"{answers.ids[row]}: mm_vet needs the fact capability, of {', '.join(CAPABILITIES)}; found {value!r}"
        )
    return names


MM_VET = Metric(
    name="mm_vet",
    about="Mean grade of the judge over the questions that need each of MM-Vet's six capabilities (Yu et al. 2024).",
    numbers={
        f"_{name}": Quantity(title=f"MM-Vet {title}", right_from=RIGHT_FROM) for name, title in CAPABILITIES.items()
    },
    score=_score,
    of_judge=True,
    needs=("facts",),
)
