"""Embeddings on disk, looked up by path or text: memory holds an index of about 30 bytes an entry, no vectors.

``write_scores`` reads prompt sets and heads off them.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.measure.models import clip_model, clip_name
from curate.measure.store import CACHE, PATHS, Store
from curate.settings.signals import MeasureSettings, PromptSet
from curate.signals.clip import prompt_scores
from curate.signals.heads import HeadUnusable, read_head
from winnow.errors import UserError
from winnow.hash_index import HashIndex, digest64
from winnow.parquet.tables import write_parquet
from winnow.progress import track


class ImageEmbeddings:
    """The image embeddings of a ``signals`` folder.

    Attributes:
        values: (n, width) float16, memory-mapped.
        width: of the embeddings; 0 if there are none.
    """

    def __init__(self, folder: Path) -> None:
        self._of_key, self._of_path = HashIndex(), HashIndex()
        (folder / CACHE).mkdir(exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder / CACHE)  # noqa: SIM115 (held while the embeddings are used)
        count = self.width = 0
        for part in Store(folder).parts():
            table = pq.read_table(part, columns=["image_key", "clip_embedding"])
            table = table.filter(table["clip_embedding"].is_valid())
            if not len(table):
                continue
            column = table["clip_embedding"].combine_chunks()
            self.width = len(column[0])
            self._file.write(column.flatten().to_numpy(zero_copy_only=False).astype(np.float16).tobytes())
            for key in table["image_key"].to_pylist():
                self._of_key.add(key, count)
                count += 1
        self._file.flush()
        shape = (count, self.width)
        self.values: NDArray[np.float16] = (
            np.memmap(self._file, dtype=np.float16, mode="r", shape=shape) if count else np.zeros(shape, np.float16)
        )
        with pq.ParquetFile(folder / PATHS) as paths:
            for batch in paths.iter_batches(columns=["path", "image_key"]):
                for path, key in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    number = self._of_key.get(key) if key else None
                    if number is not None:
                        self._of_path.put(path, number)

    def rows(self, paths: Iterable[str]) -> list[int]:
        """Rows of ``values`` for the paths that have one."""
        return [number for path in paths if (number := self._of_path.get(path)) is not None]

    def close(self) -> None:
        """Remove the file behind ``values``."""
        self._file.close()


class TextEmbeddings:
    """An append-only store of text embeddings of one model; it survives a kill between two batches.

    Texts are appended in whole batches in the order of the input, so that a run that resumes after a
    kill forms the same batches, and floating point gives the same bytes.
    """

    def __init__(self, folder: Path, model: str, width: int) -> None:
        stem = folder / CACHE / f"texts-{hashlib.sha256(model.encode()).hexdigest()[:16]}"
        self._values, self._keys = stem.with_suffix(".f16"), stem.with_suffix(".keys")
        self._width = width
        self._index = HashIndex()
        for file in (self._values, self._keys):
            file.touch()
        # Values are written first; a key without its value cannot be. What has no key is cut off.
        count = min(self._keys.stat().st_size // 8, self._values.stat().st_size // (2 * width)) if width else 0
        os.truncate(self._keys, 8 * count)
        os.truncate(self._values, 2 * width * count)
        for number, key in enumerate(np.fromfile(self._keys, dtype="<u8").tolist()):
            self._index.add(key, number)

    def missing(self, texts: Iterable[str]) -> list[str]:
        """The distinct texts that are not stored, in order of first occurrence."""
        return [text for text in dict.fromkeys(texts) if self._index.get(text) is None]

    def append(self, texts: list[str], embeddings: NDArray[np.float16]) -> None:
        """Store a batch."""
        with self._values.open("ab") as values:
            values.write(np.ascontiguousarray(embeddings, dtype="<f2").tobytes())
        keys = [digest64(text) for text in texts]
        with self._keys.open("ab") as stored:
            stored.write(np.asarray(keys, dtype="<u8").tobytes())
        for key in keys:
            self._index.add(key, len(self._index))

    def row(self, text: str) -> int:
        """The row of a stored text in ``values()``."""
        found = self._index.get(text)
        if found is None:
            raise KeyError(text)
        return found

    def values(self) -> NDArray[np.float16]:
        """(n, width) float16, memory-mapped."""
        return np.memmap(self._values, dtype="<f2", mode="r", shape=(len(self._index), self._width))


SCORES = "scores.parquet"
Scorer = Callable[[NDArray[np.float16]], NDArray[np.float64]]


def write_scores(out: Path, settings: MeasureSettings) -> None:
    """Write ``out/scores.parquet``: image_key and a column for each prompt set and head; null without an embedding.

    Without prompts and heads the file is removed. Prompts that were embedded before need no model.

    Raises:
        UserError: CLIP cannot be loaded, a head does not fit it, or the file cannot be written.
    """
    path = out / SCORES
    names = settings.scores
    if not names:
        path.unlink(missing_ok=True)
        return
    parts = Store(out).parts()
    width = next((width for part in parts if (width := _width(part))), 0)
    scorers = _scorers(out, settings, width) if width else {}
    schema = pa.schema([("image_key", pa.string()), *((name, pa.float64()) for name in names)])
    tables = (_scored(part, scorers, schema) for part in track(parts, "score embeddings", len(parts)))
    write_parquet(path, tables, schema)


def _scorers(out: Path, settings: MeasureSettings, width: int) -> dict[str, Scorer]:
    prompts = settings.prompt_sets
    texts = TextEmbeddings(out, f"{clip_name(settings)} prompts", width)
    wanted = texts.missing(
        text for prompt_set in prompts.values() for text in (*prompt_set.positive, *prompt_set.negative)
    )
    model = clip_model(settings) if wanted else None
    for text in wanted:
        # One at a time: what else is in a batch changes the last bits of an embedding.
        texts.append([text], model.embed_texts([text]))  # type: ignore[union-attr]
    found = {name: _prompt_scorer(prompt_set, texts) for name, prompt_set in prompts.items()}
    for name, asked in settings.heads.items():
        try:
            head = read_head(asked.file, width, relu=asked.activation == "relu", sigmoid=asked.output == "sigmoid")
        except HeadUnusable as error:
            raise UserError(str(error)) from error
        found[name] = head.scores
    return found


def _prompt_scorer(prompts: PromptSet, texts: TextEmbeddings) -> Scorer:
    values = texts.values()
    positive = np.array(values[[texts.row(text) for text in prompts.positive]])
    negative = np.array(values[[texts.row(text) for text in prompts.negative]])
    return lambda images: prompt_scores(images, positive, negative, prompts.scale)


def _width(part: Path) -> int:
    kind = pq.read_schema(part).field("clip_embedding").type
    return int(kind.list_size) if pa.types.is_fixed_size_list(kind) else 0


def _scored(part: Path, scorers: dict[str, Scorer], schema: pa.Schema) -> pa.Table:
    table = pq.read_table(part, columns=["image_key", "clip_embedding"])
    column = table["clip_embedding"].combine_chunks()
    there = column.is_valid().to_numpy(zero_copy_only=False)
    rows: dict[str, pa.Array] = {"image_key": table["image_key"]}
    embedded = column.drop_null().flatten().to_numpy(zero_copy_only=False).astype(np.float16).reshape(there.sum(), -1)
    for name in schema.names[1:]:
        scores = np.zeros(len(table))
        if len(embedded):
            scores[there] = scorers[name](embedded)
        rows[name] = pa.array(scores, mask=~there)
    return pa.table(rows, schema)
