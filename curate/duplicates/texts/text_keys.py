"""The texts of rows as digests, with the shingles and the signature of each, made once for each part of the rows.

A text takes about 500 bytes of disk for each part that has it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.duplicates.hamming import Indices
from curate.duplicates.texts import signatures
from curate.duplicates.texts.shingles import Block, Shingles, blocks_of, map_shingles, words_of
from curate.duplicates.texts.signatures import SKETCH, Signatures, bands_for, signatures_of
from curate.settings.copies import TextField, TextSettings
from curate.workspace import Workspace
from winnow.parquet.table_parts import POSITION, Item, Parts, PartTask, Runner
from winnow.parquet.tables import read_batches, write_parquet

_VERSION = 1  # raise it when the same rows make other keys
# What of a row is compared, one below the other; a caption is the answer.
_COLUMNS: dict[TextField, list[str]] = {
    "question": ["question_key"], "answer": ["answer_key"], "row": ["question_key", "answer_key"],
}  # fmt: skip


def _schema(bands: int) -> pa.Schema:
    """Of a row its text as 128 bits, null if it is not compared; of the first of the part with a text also the rest."""
    halves = [(half, pa.uint64()) for half in ("high", "low")]
    facts = [("numbers", pa.uint64()), ("shingles", pa.list_(pa.int64()))]
    signature = [("buckets", pa.binary(4 * bands)), ("sketch", pa.binary(SKETCH))]
    return pa.schema([*halves, *facts, *signature])


def write_text_keys(workspace: Workspace, field: TextField, settings: TextSettings, runner: Runner) -> Parts:
    """Bring the table of a field's texts up to date: a row for each corrected row.

    Args:
        runner: makes parts.

    Raises:
        UserError: a file cannot be written.
    """
    corrected, keys = workspace.corrected, Parts(workspace.text_keys / field)
    made_by = ["text keys", _VERSION, signatures.VERSION, field, settings.min_words, bands_for(settings.threshold)]
    tasks = [
        PartTask([*made_by, name], (corrected.folder / name, field, settings.min_words, settings.threshold))
        for name in corrected.names()
    ]
    by_name = {task.name: task for task in tasks}
    items = [(keys.folder / name, by_name[name].args) for name in keys.missing(by_name)]
    for _ in runner(make_text_keys)(items):
        pass
    keys.finish([task.name for task in tasks])
    return keys


def make_text_keys(item: Item) -> None:
    """Write a part: (corrected rows, field, fewest words, threshold)."""
    path, (rows, field, min_words, threshold) = item
    schema = _schema(bands_for(threshold)[0])
    columns = _COLUMNS[field]
    long_enough: dict[bytes, bool] = {}

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in read_batches(rows, [*columns, "bad_row"]):
            texts = zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
            good = batch.column("bad_row").is_null().to_pylist()
            said = [_joined(text) if is_good else "" for text, is_good in zip(texts, good, strict=True)]
            yield _keyed(said, long_enough, min_words, threshold, schema)

    write_parquet(path, batches(), schema)


def _joined(texts: tuple[str | None, ...]) -> str:
    return "\n".join(text for text in texts if text is not None)


def _keyed(
    texts: list[str], long_enough: dict[bytes, bool], min_words: int, threshold: float, schema: pa.Schema
) -> pa.RecordBatch:
    """The rows of a batch.

    Args:
        long_enough: of the texts of the part so far, by digest; those of the batch are added.
    """
    digests: list[bytes] = []
    new: list[int] = []

    def words_of_new() -> Iterator[list[str]]:
        for number, text in enumerate(texts):
            digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            digests.append(digest)
            if digest not in long_enough:
                words = words_of(text)
                long_enough[digest] = len(words) >= min_words
                if long_enough[digest]:
                    new.append(number)
                    yield words

    shingles = Shingles.of(blocks_of(words_of_new()))
    made = signatures_of(shingles, threshold)
    halves = np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)
    short = np.array([not long_enough[digest] for digest in digests], bool)
    place = np.full(len(texts), -1)
    place[new] = np.arange(len(new))
    facts = [
        pa.array(shingles.numbers),
        pa.ListArray.from_arrays(pa.array(shingles.starts.astype(np.int32)), pa.array(shingles.values)),
        _binary(np.ascontiguousarray(made.buckets.T)),
        _binary(made.sketches),
    ]
    of_new = pa.array(place, mask=place < 0)
    columns = [*(pa.array(half, mask=short) for half in halves.T), *(fact.take(of_new) for fact in facts)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _binary(rows: NDArray[np.unsignedinteger]) -> pa.FixedSizeBinaryArray:
    """The bytes of each row."""
    width = rows.shape[1] * rows.itemsize
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(rows), [None, pa.py_buffer(rows)])


def read_texts(keys: Parts, first: Indices, threshold: float, scratch: Path) -> tuple[Shingles, Signatures]:
    """Shingles and signatures of texts, by the positions of their first rows, ascending.

    Args:
        scratch: as of ``map_shingles``.

    Raises:
        UserError: the scratch file cannot be written.
    """
    made = Signatures.none(bands_for(threshold)[0], len(first))

    def blocks() -> Iterator[Block]:
        for batch in keys.batches([POSITION, "numbers", "shingles", "buckets", "sketch"]):
            start = batch.column(POSITION)[0].as_py()
            texts = slice(*np.searchsorted(first, (start, start + batch.num_rows)).tolist())
            some = batch.take(pa.array(first[texts] - start))
            made.buckets[:, texts] = _unpacked(some.column("buckets"), np.dtype("<u4")).T
            made.sketches[texts] = _unpacked(some.column("sketch"), np.dtype("u1"))
            shingles = some.column("shingles")
            sizes = shingles.value_lengths().to_numpy(zero_copy_only=False)
            yield shingles.flatten().to_numpy(), sizes.astype(np.int64), some.column("numbers").to_numpy()

    return map_shingles(blocks(), scratch), made


def _unpacked(rows: pa.FixedSizeBinaryArray, kind: np.dtype[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    width = rows.type.byte_width // kind.itemsize
    return np.frombuffer(rows.buffers()[1], kind, len(rows) * width).reshape(-1, width)
