"""How far two reviewers agree on the rows that both judged."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from dashboards.corrections.history import Decision


@dataclass(frozen=True)
class Agreement:
    """Two reviewers on ``n`` shared rows.

    Attributes:
        observed: share of rows on which their verdicts are the same.
        kappa: Cohen's kappa (1960), -1 to 1; None where both always gave one and the same verdict.
    """

    first: str
    second: str
    n: int
    observed: float
    kappa: float | None


def agreements(decisions: Iterable[Decision]) -> list[Agreement]:
    """Every pair of reviewers with rows in common, most rows first.

    Args:
        decisions: the newest first; tags are no verdicts, and of several verdicts the last counts.
    """
    verdicts: dict[str, dict[str, str]] = {}
    for decision in decisions:
        line = decision.line
        if line.action != "tag" and decision.state != "undone":
            verdicts.setdefault(line.reviewer, {}).setdefault(line.sample_id, line.action)
    found = [
        _agreement(first, second, [(verdicts[first][row], verdicts[second][row]) for row in shared])
        for first, second in itertools.combinations(sorted(verdicts), 2)
        if (shared := sorted(verdicts[first].keys() & verdicts[second].keys()))
    ]
    return sorted(found, key=lambda one: (-one.n, one.first, one.second))


def _agreement(first: str, second: str, pairs: list[tuple[str, str]]) -> Agreement:
    n = len(pairs)
    observed = sum(one == other for one, other in pairs) / n
    ours, theirs = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    chance = sum(ours[verdict] * theirs[verdict] for verdict in ours) / n**2
    return Agreement(first, second, n, observed, None if chance == 1 else (observed - chance) / (1 - chance))
