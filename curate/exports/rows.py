"""The rows of a finished curation, as exporters get them: kept or flagged, in input order, pictures located."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.preflight import locate
from curate.report.results import ASSIGNED_SPLIT, SAMPLES_TABLE
from curate.sample import Sample
from curate.workspace import read_batches
from winnow.errors import UserError
from winnow.records import from_record
from winnow.run import read_manifest

ONE_SPLIT = "train"  # what a set that is not split is called
_NO_CAP = 1 << 62


class Unfit(Exception):
    """A row that the format at hand cannot hold; the text says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row to export.

    Attributes:
        position: in the input of the curation.
        sample: the record.
        split: the split that it was assigned to, ``train`` if the set is not split.
        files: absolute path of each picture.
        sizes: bytes of each picture.
        keys: hex sha256 of each picture when it was measured.
    """

    position: int
    sample: Sample
    split: str
    files: tuple[str, ...]
    sizes: tuple[int, ...]
    keys: tuple[str, ...]


Reject = Callable[[str, str], None]  # sample_id, reason


@dataclass(frozen=True)
class Curated:
    """What exporters read of a curation.

    Attributes:
        folder: where it lies.
        name: of its recipe.
        root: folder below which its pictures lie.
        licenses: of its sources, each once.
        splits: names of the splits; one if the set is not split.
    """

    folder: Path
    name: str
    root: Path
    licenses: tuple[str, ...] = ()
    splits: tuple[str, ...] = (ONE_SPLIT,)

    def __len__(self) -> int:
        """Rows of the table, dropped ones included."""
        return int(pq.read_metadata(self.folder / SAMPLES_TABLE).num_rows)

    def rows(self, reject: Reject) -> Iterator[Row | None]:
        """Kept and flagged rows; None for a row that is not exported, so that progress can be counted.

        Raises:
            UserError: a picture that was measured is gone.
        """
        table = self.folder / SAMPLES_TABLE
        wanted = ["position", "sample_id", "images", "image_keys", "decision", "record"]
        if ASSIGNED_SPLIT in pq.read_schema(table).names:
            wanted.append(ASSIGNED_SPLIT)
        root = str(self.root.resolve())
        for batch in read_batches(table, wanted):
            kept = batch.filter(pc.not_equal(batch.column("decision"), "drop"))
            yield from [None] * (batch.num_rows - kept.num_rows)
            for values in kept.to_pylist():
                yield self._row(values, root, reject)

    def _row(self, values: dict[str, Any], root: str, reject: Reject) -> Row | None:
        if None in values["image_keys"]:
            lost = values["images"][values["image_keys"].index(None)]
            reject(values["sample_id"], f"its picture {lost} could not be read")
            return None
        found = [locate(path, root, max_bytes=_NO_CAP) for path in values["images"]]
        for path, one in zip(values["images"], found, strict=True):
            if one.file is None:
                raise UserError(
                    f"{self.root / path}: was measured, but now is {one.error}; put it back, or run the curation again"
                )
        sample = replace(from_record(json.loads(values["record"])), id=values["sample_id"])
        return Row(
            position=values["position"],
            sample=sample,
            split=values.get(ASSIGNED_SPLIT) or self.splits[0],
            files=tuple(one.file for one in found if one.file),
            sizes=tuple(one.size for one in found),
            keys=tuple(values["image_keys"]),
        )


def open_curated(folder: Path) -> Curated:
    """A finished curation.

    Raises:
        UserError: the folder is unfinished, or no curation.
    """
    manifest = read_manifest(folder, finish_with="curate run RECIPE")
    if manifest.get("stage") != "curate":
        raise UserError(f"{folder}: was not made by `curate run`; give the folder of a curation")
    recipe = manifest["recipe"]
    return Curated(
        folder=folder,
        name=recipe["name"],
        root=Path(manifest["image_root"]),
        licenses=tuple(dict.fromkeys(one["license"] for one in recipe["sources"] if one.get("license"))),
        splits=tuple((recipe.get("splits") or {}).get("shares") or (ONE_SPLIT,)),
    )
