"""Loss per sample and epoch, taken from the forward pass that trains, and kept across kills and resumes."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from finetune.data.rows import Rows
from winnow.files import atomic_path

_PART = pa.schema(
    [("row", pa.int64()), ("epoch", pa.int32()), ("loss", pa.float64()), ("tokens", pa.int32()), ("step", pa.int32())]
)
MARGINS = "margins.parquet"
PAIR_COLUMNS = ("pair_loss", "chosen_reward", "rejected_reward")  # of preference pairs, beside the others


class LossSink(Protocol):
    """Receives the losses of each batch."""

    def add(
        self, rows: np.ndarray, epochs: np.ndarray, losses: np.ndarray, tokens: np.ndarray, step: int,
        **pairs: np.ndarray,
    ) -> None:  # fmt: skip
        """Losses of a batch in mean nats per trained token; arrays of shape (answers,).

        Args:
            pairs: for preference pairs, of which only the chosen answers are added: ``PAIR_COLUMNS``.
        """


class LossStore:
    """Collects losses in memory and writes them beside each checkpoint.

    A part file is named by stage, last step and process, so that a run resumed from a checkpoint
    knows which parts come after it.
    """

    def __init__(self, folder: Path, stage: int, process: int) -> None:
        self.folder, self.stage, self.process = folder, stage, process
        self._parts: list[tuple[np.ndarray, ...]] = []

    def add(
        self, rows: np.ndarray, epochs: np.ndarray, losses: np.ndarray, tokens: np.ndarray, step: int,
        **pairs: np.ndarray,
    ) -> None:  # fmt: skip
        """See ``LossSink``."""
        columns = (rows, epochs, losses, tokens, np.full(len(rows), step, dtype=np.int32))
        self._parts.append((*columns, *(pairs[name] for name in PAIR_COLUMNS if pairs)))

    def flush(self, step: int) -> None:
        """Write the losses since the last flush as the part that ends at ``step``."""
        if not self._parts:
            return
        columns = [np.concatenate(column) for column in zip(*self._parts, strict=True)]
        with atomic_path(self.folder / f"{self.stage:02d}-{step:09d}-{self.process:04d}.parquet") as temporary:
            fields = list(_PART) + [pa.field(name, pa.float64()) for name in PAIR_COLUMNS]
            pq.write_table(pa.table(columns, schema=pa.schema(fields[: len(columns)])), temporary)
        self._parts = []

    def forget_after(self, step: int) -> None:
        """Remove this stage's parts that end after ``step``, as their steps will run again."""
        for path in self.folder.glob(f"{self.stage:02d}-*-*.parquet"):
            if int(path.stem.split("-")[1]) > step:
                path.unlink(missing_ok=True)


class LossTally:
    """Collects the losses of an evaluation, counting each row once: batches may be padded with earlier rows.

    Attributes:
        by_row: row number → (mean loss, tokens) of each of its answers.
    """

    def __init__(self) -> None:
        self.by_row: dict[int, list[tuple[float, int]]] = {}

    def add(
        self, rows: np.ndarray, epochs: np.ndarray, losses: np.ndarray, tokens: np.ndarray, step: int,
        **pairs: np.ndarray,
    ) -> None:  # fmt: skip
        """See ``LossSink``."""
        batch: dict[int, list[tuple[float, int]]] = {}
        for row, loss, count in zip(rows.tolist(), losses.tolist(), tokens.tolist(), strict=True):
            batch.setdefault(row, []).append((loss, count))
        self.by_row = {**batch, **self.by_row}


def read_parts(folder: Path) -> pa.Table:
    """The losses of all part files: row, epoch, loss, tokens, step, stage, and ``total`` (loss times tokens)."""
    tables = []
    for path in sorted(folder.glob("*.parquet")):
        part = pq.read_table(path)
        tables.append(part.append_column("stage", pa.array([int(path.stem[:2])] * len(part), pa.int32())))
    losses = pa.concat_tables(tables)
    return losses.append_column("total", pa.compute.multiply(losses["loss"], losses["tokens"].cast(pa.float64())))


def write_sample_losses(losses: pa.Table, rows: Rows, target: Path) -> int:
    """Write ``losses.parquet``, a line for each sample, stage and epoch; returns the number of lines.

    The loss of a sample with several answers is the mean over all their tokens.
    """
    summed = losses.group_by(["stage", "epoch", "row"]).aggregate([("total", "sum"), ("tokens", "sum")])
    summed = summed.sort_by([("stage", "ascending"), ("epoch", "ascending"), ("row", "ascending")])
    samples = {row: rows[row] for row in summed["row"].unique().to_pylist()}
    used = [samples[row] for row in summed["row"].to_pylist()]
    table = pa.table(
        {
            "sample_id": [sample.id for sample in used],
            "source": [sample.source for sample in used],
            "stage": summed["stage"],
            "epoch": summed["epoch"],
            "loss": pa.compute.divide(summed["total_sum"], summed["tokens_sum"].cast(pa.float64())),
            "tokens": summed["tokens_sum"].cast(pa.int32()),
        }
    )
    with atomic_path(target) as temporary:
        pq.write_table(table, temporary)
    return len(table)


def write_margins(losses: pa.Table, rows: Rows, target: Path) -> pa.Table:
    """Write ``margins.parquet``, a line for each preference pair, stage and epoch; returns the table.

    ``loss`` is the pair's loss, ``chosen`` and ``rejected`` are the rewards of its answers, ``margin`` is their
    difference; a pair that an epoch uses more than once has their means.
    """
    keys = ["stage", "epoch", "row"]
    means = losses.group_by(keys).aggregate([(name, "mean") for name in PAIR_COLUMNS])
    means = means.sort_by([(key, "ascending") for key in keys])
    samples = {row: rows[row] for row in means["row"].unique().to_pylist()}
    used = [samples[row] for row in means["row"].to_pylist()]
    loss, chosen, rejected = (means[f"{name}_mean"] for name in PAIR_COLUMNS)
    table = pa.table(
        {
            "sample_id": [sample.id for sample in used],
            "source": [sample.source for sample in used],
            "stage": means["stage"],
            "epoch": means["epoch"],
            "loss": loss,
            "chosen": chosen,
            "rejected": rejected,
            "margin": pa.compute.subtract(chosen, rejected),
        }
    )
    with atomic_path(target) as temporary:
        pq.write_table(table, temporary)
    return table


def write_source_losses(losses: pa.Table, rows: Rows, target: Path) -> pa.Table:
    """Write ``source_losses.parquet``, the loss per trained token of each source at each step; returns the table."""
    source_of = {row: rows[row].source for row in losses["row"].unique().to_pylist()}
    sources = pa.array([source_of[row] for row in losses["row"].to_pylist()], pa.string())
    named = losses.append_column("source", sources)
    keys = ["stage", "step", "source"]
    summed = named.group_by(keys).aggregate([("total", "sum"), ("tokens", "sum")])
    summed = summed.sort_by([(key, "ascending") for key in keys])
    loss = pa.compute.divide(summed["total_sum"], summed["tokens_sum"].cast(pa.float64()))
    table = summed.select(keys).append_column("loss", loss).append_column("tokens", summed["tokens_sum"])
    with atomic_path(target) as temporary:
        pq.write_table(table, temporary)
    return table
