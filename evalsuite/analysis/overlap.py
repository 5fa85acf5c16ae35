"""Which images of an evaluation the model was trained on, from the signals of the curated set.

An image is touched when curation kept the same bytes for training, or an image that looks the same
(``curate.duplicates``: a hash proposes, the thumbnail confirms).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evalsuite.analysis.results import TaskResult
from evalsuite.metrics.base import Row
from evalsuite.statistics import Estimate, Floats, bounds, intervals, property_of
from evalsuite.store import SLICE
from winnow.errors import UserError
from winnow.parquet.tables import parquet
from winnow.run import read_manifest

COLUMN = SLICE + "contamination"
CLEAN, TOUCHED = "clean", "touched"
_FINISH = "curate run RECIPE"


def touched_images(folder: Path, files: Mapping[str, str]) -> dict[str, str]:
    """The images of an evaluation that the curated set in ``folder`` kept, as ``bytes`` or ``look``.

    Args:
        files: image_key → file of every image of the evaluation.

    Raises:
        UserError: the folder is no finished curation.
    """
    import duckdb

    if read_manifest(folder, finish_with=_FINISH).get("stage") != "curate":
        raise UserError(f"{folder}: is no curated set; `training_set` names the folder that `curate run` wrote")
    with duckdb.connect(":memory:") as connection:
        kept = _kept_keys(connection, folder)
        found = {key: "bytes" for key in files if key in kept}
        rest = {key: file for key, file in files.items() if key not in kept}
        found.update(dict.fromkeys(_same_looks(connection, folder, rest), "look"))
    return found


def _kept_keys(connection: Any, folder: Path) -> set[str]:
    """Image keys of the kept rows; also the view ``kept``."""
    samples = parquet([folder / "samples.parquet"])
    connection.execute(
        f"CREATE VIEW kept AS SELECT DISTINCT unnest(image_keys) AS image_key FROM {samples} WHERE decision <> 'drop'"
    )
    return {key for (key,) in connection.execute("SELECT image_key FROM kept").fetchall() if key}


def _same_looks(connection: Any, folder: Path, files: Mapping[str, str]) -> list[str]:
    """Keys of ``files`` that look like a kept image."""
    from curate.duplicates.images.fingerprints import ImageFingerprints, matching_pairs, read_fingerprints
    from curate.settings.copies import MatchSettings

    parts = sorted((folder / "signals").glob("part-*.parquet"))
    if not files or not parts:
        return []
    kept = (
        "SELECT row_number() OVER () - 1 AS rank, phash, dhash, thumbnail, width, height "
        f"FROM {parquet(parts)} "
        "WHERE thumbnail IS NOT NULL AND phash IS NOT NULL AND image_key IN (SELECT image_key FROM kept)"
    )
    ((count,),) = connection.execute(f"SELECT count(*) FROM ({kept})").fetchall()
    ours = look_signals(folder, files)
    if not count or not ours:
        return []
    keys = list(ours)
    hashes = np.array([ours[key][:2] for key in keys], np.uint64)
    sides = np.array([ours[key][3] for key in keys], np.float32)
    thumbnails = np.frombuffer(b"".join(ours[key][2] for key in keys), np.uint8).reshape(len(keys), -1)
    evaluated = ImageFingerprints.of(hashes[:, 0], hashes[:, 1], thumbnails, sides)
    with tempfile.TemporaryDirectory() as scratch:
        train = read_fingerprints(connection, kept, count, Path(scratch) / "thumbnails.u8")
        met = {keys[place] for _, j, _ in matching_pairs(train, evaluated, MatchSettings()) for place in j.tolist()}
        del train
    return [key for key in keys if key in met]


def look_signals(folder: Path, files: Mapping[str, str]) -> dict[str, tuple[int, int, bytes, int]]:
    """(phash, dhash, thumbnail, shorter side) by image key: the curated set's own, measured here where it has none."""
    from curate.signals import measure_pixels
    from evalsuite.backends.images import load_image
    from winnow.progress import track

    found = {
        key: (row["phash"], row["dhash"], row["thumbnail"], min(row["width"], row["height"]))
        for key, row in stored_signals(folder, files, ["phash", "dhash", "thumbnail", "width", "height"]).items()
        if row["thumbnail"] is not None and row["phash"] is not None
    }
    missing = [key for key in files if key not in found]
    for key in track(missing, "measuring test images", len(missing)) if missing else ():
        image, _ = load_image(files[key])
        if image is not None:
            columns = measure_pixels(image, ("hashes", "thumbnail"))
            found[key] = (columns["phash"], columns["dhash"], columns["thumbnail"], min(image.size))
    return found


def stored_signals(folder: Path, keys: Mapping[str, Any], columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Signals of the curated set, its evaluation sets included, by image key; columns that it lacks are null."""
    import duckdb
    import pyarrow as pa

    parts = [*sorted((folder / "signals").glob("part-*.parquet")),
             *sorted((folder / "against").glob("*/signals/part-*.parquet"))]  # fmt: skip
    if not parts or not keys:
        return {}
    with duckdb.connect(":memory:") as connection:
        connection.register("wanted", pa.table({"image_key": pa.array(list(keys), pa.string())}))
        source = parquet(parts, "union_by_name = true")
        there = {row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
        chosen = ", ".join(f'"{name}"' if name in there else f'NULL AS "{name}"' for name in columns)
        query = f"SELECT image_key, {chosen} FROM {source} WHERE image_key IN (SELECT image_key FROM wanted)"
        rows = connection.execute(query).fetchall()
    return {row[0]: dict(zip(columns, row[1:], strict=True)) for row in rows}


def flag_overlap(rows: Sequence[Row], touched: Mapping[str, str]) -> None:
    """Give every row with an image its overlap flag: the slice ``contamination``, ``clean`` or ``touched``."""
    for row in rows:
        if row["image_keys"]:
            row[COLUMN] = TOUCHED if any(key in touched for key in row["image_keys"]) else CLEAN


def overlap_scores(result: TaskResult, seed: int) -> dict[str, Any] | None:
    """Scores of clean and of touched rows, and touched minus clean; None if no row is flagged."""
    flags = property_of(flag or "" for flag in result.rows.column(COLUMN))
    masks = {
        name: flags.codes == (flags.values.index(name) if name in flags.values else -1) for name in (CLEAN, TOUCHED)
    }
    if not any(mask.any() for mask in masks.values()):
        return None
    parts: list[tuple[Floats, Estimate, np.ndarray | None]] = []
    for column in result.columns:
        both = np.concatenate([column.sums * masks[TOUCHED][:, None], column.sums * masks[CLEAN][:, None]], axis=1)
        parts += [(column.sums, column.estimate, mask) for mask in masks.values()]
        parts.append((both, _difference(column.estimate, column.sums.shape[1]), None))
    answered = result.answered
    found = iter(intervals(parts, result.clusters, seed=seed))
    entry: dict[str, Any] = {
        name: {"n": int(mask.sum()), "coverage": float(answered[mask].mean()) if mask.any() else None}
        for name, mask in masks.items()
    }
    entry["difference"] = {}
    for column in result.columns:
        for part in (CLEAN, TOUCHED, "difference"):
            entry[part][column.name] = bounds(next(found))
    return entry


def _difference(estimate: Estimate, width: int) -> Estimate:
    return lambda sums: estimate(sums[:, :width]) - estimate(sums[:, width:])
