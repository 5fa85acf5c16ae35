"""All rows of a page's view as a stream in the page's order, in bounded memory: what exports and notebooks read."""

from __future__ import annotations

import contextlib
import glob
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from dashboards.data.agreement import SideSpec, chosen_runs, panel, side_rows
from dashboards.data.answers import matching_rows
from dashboards.data.catalog import Catalog, Folder, scan
from dashboards.data.comparison import rank_slices
from dashboards.data.confusion import confusion
from dashboards.data.engine import Connection, quoted, unreadable
from dashboards.data.filters import NO_BASE, FilterSpec, resolve_filters
from dashboards.data.outcomes import words_of
from dashboards.data.predictions import open_predictions, pair
from dashboards.data.reviews import as_rows, read_decisions
from winnow.errors import UserError

Parameters = Mapping[str, Sequence[str]]
BATCH_ROWS = 50_000
_MEMORY = "400MB"  # of one export; DuckDB sorts what does not fit on disk


def view_of(address: str) -> tuple[str, dict[str, list[str]]]:
    """Page and parameters of a page's address, with or without its host: ``failures?run=demo&outcome=Wrong``."""
    parts = urlsplit(address)
    return parts.path.rstrip("/").rpartition("/")[2], parse_qs(parts.query)


def reading(data: Path, page: str, parameters: Parameters) -> AbstractContextManager[pa.RecordBatchReader]:
    """The rows of a page's view.

    Raises:
        UserError: the page has no rows, or the view names something that is not there.
    """
    if page not in VIEWS:
        raise UserError(f"{page or 'this page'!r} has no rows to load; pages that have: {', '.join(VIEWS)}")
    return VIEWS[page](data, parameters)


def _failures(data: Path, parameters: Parameters) -> AbstractContextManager[pa.RecordBatchReader]:
    """All columns of predictions.parquet, ``right``, and with a baseline ``baseline_answer`` and ``baseline_right``."""
    spec, catalog = FilterSpec.from_parameters(parameters), scan(data)
    for name in (spec.run, spec.base):
        if name not in ("", NO_BASE):
            _evaluation(catalog, data, name)
    view = resolve_filters(catalog, spec)
    if view is None:
        raise UserError(f"{data / 'evals'}: holds no finished evaluation")
    rows, table = matching_rows(view), open_predictions(view.run)
    picked = {"place": np.arange(len(rows), dtype=np.int32), "row": rows}
    columns, sources, values = 'p.* EXCLUDE (file_row_number, correct), p.correct AS "right"', "", [table.path]
    if view.base:
        before = open_predictions(view.base)
        picked["base_row"] = pair(view.run, view.base).partner[rows]
        columns += ", b.answer AS baseline_answer, b.correct AS baseline_right"
        sources = f"""LEFT JOIN (SELECT file_row_number, coalesce(extracted, raw) AS answer,
            {before.correct_sql()} AS correct FROM read_parquet(?, file_row_number = true)
            ) b ON b.file_row_number = picked.base_row"""
        values.append(before.path)
    sql = f"""SELECT {columns} FROM picked JOIN (SELECT *, {table.correct_sql()} AS correct
        FROM read_parquet(?, file_row_number = true)) p ON p.file_row_number = picked.row {sources}
        ORDER BY picked.place"""
    return _streamed(data, sql, values, pa.table(picked))


def _side_by_side(data: Path, parameters: Parameters) -> AbstractContextManager[pa.RecordBatchReader]:
    """Id, task, question and references, then ``answer <run>`` and ``right <run>`` of each run, and their agreement."""
    spec, catalog = SideSpec.from_parameters(parameters), scan(data)
    for name in (*spec.runs, *spec.right, *spec.wrong):
        _evaluation(catalog, data, name)
    runs = chosen_runs(catalog, spec.runs)
    if len(runs) < 2:
        raise UserError("the view names fewer than two runs; choose two or more on the page and copy its address")
    found, places = panel(runs, spec.task), side_rows(runs, spec)
    picked = {"place": np.arange(len(places), dtype=np.int32), "different_answers": found.different()[places]}
    columns, sources, values = [], [], []
    for number, run in enumerate(runs):
        table = open_predictions(run)
        picked[f"row_{number}"] = found.rows[number][places]
        columns += [
            f"p{number}.answer AS {quoted(f'answer {run.name}')}", f"p{number}.correct AS {quoted(f'right {run.name}')}"
        ]  # fmt: skip
        sources.append(
            f"""JOIN (SELECT *, coalesce(extracted, raw) AS answer, {table.correct_sql()} AS correct
            FROM read_parquet(?, file_row_number = true)
            ) p{number} ON p{number}.file_row_number = picked.row_{number}"""
        )
        values.append(table.path)
    right = " + ".join(f"coalesce(p{number}.correct::INTEGER, 0)" for number in range(len(runs)))
    sql = f"""SELECT p0.sample_id, p0.task, p0.question, p0."references", {", ".join(columns)},
        {right} AS runs_right, different_answers FROM picked {" ".join(sources)} ORDER BY picked.place"""
    return _streamed(data, sql, values, pa.table(picked))


