"""What a task file alone shows: settings that do not fit each other."""

from __future__ import annotations

from evalsuite.check.findings import Finding
from evalsuite.tasks.spec import TaskSpec, places

# Kinds of extraction that look for an answer inside a reply: what comes before it is not noise.
_SEARCHES = {"letter", "yes_no", "choice", "number", "box", "json"}
# What a metric's references are → the extraction that reads such answers; numbers are also read from text.
_READERS = {"letters": "letter", "yes_no": "yes_no", "box": "box"}


def check_settings(spec: TaskSpec) -> list[Finding]:
    """Metrics against the extraction, stop texts, options against the prompt."""
    return [*_metrics(spec), *_stops(spec), *_options(spec)]


def _metrics(spec: TaskSpec) -> list[Finding]:
    kind, found = spec.extraction.kind, []
    for key, settings in spec.metrics.items():
        metric = settings.definition
        fit = _READERS.get(metric.references)
        if fit and kind not in (fit, "choice", "json") and not (metric.reads_raw and settings.variant):
            what = f"{key} judges what `extraction: {{kind: {fit}}}` reads, and the task reads {kind}"
            found.append(Finding("warning", spec.name, what, f"write `extraction: {{kind: {fit}}}`"))
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
