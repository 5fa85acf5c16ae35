"""The folder that a list's parameters name."""

from __future__ import annotations

from dashboards.data.catalog import Catalog, Folder, Kind
from dashboards.review.entries import Entries, Parameters, last, nothing

_WHAT = {"evals": "evaluation", "curated": "curated set", "runs": "training run"}


def named(catalog: Catalog, kind: Kind, parameters: Parameters, parameter: str) -> Folder | Entries:
    """The folder that ``parameter`` names, the newest one without it; an empty list that says why there is none."""
    name, folders = last(parameters, parameter), catalog.finished(kind)
    if found := catalog.find(kind, name) if name else next(iter(folders), None):
        return found
    known = f"There is no {_WHAT[kind]} named “{name}”." if name else f"There is no {_WHAT[kind]} yet."
    return nothing(_WHAT[kind].capitalize(), known)
