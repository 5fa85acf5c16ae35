"""How well decisions match the truth: recall and precision per defect, and ranking quality of a signal."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from winnow.demo.defects import CORRUPT

_LISTED = 20  # ids of misses and false alarms in the report


@dataclass(frozen=True, slots=True)
class Decision:
    """What a curation did to one row.

    Attributes:
        fired: names of all rules that fired on it.
        corrupt: class of its image file (one of CORRUPT) as a rule recorded it, or None.
        twin: the row that the rule ``duplicate`` kept in its place, or None.
        group: its group of near-identical images, or None.
    """

    fired: frozenset[str] = frozenset()
    corrupt: str | None = None
    twin: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """Recall and precision of one defect; None where nothing was there or nothing fired.

    Attributes:
        affected: rows (or pairs) that have the defect.
        found: how many of them were found.
        fired: rows on which the rule fired, right or wrong.
        right: how many of these have the defect.
        missed, false_alarms: the first ids of each.
    """

    affected: int
    found: int
    fired: int
    right: int
    missed: tuple[str, ...] = ()
    false_alarms: tuple[str, ...] = ()

    @property
    def recall(self) -> float | None:
        """Share of affected rows (or pairs) that were found."""
        return self.found / self.affected if self.affected else None

    @property
    def precision(self) -> float | None:
        """Share of rows on which the rule fired that have the defect."""
        return self.right / self.fired if self.fired else None


def decision(rules: Sequence[Mapping[str, Any]], group: str | None) -> Decision:
    """Read one row of ``decisions.parquet``: its fired rules and its duplicate group."""
    corrupt = twin = None
    for rule in rules:
        recorded = json.loads(rule["values"] or "{}").get("error")
        corrupt = next((name for name in (rule["rule"], recorded) if name in CORRUPT), corrupt)
        if rule["rule"] == "duplicate":
            twin = rule["related_row"]
    return Decision(frozenset(rule["rule"] for rule in rules), corrupt, twin, group)


def score(affected: Collection[str], fired: Collection[str]) -> Score:
    """Score of a rule that should fire on exactly the rows ``affected``."""
    wanted, got = set(affected), set(fired)
    right = len(wanted & got)
    return Score(len(wanted), right, len(got), right, _first(wanted - got), _first(got - wanted))


def score_pairs(pairs: Collection[tuple[str, str]], decisions: Mapping[str, Decision]) -> Score:
    """Score of the rule ``duplicate`` on injected pairs.

    A pair is found when it fired on either row, and the other one is the kept twin or is in the
    same group. A false alarm is any other row on which it fired that is in no pair.
    """
    fired = {sample_id for sample_id, made in decisions.items() if "duplicate" in made.fired}
    missed = [pair[0] for pair in pairs if not any(_drops(pair, one, fired, decisions) for one in (0, 1))]
    paired = {sample_id for pair in pairs for sample_id in pair}
    right = len(fired & paired)
    return Score(len(pairs), len(pairs) - len(missed), len(fired), right, _first(missed), _first(fired - paired))


def _drops(pair: tuple[str, str], one: int, fired: set[str], decisions: Mapping[str, Decision]) -> bool:
    dropped, other = pair[one], pair[1 - one]
    made = decisions[dropped]
    same_group = made.group is not None and made.group == decisions[other].group
    return dropped in fired and (made.twin == other or same_group)


def _first(ids: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted(ids)[:_LISTED])


def ranking(suspicion: np.ndarray, positive: np.ndarray) -> dict[str, float]:
    """How well a signal puts positives first: ROC-AUC, average precision, recall at 50% and 90% precision.

    Args:
        suspicion: (N,) float, higher is more suspect; equal values are taken together.
        positive: (N,) bool, at least one True and one False.

    Average precision is the sum over thresholds of precision × gain in recall, as scikit-learn has it.
    """
    order = np.argsort(-suspicion, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(suspicion[order])), len(order) - 1)
    hits = np.cumsum(positive[order])[ends]
    alarms = ends + 1 - hits
    recall, precision = hits / hits[-1], hits / (ends + 1)
    roc_auc = np.trapezoid(np.append(0, recall), np.append(0, alarms / alarms[-1]))
    return {
        "roc_auc": float(roc_auc),
        "average_precision": float(np.sum(np.diff(np.append(0, recall)) * precision)),
        "recall_at_50_precision": float(recall[precision >= 0.5].max(initial=0)),
        "recall_at_90_precision": float(recall[precision >= 0.9].max(initial=0)),
    }
