"""What a task file alone shows: settings that do not fit each other."""

from __future__ import annotations

from evalsuite.check.findings import Finding
from evalsuite.metrics import METRICS
from evalsuite.tasks.spec import TaskSpec, places

# Kinds of extraction that look for an answer inside a reply: what comes before it is not noise.
_SEARCHES = {"letter", "yes_no", "choice", "number", "box", "json"}


def check_settings(spec: TaskSpec) -> list[Finding]:
    """Metrics against the extraction, stop texts, options against the prompt."""
    return [*_metrics(spec), *_stops(spec), *_options(spec)]


def _metrics(spec: TaskSpec) -> list[Finding]:
    kind, found = spec.extraction.kind, []
    for key, settings in spec.metrics.items():
        fit = METRICS[settings.metric or key].extractions
        if fit and kind not in fit and settings.variant is None:
            what = f"metric {key} judges what `extraction: {{kind: {fit[0]}}}` reads, and the task reads {kind}"
            found.append(Finding("warning", spec.name, what, f"write `extraction: {{kind: {fit[0]}}}`"))
    return found


def _stops(spec: TaskSpec) -> list[Finding]:
    stops = [text for text in spec.generation.stop if not text.strip()]
    if not stops or spec.extraction.kind not in _SEARCHES:
        return []
    what = f"stop {stops[0]!r} ends a reply at its first line, before a model that thinks or explains has answered"
    fix = "leave it out if the model does: the extraction finds the answer in a long reply"
    return [Finding("note", spec.name, what, fix)]


def _options(spec: TaskSpec) -> list[Finding]:
    if spec.options is not None or spec.extraction.kind != "letter":
        return []
    place = next(iter(places(spec.prompt) - {"question"}), "options")
    what = "letters are read, and the task does not say where the rows' options are"
    return [Finding("warning", spec.name, what, f"write `options: {place}`, the key of a row that holds them")]
