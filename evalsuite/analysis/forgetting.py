"""What a training has changed: the tasks it was for (vertical) beside those it should have left alone (general)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalsuite.analysis.compare import compare_folders
from winnow.errors import UserError

# (better, worse, neither) by the kind of a task
VERDICTS = {
    "vertical": ("learned", "worse", "no gain found"),
    "general": ("gained", "forgotten", "no loss found"),
}
_LEVEL = 0.05


def forgetting(
    before: Path, after: Sequence[Path], vertical: Sequence[str], general: Sequence[str] = (), seed: int = 0
) -> dict[str, Any]:
    """The first metric of every task before and after training, row by row on the same questions.

    A verdict other than "found nothing" needs p < 0.05 after Holm's correction over all tasks and runs.

    Args:
        before, after: evaluation folders.
        vertical: names of the tasks that were trained for.
        general: names of the others; empty: every other task that all hold.

    Returns:
        ``{"before": …, "runs": [{"run": …, "tasks": [{"task": …, "kind": …, "verdict": …}]}]}``, vertical tasks first;
        the further keys of a task are those of ``compare``'s metrics.

    Raises:
        UserError: a folder is no finished evaluation, or lacks a task that is named.
    """
    found = compare_folders(before, after, seed)
    for run in found["runs"]:
        if missing := [name for name in (*vertical, *general) if name not in run["tasks"]]:
            shared = ", ".join(run["tasks"])
            raise UserError(f"{before} and {run['run']} share no rows of {missing[0]!r}; they share {shared}")
    others = [name for name in found["runs"][0]["tasks"] if name not in vertical]
    kinds = {**dict.fromkeys(vertical, "vertical"), **dict.fromkeys(general or others, "general")}
    runs = [
        {"run": run["run"], "tasks": [_entry(name, kind, run["tasks"][name]) for name, kind in kinds.items()
                                      if name in run["tasks"]]}
        for run in found["runs"]
    ]  # fmt: skip
    return {"before": found["baseline"], "runs": runs}


def _entry(name: str, kind: str, task: dict[str, Any]) -> dict[str, Any]:
    metric = task["metrics"][task["headline"]]
    better, worse, neither = VERDICTS[kind]
    verdict = neither
    if metric["p_holm"] is not None and metric["p_holm"] < _LEVEL:
        verdict = better if metric["difference"] > 0 else worse
    return {"task": name, "kind": kind, "verdict": verdict, **metric}
