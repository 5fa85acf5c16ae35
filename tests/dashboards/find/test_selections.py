"""Selections: kept by ids, found again after a folder was remade, and never outside their folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dashboards.data.catalog import scan
from dashboards.find.selections import open_selection, save_selection
from dashboards.review.queues import Queue, entries
from winnow.errors import UserError


def test_rows_come_back_in_their_order(own: Path) -> None:
    catalog = scan(own)
    run, folder = catalog.find("evals", "demo-tuned"), catalog.find("curated", "demo")
    assert run and folder
    for where, rows in ((run, [7, 2, 40]), (folder, [59, 0])):
        name = save_selection("a title", where, rows)
        assert name == save_selection("a title", where, np.array(rows, dtype=np.int32)), "named by content"
        found = open_selection(catalog, name)
        assert found and found.folder == where and found.rows.tolist() == rows and found.lost == 0
        queued = entries(catalog, Queue("selection", (("name", name),)))
        assert queued.row_of.tolist() == rows and queued.folders == (where,) and "a title" in queued.title


def test_rows_are_found_again_by_id_when_the_table_is_remade(own: Path) -> None:
    run = scan(own).find("evals", "demo-tuned")
    assert run
    name = save_selection("x", run, [1, 5, 45])
    path = run.path / "predictions.parquet"
    table = pd.read_parquet(path)
    table.drop(index=5).iloc[::-1].to_parquet(path)
    found = open_selection(scan(own), name)
    assert found and found.lost == 1
    again = pd.read_parquet(path)["sample_id"].tolist()
    assert [again[row] for row in found.rows] == table["sample_id"][[1, 45]].tolist()


def test_what_is_gone_is_said(own: Path) -> None:
    catalog = scan(own)
    run = catalog.find("evals", "demo-tuned")
    assert run
    name = save_selection("x", run, [1])
    for unknown in ("", "0" * 16, "../../x", name.upper() + "/"):
        assert open_selection(catalog, unknown) is None
        assert "no longer there" in entries(catalog, Queue("selection", (("name", unknown),))).problem
    (run.path / "manifest.json").unlink()
    left = open_selection(scan(own), name)
    assert left and left.folder is None and left.lost == 1
    (own / "cache" / "selections" / f"{name}.parquet").write_bytes(b"torn")
    with pytest.raises(UserError, match="select the rows again"):
        open_selection(catalog, name)