def _slices(data: Path, parameters: Parameters) -> AbstractContextManager[pa.RecordBatchReader]:
    """One row a slice of ``run`` and ``slices_task``, most excess errors first."""
    run, task = _run_and_task(data, parameters)
    rows = [
        {"slice": " and ".join(f"{name}={value}" for name, value in ranked.where)}
        | asdict(ranked.excess)
        | {"q": ranked.q}
        for ranked in rank_slices(run, task).slices
    ]
    return _small(pd.DataFrame(rows))


def _confusions(data: Path, parameters: Parameters) -> AbstractContextManager[pa.RecordBatchReader]:
    """One row a cell of the confusion matrix of ``run`` and ``slices_task`` that holds any; null is "all other"."""
    run, task = _run_and_task(data, parameters)
    found = confusion(run, task)
    rows = [] if found is None else [
        {"expected": found.expected[row], "answered": found.answered[column], "rows": int(found.counts[row, column])}
        for row, column in zip(*np.nonzero(found.counts), strict=True)
    ]  # fmt: skip
    return _small(pd.DataFrame(rows, columns=["expected", "answered", "rows"]))


def _duplicates(data: Path, parameters: Parameters) -> AbstractContextManager[pa.RecordBatchReader]:
    """The rows that a curated set dropped as duplicates, by group: what replaced them and how far apart they are."""
    catalog, names = scan(data), parameters.get("set", ())
    folder = catalog.find("curated", names[-1]) if names else next(iter(catalog.finished("curated")), None)
    if folder is None:
        raise UserError(f"{data / 'curated'}: holds no finished set{f' named {names[-1]}' if names else ''}")
    sql = """SELECT duplicate_group, sample_id, representative, duplicate_distance, hamming FROM read_parquet(?)
        WHERE representative IS NOT NULL AND decision = 'drop' ORDER BY duplicate_group, position"""
    return _streamed(data, sql, [folder.file("decisions.parquet")])


def _corrections(data: Path, parameters: Parameters) -> AbstractContextManager[pa.RecordBatchReader]:
    """The lines of decisions as the page lists them; ``states`` and ``by`` keep those in a state or of a reviewer."""
    states, names = set(parameters.get("states", ())), set(parameters.get("by", ()))
    decisions = [
        item
        for item in read_decisions(data / "corrections")
        if (not states or item.state in states) and (not names or item.line.reviewer in names)
    ]
    return _small(pd.DataFrame(as_rows(decisions, words_of(decisions, scan(data)))))


VIEWS: dict[str, Callable[[Path, Parameters], AbstractContextManager[pa.RecordBatchReader]]] = {
    "failures": _failures,
    "side_by_side": _side_by_side,
    "slices": _slices,
    "confusions": _confusions,
    "duplicates": _duplicates,
    "corrections": _corrections,
}


def _run_and_task(data: Path, parameters: Parameters) -> tuple[Folder, str]:
    catalog = scan(data)
    last = {name: values[-1] for name, values in parameters.items() if values}
    for name in ("run", "slices_task"):
        if name not in last:
            raise UserError(f"the view names no {name.removeprefix('slices_')}; copy the address that the page exports")
    return _evaluation(catalog, data, last["run"]), last["slices_task"]


def _evaluation(catalog: Catalog, data: Path, name: str) -> Folder:
    found = catalog.find("evals", name)
    if found is None:
        raise UserError(f"{data / 'evals'}: holds no finished evaluation named {name!r}")
    return found


@contextlib.contextmanager
def _streamed(
    data: Path, sql: str, values: Sequence[str], picked: pa.Table | None = None
) -> Iterator[pa.RecordBatchReader]:
    """The result of a query in a locked connection of its own, whose sorting may use a temporary folder.

    Args:
        picked: is the table of that name in the query.
    """
    with tempfile.TemporaryDirectory(prefix="winnow-export-") as spill, duckdb.connect(":memory:") as connection:
        _lock(connection, data, spill)
        if picked is not None:
            connection.register("picked", picked)
        try:
            yield connection.sql(sql, params=list(values)).to_arrow_reader(BATCH_ROWS)
        except duckdb.Error as error:
            raise unreadable(error) from error


def _lock(connection: Connection, data: Path, spill: str) -> None:
    """Permit this connection to read the data folder only, see ``engine.connect``."""
    folder = str(data.resolve())
    connection.execute("SET threads = 2")
    connection.execute(f"SET memory_limit = '{_MEMORY}'")
    connection.execute("SET temp_directory = ?", [spill])
    connection.execute("SET allowed_directories = [?, ?]", [folder, glob.escape(folder)])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


@contextlib.contextmanager
def _small(frame: pd.DataFrame) -> Iterator[pa.RecordBatchReader]:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    yield pa.RecordBatchReader.from_batches(table.schema, table.to_batches())
