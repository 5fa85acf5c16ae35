"""What a benchmark is, where its data is to be had, and what its task was checked against."""

from __future__ import annotations

from typing import Literal

from winnow.recipe import StrictModel

Kind = Literal[
    "short answer", "multiple choice", "yes or no", "free text", "caption", "document", "grounding", "hallucination"
]


class Benchmark(StrictModel):
    """Where a shipped task comes from.

    Attributes:
        kind: under which `evalsuite tasks` lists it.
        data: where to download it, and what goes where.
        prompt: whose prompt it is.
        aggregate: what the headline is the mean or sum of.
        checked: the code, with its revision, that computed the values which the tests compare with.
        unchecked: what could not be compared, and what differs from the benchmark's own code.
    """

    kind: Kind
    data: str
    prompt: str
    aggregate: str
    checked: str
    unchecked: str = ""
