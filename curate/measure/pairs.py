"""Scores of an image–text matching model, one a row: ``signals/itm.parquet``. Only new pairs are scored, once each."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.measure.embeddings import TextEmbeddings
from curate.measure.itm import load_matcher, matcher_name
from curate.measure.pool import batched
from curate.measure.store import CACHE
from curate.measure.texts import turn_texts
from curate.recipe import MeasureSettings
from curate.workspace import Workspace
from winnow.images import decode_whole
from winnow.progress import track
from winnow.records import from_record
from winnow.tables import write_parquet

_SCHEMA = pa.schema([("sample_id", pa.string()), ("itm", pa.float64())])
_BLOCK = 1024
_TURNS = 64  # of a row that are scored; later ones are not


Pair = tuple[str, str, str]  # key of the image, its path, the text


def write_pairs(workspace: Workspace, image_root: Path, settings: MeasureSettings, *, score_new: bool) -> None:
    """Write the lowest score of each row over its images and assistant turns; null where a pair has none.

    Scores are kept by pair as float16, in the order of the rows and in whole batches, so that a run that was killed
    continues with the same bytes.

    Args:
        score_new: open images to score the pairs that are not stored; else rows with such pairs get null.

    Raises:
        UserError: the model cannot be loaded, or the file cannot be written.
    """
    name = settings.itm or ""
    model = functools.cache(functools.partial(load_matcher, name))
    (workspace.signals / CACHE).mkdir(exist_ok=True)
    stored = TextEmbeddings(workspace.signals, f"itm {matcher_name(name)}", 1)

    def tables() -> Iterator[pa.Table]:
        rows = track(_rows(workspace), "match images and texts", workspace.corrected.row_count())
        for block in batched(rows, _BLOCK):
            if score_new:
                _score({pair: None for _, pairs in block for pair in pairs}, stored, image_root, settings, model)
            found = [{"sample_id": row, "itm": _lowest(pairs, stored)} for row, pairs in block]
            yield pa.Table.from_pylist(found, _SCHEMA)

    write_parquet(workspace.itm, tables(), _SCHEMA)


def _rows(workspace: Workspace) -> Iterator[tuple[str, list[Pair]]]:
    """Id and pairs of every row that could be read."""
    for batch in workspace.corrected.batches(["sample_id", "record", "bad_row", "images", "image_keys"]):
        for row in batch.to_pylist():
            if row["bad_row"] is None:
                texts = turn_texts(from_record(json.loads(row["record"])))[:_TURNS]
                images = [each for each in zip(row["image_keys"], row["images"], strict=True) if each[0] is not None]
                yield row["sample_id"], [(key, path, text) for key, path in images for text in texts]


def _stored_as(pair: Pair) -> str:
    return f"{pair[0]} {pair[2]}"


def _score(pairs: dict[Pair, None], stored: TextEmbeddings, root: Path, settings: MeasureSettings, model: Any) -> None:
    new = {_stored_as(pair): pair for pair in pairs}
    for batch in batched(stored.missing(new), settings.batch_size):
        images = {path: _open(root / path, settings) for path in dict.fromkeys(new[name][1] for name in batch)}
        there = [name for name in batch if images[new[name][1]] is not None]
        if there:
            scores = model().scores([images[new[name][1]] for name in there], [new[name][2] for name in there])
            stored.append(there, scores.astype(np.float16)[:, None])


def _open(file: Path, settings: MeasureSettings) -> Any:
    """The image as RGB, or None."""
    try:
        data = file.read_bytes()
    except OSError:
        return None
    return decode_whole(data, max_bytes=settings.max_bytes, max_pixels=settings.max_pixels).image


def _lowest(pairs: list[Pair], stored: TextEmbeddings) -> float | None:
    names = [_stored_as(pair) for pair in pairs]
    if not names or stored.missing(names):
        return None
    return float(stored.values()[[stored.row(name) for name in names]].min())
