"""A skewed mixture of real photographs: few pictures of some classes, repeated rows, and people's wrong answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.pipeline import run
from curate.recipe import CurateRecipe
from curate.workspace import Workspace, copy_measurements
from studies.label_noise.cifar import CLASSES, Cifar
from studies.label_noise.reader import Encoded, Lab, losses_of
from studies.label_noise.sets import Part, Row, write_rows

SKEW = 10  # the first class has so many times the pictures of the last
REPEATED, REPEATS = 0.2, 3  # share of the pictures whose rows come again, and how often


def mixture(data: Cifar, part: Part, rows: Sequence[Row]) -> list[Row]:
    """The rows of the mixture, in an order that says nothing; repeated rows have ids of their own.

    Class k of 10 keeps ``SKEW ** (-k / 9)`` of its pictures.
    """
    rng = np.random.default_rng(2)
    numbers = np.array(part.train)
    kept: list[int] = []
    for label in range(len(CLASSES)):
        of_class = rng.permutation(numbers[data.clean[numbers] == label])
        kept += of_class[: round(len(of_class) * SKEW ** (-label / (len(CLASSES) - 1)))].tolist()
    again = set(rng.permutation(kept)[: round(REPEATED * len(kept))].tolist())
    chosen = set(kept)
    found = []
    for row in rows:
        copies = (REPEATS if row.picture in again else 0) + 1 if row.picture in chosen else 0
        found += [dataclasses.replace(row, id=f"{row.id}/{copy}" if copy else row.id) for copy in range(copies)]
    return [found[at] for at in rng.permutation(len(found))]


def curated(data: Cifar, rows: Sequence[Row], measured: Path, lab: Lab, cache: Path) -> Path:
    """The mixture as a curated folder of which nothing was dropped; losses are those of one training on all of it.

    Args:
        measured: curated folder of the same pictures, whose measurements are taken over.
        lab: whose model gives ``train_loss`` and ``picture_gain``.
    """
    folder = cache / "mixture"
    file = write_rows(cache / "mixture.jsonl", (_record(row, data) for row in rows))
    losses, gains = cache / "losses.parquet", cache / "gains.parquet"
    if not gains.is_file():
        own, without = losses_of(lab.known, Encoded(rows, lab.known), lab.budget, seed=1000)
        ids = [row.id for row in rows]
        zeros = np.zeros(len(rows), np.int64)
        pq.write_table(pa.table({"sample_id": ids, "stage": zeros, "epoch": zeros, "loss": own}), losses)
        pq.write_table(pa.table({"sample_id": ids, "loss": own, "picture_gain": without - own}), gains)
    if not folder.exists():
        copy_measurements(Workspace(measured), Workspace(folder))
    recipe: dict[str, Any] = {
        "name": "mixture",
        "out": str(folder),
        "sources": [{"location": str(file), "layout": "conversations", "image_root": str(data.folder.resolve())}],
        "signals": {"embedding": "efficientnet-lite0", "workers": 1},
        "losses": [str(losses)],
        "answers": {"gains": [str(gains)]},
    }
    run(CurateRecipe.model_validate(recipe), "mixture")
    return folder


def _record(row: Row, data: Cifar) -> dict[str, Any]:
    return {
        "id": row.id,
        "source": "cifar",
        "split": "train",
        "image": str(data.train[row.picture].relative_to(data.folder)),
        "conversations": [
            {"from": "user", "value": f"<image>\n{row.question}"},
            {"from": "assistant", "value": row.answer},
        ],
        "answers": [row.answer],
        "meta": {"question_type": row.kind},
    }
