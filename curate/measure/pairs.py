"""Scores of an image–text matching model, one a row: ``signals/itm.parquet``. Only new pairs are scored, once each."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.engines import batched, open_pool
from curate.engines.pool import Pool
from curate.engines.worker import Unreachable
from curate.measure.embeddings import TextEmbeddings
from curate.measure.itm import Matcher, load_matcher, matcher_name
from curate.measure.mirrored import Mirrored
from curate.measure.models import is_out_of_memory
from curate.measure.store import CACHE
from curate.measure.texts import turn_texts
from curate.settings.signals import MeasureSettings
from curate.workspace import Workspace
from winnow.errors import UserError, is_unreachable
from winnow.media.images import decode_whole
from winnow.parquet.tables import write_parquet
from winnow.progress import track
from winnow.rows.records import from_record

_SCHEMA = pa.schema([("sample_id", pa.string()), ("itm", pa.float64())])
_BLOCK = 1024
_TURNS = 64  # of a row that are scored; later ones are not


Pair = tuple[str, str, str]  # key of the image, its path, the text
Score = Callable[[list[list[Pair]]], list[list[float | None]]]


def write_pairs(
    workspace: Workspace, image_root: Path, settings: MeasureSettings, *, score_new: bool,
    sources: Sequence[Path] = (), mirrored: Mirrored | None = None,
) -> None:  # fmt: skip
    """Write the lowest score of each row over its images and assistant turns; null where a pair has none.

    Scores are kept by pair as float16, in the order of the rows and in whole batches, so that a run that was killed
    continues with the same bytes.

    Args:
        score_new: open images to score the pairs that are not stored; else rows with such pairs get null.
        sources: folders in ``image_root`` that hold the images.
        mirrored: brings images from object storage where workers are on other machines.

    Raises:
        UserError: the model cannot be loaded, or the file cannot be written.
    """
    name = settings.itm or ""
    (workspace.signals / CACHE).mkdir(exist_ok=True)
    stored = TextEmbeddings(workspace.signals, f"itm {matcher_name(name)}", 1)
    score = functools.partial(_scores, name, image_root, mirrored, settings.max_bytes, settings.max_pixels)

    def tables(pool: Pool) -> Iterator[pa.Table]:
        rows = track(_rows(workspace), "match images and texts", workspace.corrected.row_count())
        for block in batched(rows, _BLOCK):
            if score_new:
                _score({pair: None for _, pairs in block for pair in pairs}, stored, score, settings.batch_size, pool)
            found = [{"sample_id": row, "itm": _lowest(pairs, stored)} for row, pairs in block]
            yield pa.Table.from_pylist(found, _SCHEMA)

    with contextlib.ExitStack() as stack:
        stack.callback(_matcher.cache_clear)
        # Without new pairs to score nothing runs there.
        engine = settings.engine if score_new else "local"
        pool = stack.enter_context(open_pool(engine, settings.workers, [*sources, workspace.images]))
        write_parquet(workspace.itm, tables(pool), _SCHEMA)


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


def _score(pairs: dict[Pair, None], stored: TextEmbeddings, score: Score, batch_size: int, pool: Pool) -> None:
    new = {_stored_as(pair): pair for pair in pairs}
    batches = list(batched(stored.missing(new), batch_size))
    tasks = ([[new[name] for name in batch]] for batch in batches)
    for batch, (scores,) in zip(batches, pool.models.map(score, tasks, _crashed), strict=True):
        there = [name for name, value in zip(batch, scores, strict=True) if value is not None]
        if there:
            values = np.array([value for value in scores if value is not None], np.float16)
            stored.append(there, values[:, None])


def _scores(
    name: str, root: Path, mirrored: Mirrored | None, max_bytes: int, max_pixels: int, batches: list[list[Pair]]
) -> list[list[float | None]]:
    """Scores of batches of pairs; None where an image does not decode."""
    found = []
    for batch in batches:
        paths = list(dict.fromkeys(path for _, path, _ in batch))
        here = Path(mirrored.root(str(root), paths)) if mirrored else root
        images = {path: _open(here / path, max_bytes, max_pixels) for path in paths}
        there = [pair for pair in batch if images[pair[1]] is not None]
        try:
            shown, texts = [images[path] for _, path, _ in there], [text for *_, text in there]
            values = _matcher(name).scores(shown, texts) if there else np.empty(0)
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise Unreachable("the image-text matching model has not enough memory") from error
            raise
        scores = dict(zip(there, map(float, values), strict=True))
        found.append([scores.get(pair) for pair in batch])
    return found


@functools.lru_cache(maxsize=1)
def _matcher(name: str) -> Matcher:
    return load_matcher(name)


def _crashed(batch: list[Pair]) -> list[float | None]:
    raise UserError(
        f"itm: the model crashes on {batch[0][1]} or one of the images after it; write `itm: null` to go on"
    )


def _open(file: Path, max_bytes: int, max_pixels: int) -> Any:
    """The image as RGB, or None."""
    try:
        data = file.read_bytes()
    except OSError as error:
        if is_unreachable(error):
            raise Unreachable(f"{file}: {error.strerror or error}") from error
        return None
    return decode_whole(data, max_bytes=max_bytes, max_pixels=max_pixels).image


def _lowest(pairs: list[Pair], stored: TextEmbeddings) -> float | None:
    names = [_stored_as(pair) for pair in pairs]
    if not names or stored.missing(names):
        return None
    return float(stored.values()[[stored.row(name) for name in names]].min())
