"""Other ways to read the same replies; a score that changes under one of them depends on the reading."""

from __future__ import annotations

import re

from evalsuite.reading.read import VERBATIM, Extraction, Part

_MARKS: dict[Part, re.Pattern[str]] = {  # a reply without any of these reads the same with and without the step
    "thinking": re.compile(r"[<\[◁]|^analysis"),
    "special_tokens": re.compile(r"[<\[]"),
    "markdown": re.compile(r"[*_`#\\~$•+>-]"),
}
_STATES = re.compile(
    r"[<\[\\:：=]|\b(?:answer|ans|is|antwort|respuesta|r[ée]ponse|resposta|risposta)\b|答|ответ|정답", re.IGNORECASE
)


def other_readers(extraction: Extraction) -> dict[str, Extraction]:
    """Name → another way to read a task's replies, without the one that the task uses."""
    found: dict[str, Extraction] = {}
    names: dict[Part, str] = {
        "thinking": "thinking kept",
        "special_tokens": "special tokens kept",
        "markdown": "Markdown kept",
    }
    for part, name in names.items():
        if part in extraction.stripped:
            found[name] = _changed(extraction, strip=[kept for kept in extraction.stripped if kept != part])
    if not extraction.stripped:
        found["everything stripped"] = _changed(extraction, strip=list(names))
    if extraction.kind == "letter":
        rules = {
            "Winnow's reader": None, "MMMU's rule": "mmmu", "MMMU-Pro's rule": "mmmu-pro",
            "VLMEvalKit's rule": "vlmevalkit",
        }  # fmt: skip
        found |= {name: _changed(extraction, rule=rule, strip=None) for name, rule in rules.items()}
    elif extraction.kind == "yes_no":
        rules = {
            "Winnow's reader": None, "POPE's rule": "official", "the first four characters": "mme",
            "the exact word": "exact",
        }  # fmt: skip
        found |= {name: _changed(extraction, rule=rule, strip=None) for name, rule in rules.items()}
    elif extraction.kind in ("text", "line", "sentence"):
        kinds = {"whole reply": "text", "first line": "line", "first sentence": "sentence"}
        found |= {name: _changed(extraction, kind=kind) for name, kind in kinds.items()}
        if extraction.rule is None:
            found["stated answers ignored"] = _changed(extraction, rule=VERBATIM)
        else:
            found["stated answers taken"] = _changed(extraction, rule=None, strip=list(extraction.stripped))
    own = _same(extraction)
    return {name: other for name, other in found.items() if _same(other) != own}


def may_read_differently(raw: str, extraction: Extraction, other: Extraction) -> bool:
    """False only where both surely read the same answer from the reply; much cheaper than reading twice."""
    for part in set(extraction.stripped) ^ set(other.stripped):
        if _MARKS[part].search(raw):
            return True
    if extraction.kind in ("text", "line", "sentence") and other.kind in ("text", "line", "sentence"):
        if extraction.rule != other.rule and _STATES.search(raw):
            return True
        return extraction.kind != other.kind and ("\n" in raw or "sentence" in (extraction.kind, other.kind))
    return extraction.kind != other.kind or extraction.rule != other.rule


def _changed(extraction: Extraction, **changes: object) -> Extraction:
    return Extraction.model_validate({**extraction.model_dump(), **changes})


def _same(extraction: Extraction) -> tuple[object, ...]:
    """What decides how it reads; spelled-out defaults are the defaults."""
    rule = None if extraction.rule in ("lenient", "words") else extraction.rule
    return (extraction.kind, rule, tuple(sorted(extraction.stripped)))
