"""Losses of training runs: over steps, over epochs by source, and of every row: which are hard to learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dashboards.data.catalog import Folder, manifest_of
from dashboards.data.engine import cached, coded, fetch, fetch_table
from evalsuite.statistics import Property

LOSSES = "losses.parquet"
_POINTS = 600  # of a stage's curve
_ROWS_ASKED_FOR = 1000  # when it is found out which set a run learned


@dataclass(frozen=True)
class LossPoint:
    """Mean loss (nats per trained token) of the logged steps that fall on one point of the curve.

    ``step`` counts on over the stages; in the file each stage starts at 1 again.
    """

    stage: str
    step: int
    epoch: float
    loss: float


@cached(64)
def loss_curve(folder: Folder) -> Sequence[LossPoint]:
    """The curve of ``metrics.jsonl``, averaged down to at most 600 points a stage.

    Raises:
        UserError: the file is unreadable.
    """
    rows = fetch(
        folder.connection,
        """
        WITH logged AS (
            SELECT coalesce(stage, 0) AS stage, step, epoch, loss
            FROM read_json(?, format = 'newline_delimited', ignore_errors = true,
                columns = {stage: 'BIGINT', step: 'BIGINT', epoch: 'DOUBLE', loss: 'DOUBLE'})
            WHERE step IS NOT NULL AND loss IS NOT NULL AND isfinite(loss)),
        placed AS (SELECT *, step * ? // (max(step) OVER (PARTITION BY stage) + 1) AS point FROM logged)
        SELECT stage, max(step) AS step, max(epoch) AS epoch, avg(loss) AS loss FROM placed
        GROUP BY stage, point ORDER BY stage, step""",
        [folder.file("metrics.jsonl"), _POINTS],
    )
    points: list[LossPoint] = []
    current, before = None, 0
    for row in rows:
        if row["stage"] != current:
            current, before = row["stage"], points[-1].step if points else 0
        name = _stage_name(manifest_of(folder), row["stage"])
        points.append(LossPoint(name, before + row["step"], row["epoch"] or 0.0, row["loss"]))
    return points


def _stage_name(manifest: Mapping[str, Any], number: int) -> str:
    """The recipe's name of a stage, or its number from 1."""
    recipe = manifest.get("recipe")
    stages = recipe.get("stages") if isinstance(recipe, Mapping) else None
    stage = stages[number] if isinstance(stages, list) and 0 <= number < len(stages) else None
    name = stage.get("name") if isinstance(stage, Mapping) else None
    return name if isinstance(name, str) and name else f"stage {number + 1}"


@dataclass(frozen=True)
class EpochLoss:
    """Mean loss of a source's rows in one epoch; epochs count from 1 on over the stages."""

    source: str
    epoch: int
    mean: float
    rows: int


@cached(64)
def losses_over_epochs(folder: Folder) -> Sequence[EpochLoss]:
    """Mean loss per source and epoch, in order of epochs; raises UserError for a broken table."""
    sql = """
        SELECT source, dense_rank() OVER (ORDER BY stage, epoch) AS epoch, mean, rows FROM (
            SELECT source, stage, epoch, avg(loss) AS mean, count(*) AS rows FROM read_parquet(?) GROUP BY ALL)
        ORDER BY epoch, source"""
    return [EpochLoss(**row) for row in fetch(folder.connection, sql, [folder.file(LOSSES)])]


@dataclass(frozen=True)
class Loss:
    """Loss of one training row: mean nats per trained token, in its first and its last epoch."""

    sample_id: str
    source: str
    first: float
    last: float
    tokens: int


@dataclass(frozen=True)
class SourceLoss:
    """Losses of the rows of one source in its last epoch: how many rows, mean, median, 95th percentile."""

    source: str
    rows: int
    mean: float
    median: float
    p95: float


@dataclass(frozen=True)
class RowLosses:
    """The trained rows, the highest last loss first; equal losses in order of the file.

    Attributes:
        place: (rows,) a row of the file that names the sample.
        key: (rows,) hash of the sample's id.
        first, last: (rows,) losses in the first and the last epoch; tokens: (rows,) trained in all epochs.
    """

    place: NDArray[np.int64]
    key: NDArray[np.uint64]
    source: Property
    first: NDArray[np.float64]
    last: NDArray[np.float64]
    tokens: NDArray[np.int64]

    def of(self, source: str) -> NDArray[np.int64]:
        """Which rows belong to a source; '' takes all."""
        if not source:
            return np.arange(len(self.place))
        code = self.source.values.index(source) if source in self.source.values else -1
        return np.flatnonzero(self.source.codes == code)


@cached(4)
def row_losses(folder: Folder) -> RowLosses:
    """The loss of every row of a run; raises UserError for a broken table."""
    # A hash stands for the id, which makes grouping twice as fast: two of a million ids share
    # one in a run of forty million.
    sql = """
        SELECT hash(sample_id) AS key, min(file_row_number) AS place, any_value(source) AS source,
               arg_min(loss, stage * 1000000000::BIGINT + epoch)::DOUBLE AS first,
               arg_max(loss, stage * 1000000000::BIGINT + epoch)::DOUBLE AS last, sum(tokens)::BIGINT AS tokens
        FROM read_parquet(?, file_row_number = true) GROUP BY key"""
    found = fetch_table(folder.connection, sql, [folder.file(LOSSES)])
    place, last = found["place"].to_numpy(), found["last"].to_numpy()
    order = np.lexsort((place, -last))
    source = coded(found["source"])
    return RowLosses(
        place=place[order],
        key=found["key"].to_numpy()[order],
        source=Property(source.values, source.codes[order]),
        first=found["first"].to_numpy()[order],
        last=last[order],
        tokens=found["tokens"].to_numpy()[order],
    )


@dataclass(frozen=True)
class RankedLoss:
    """Loss of a training row in its first and last epoch, and its place among the run's rows, 1 for the highest."""

    first: float
    last: float
    rank: int
    rows: int


@cached(64)
def losses_of(folder: Folder, ids: tuple[str, ...]) -> Mapping[str, RankedLoss]:
    """The losses of these rows, by id; ids that the run did not train on are left out.

    Raises:
        UserError: the table is broken.
    """
    if not (folder.path / LOSSES).is_file():
        return {}
    losses, order = row_losses(folder), _key_order(folder)
    (keys,) = fetch_table(folder.connection, "SELECT hash(unnest(?)) AS key", [list(ids)]).columns
    wanted = keys.to_numpy()
    places = np.searchsorted(losses.key, wanted, sorter=order)
    found = {}
    for sample_id, key, place in zip(ids, wanted, places, strict=True):
        if place < len(order) and losses.key[row := order[place]] == key:
            found[sample_id] = RankedLoss(float(losses.first[row]), float(losses.last[row]), int(row) + 1, len(order))
    return found


@cached(4)
def _key_order(folder: Folder) -> NDArray[np.intp]:
    return np.argsort(row_losses(folder).key)


@cached(64)
def highest_losses(folder: Folder, source: str, offset: int, count: int) -> Sequence[Loss]:
    """A page of the rows with the highest last loss; raises UserError for a broken table.

    Args:
        source: '' takes all.
    """
    losses = row_losses(folder)
    rows = losses.of(source)[offset : offset + count]
    sql = """
        SELECT file_row_number AS place, sample_id FROM read_parquet(?, file_row_number = true)
        WHERE file_row_number IN (SELECT unnest(?))"""
    named = fetch(folder.connection, sql, [folder.file(LOSSES), losses.place[rows].tolist()])
    ids = {row["place"]: row["sample_id"] for row in named}
    return [
        Loss(
            ids[int(losses.place[row])], losses.source.values[losses.source.codes[row]], float(losses.first[row]),
            float(losses.last[row]), int(losses.tokens[row]),
        )
        for row in rows
    ]  # fmt: skip


@cached(64)
def losses_by_source(folder: Folder) -> Sequence[SourceLoss]:
    """Losses per source, the hardest source first; raises UserError for a broken table."""
    losses = row_losses(folder)
    found = []
    for code, source in enumerate(losses.source.values):
        last = losses.last[losses.source.codes == code]
        median, p95 = np.quantile(last, [0.5, 0.95])
        found.append(SourceLoss(source, len(last), float(last.mean()), float(median), float(p95)))
    return sorted(found, key=lambda source: (-source.mean, source.source))


@cached(16)
def trained_on(run: Folder, sets: tuple[Folder, ...]) -> Folder | None:
    """The curated set that a run learned: the one that its recipe names, else the one with most of its rows.

    Where the recipe does not say, a thousand rows evenly over the file of losses decide.

    Returns: None if no set has any of them.

    Raises:
        UserError: a table is broken.
    """
    recipe = manifest_of(run).get("recipe")
    data = recipe.get("data") if isinstance(recipe, Mapping) else None
    paths = data.values() if isinstance(data, Mapping) else [data]
    named = [folder for folder in sets if folder.name in {Path(path).name for path in paths if isinstance(path, str)}]
    if len(named) == 1:
        return named[0]
    some = (
        "SELECT DISTINCT sample_id FROM read_parquet(?, file_row_number = true)"
        " WHERE file_row_number % greatest((SELECT count(*) FROM read_parquet(?)) // ?, 1) = 0"
    )
    losses = run.file(LOSSES)
    ids = [row["sample_id"] for row in fetch(run.connection, some, [losses, losses, _ROWS_ASKED_FOR])]
    held = "SELECT count(*) AS n FROM read_parquet(?) WHERE sample_id IN (SELECT unnest(?))"
    counts = [fetch(run.connection, held, [folder.file("samples.parquet"), ids])[0]["n"] for folder in sets]
    best = max(range(len(sets)), key=counts.__getitem__, default=None)
    return sets[best] if best is not None and counts[best] else None


def loss_rows(run: Folder, curated: Folder, source: str = "") -> NDArray[np.int32]:
    """Positions in a curated set of the rows that a run learned, the highest last loss first.

    Rows of other data are left out; equal losses are in order of the file of losses.

    Args:
        source: '' takes all.

    Raises:
        UserError: a table is broken.
    """
    losses = row_losses(run)
    learned = _id_hashes(run, LOSSES, "0")[0][losses.place[losses.of(source)]]
    known, position = _id_hashes(curated, "samples.parquet", "position")
    places: NDArray[np.int32] = pc.index_in(pa.array(learned), value_set=pa.array(known)).drop_null().to_numpy()
    return position[places].astype(np.int32)


def _id_hashes(folder: Folder, file: str, number: str) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """(rows,) hash of each row's id in order of a file, and a column of it; a hash stands for the id as above."""
    sql = f"SELECT hash(sample_id) AS id, {number}::BIGINT AS number FROM read_parquet(?)"
    found = fetch_table(folder.connection, sql, [folder.file(file)])
    return found["id"].to_numpy(), found["number"].to_numpy()
