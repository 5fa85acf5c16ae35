from __future__ import annotations

from pathlib import Path

from dashboards.data.catalog import scan
from dashboards.data.filters import NO_BASE, FilterSpec, resolve_filters


def test_names_resolve_and_unknown_ones_fall_back(data: Path) -> None:
    catalog = scan(data)
    newest = catalog.finished("evals")[0].name
    other = catalog.finished("evals")[1].name
    view = resolve_filters(catalog, FilterSpec(run="nope", base="../x"))
    assert view and view.base and (view.run.name, view.base.name) == (newest, other)
    view = resolve_filters(catalog, FilterSpec(run=other, base=other))
    assert view and view.base and (view.run.name, view.base.name) == (other, newest)
    view = resolve_filters(catalog, FilterSpec(base=NO_BASE))
    assert view and view.base is None


def test_no_evaluation_no_view(tmp_path: Path) -> None:
    assert resolve_filters(scan(tmp_path), FilterSpec()) is None
