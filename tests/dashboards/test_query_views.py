from __future__ import annotations

from pathlib import Path

from dashboards.query.catalog import scan
from dashboards.query.filters import NO_BASE, FilterSpec
from dashboards.query.views import open_view


def test_names_resolve_and_unknown_ones_fall_back(data: Path) -> None:
    catalog = scan(data)
    newest = catalog.finished("evals")[0].name
    other = catalog.finished("evals")[1].name
    view = open_view(catalog, FilterSpec(run="nope", base="../x"))
    assert view and view.base and (view.run.name, view.base.name) == (newest, other)
    view = open_view(catalog, FilterSpec(run=other, base=other))
    assert view and view.base and (view.run.name, view.base.name) == (other, newest)
    view = open_view(catalog, FilterSpec(base=NO_BASE))
    assert view and view.base is None


def test_no_evaluation_no_view(tmp_path: Path) -> None:
    assert open_view(scan(tmp_path), FilterSpec()) is None
