"""What each metric compared: an answer as its rule normalises it, and what that was found equal to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dashboards.query.catalog import Folder, manifest_of
from dashboards.query.failures import Answer

if TYPE_CHECKING:
    from evalsuite.tasks.spec import TaskSpec


@dataclass(frozen=True)
class Read:
    """One rule on one answer: the metrics that use it, the normalised answer, and what matched ('' for nothing)."""

    metrics: tuple[str, ...]
    text: str
    matched: str


def readings(folder: Folder, answer: Answer) -> list[Read]:
    """What the metrics of the answer's task compared, as the evaluation's manifest sets them up.

    Empty for an answer without references and for evaluations whose manifest does not hold the task.

    Raises:
        UserError: the manifest is gone, or its task is of another version.
    """
    # The rules bring the metrics along: half a second, which only the sample page has to pay.
    from evalsuite.metrics import METRICS

    spec = _tasks(folder).get(answer.task)
    if spec is None or not answer.references:
        return []
    row = {
        "sample_id": answer.sample_id, "extracted": answer.extracted, "raw": answer.raw,
        "references": list(answer.references), "choices": list(answer.choices) or None,
    }  # fmt: skip
    found: dict[tuple[str, str], list[str]] = {}
    for name, settings in spec.metrics.items():
        if read_row := METRICS[settings.metric or name].read_row:
            reading = read_row(row, settings, name)
            found.setdefault((reading.text or "", reading.matched), []).append(name)
    return [Read(tuple(names), text, matched) for (text, matched), names in found.items()]


def _tasks(folder: Folder) -> Mapping[str, TaskSpec]:
    from evalsuite.analysis.results import load_specs

    manifest = dict(manifest_of(folder))
    return load_specs(folder.path, manifest) if isinstance(manifest.get("task_specs"), list) else {}
