"""A view of the failures: which run and baseline a FilterSpec names on this disk."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dashboards.query.catalog import Catalog, Folder
from dashboards.query.filters import NO_BASE, FilterSpec


@dataclass(frozen=True)
class View:
    """A FilterSpec whose run and baseline exist and are named, with their folders."""

    spec: FilterSpec
    run: Folder
    base: Folder | None


def open_view(catalog: Catalog, spec: FilterSpec) -> View | None:
    """Resolve the names in ``spec``; unknown ones fall back to the defaults. None without any evaluation."""
    evaluations = catalog.finished("evals")
    run = catalog.find("evals", spec.run) or next(iter(evaluations), None)
    if run is None:
        return None
    others = [folder for folder in evaluations if folder.name != run.name]
    wanted = next((folder for folder in others if folder.name == spec.base), None)
    base = None if spec.base == NO_BASE else wanted or next(iter(others), None)
    named = replace(spec, run=run.name, base=base.name if base else NO_BASE)
    return View(named, run, base)
