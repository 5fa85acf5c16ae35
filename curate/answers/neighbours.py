"""Judges every answer of a set by the answers about similar pictures with the same question, or a similar one.

A question that at least 50 rows ask is a group of its own. All other rows are grouped by the kind of their question
(``meta.question_type``, else its first word); they are compared by picture and by the words of the question.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import BinaryIO

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.answers.components import project
from curate.answers.confidence import FOLDS, Confidence, Numbers, Vectors, judge
from curate.measure.set_embeddings import SetEmbeddings, read_embeddings
from curate.views import create_views
from curate.workspace import Workspace
from winnow.hash_index import HashIndex, digest64
from winnow.parquet.tables import database, query_batches, read_batches, write_parquet
from winnow.progress import track

VERSION = 2  # raise it when the same rows are judged otherwise
NEIGHBOURS = pa.schema(
    [
        ("position", pa.int64()),
        ("neighbour_confidence", pa.float64()),
        ("model_confidence", pa.float64()),
        ("neighbours_against", pa.float64()),
        ("model_against", pa.float64()),
    ]
)
_LEAST_ASKED = 50  # rows that ask a question before it is a group of its own
_WORDS = 256  # hashed words and pairs of words of a question
# Axes that pictures and questions are compared on.
_PICTURE_AXES = 128
_QUESTION_AXES = 32
# One row each: only rows whose images all can be read, and of one answer.
_ASKED = """
    CREATE TABLE questions AS
    SELECT position, image_keys, question_key, dense_rank() OVER (ORDER BY question_key) - 1 AS question,
           dense_rank() OVER (ORDER BY answer_key) - 1 AS answer, count(*) OVER (PARTITION BY question_key) AS asked,
           dense_rank() OVER (ORDER BY coalesce(question_type, regexp_extract(question_key, '^\\w+'))) - 1 AS kind
    FROM rows WHERE bad_row IS NULL AND len(images) > 0 AND trim(coalesce(answer, '')) <> ''
"""


@dataclass(frozen=True)
class _Images:
    """The embedded images of a set, by number.

    Attributes:
        embeddings: of the images.
        numbers: image key → number.
        digests: uint64 (images,), of the keys.
    """

    embeddings: SetEmbeddings
    numbers: HashIndex
    digests: NDArray[np.uint64]

    def number(self, key: str | None) -> int:
        """The number of an image that has an embedding, else -1."""
        found = None if key is None else self.numbers.get(digest64(key))
        return -1 if found is None else found

    def on_axes(self, file: BinaryIO) -> _Images:
        """The same images with embeddings on fewer axes, in ``file``."""
        known = self.embeddings
        rank = np.zeros(len(known.values), np.uint64)
        rank[known.row[known.numbers]] = self.digests[known.numbers]
        return replace(self, embeddings=replace(known, values=project(known.values, rank, _PICTURE_AXES, file)))


def write_neighbours(workspace: Workspace, k: int) -> None:
    """Write ``workspace.neighbours`` (schema ``NEIGHBOURS``): the rows that can be judged, by position.

    It is empty without embeddings of the images.
    """
    embeddings = read_embeddings(workspace)
    if embeddings is None:
        write_parquet(workspace.neighbours, [], NEIGHBOURS)
        return
    with database(workspace.work) as connection, ExitStack() as files:
        create_views(connection, workspace)
        connection.execute(_ASKED)
        images = _number(workspace, embeddings)
        rows = _read_rows(connection, images, workspace)
        hashed, pictures, questions = (
            files.enter_context(tempfile.TemporaryFile(dir=workspace.work)) for _ in range(3)
        )
        words = _question_words(connection, hashed)
        words = project(words, np.arange(len(words), dtype=np.uint64), _QUESTION_AXES, questions)
        judged = _judge_rows(rows, images.on_axes(pictures), words, k)
    known = np.flatnonzero(~np.isnan(judged.model))
    columns = [rows.position, *vars(judged).values()]
    write_parquet(workspace.neighbours, [pa.table([column[known] for column in columns], NEIGHBOURS)], NEIGHBOURS)


def _number(workspace: Workspace, embeddings: SetEmbeddings) -> _Images:
    """Number the images as ``SetEmbeddings`` does."""
    numbers, digests, known = HashIndex(), np.zeros(len(embeddings.row), np.uint64), embeddings.row >= 0
    place = 0
    for part in workspace.image_parts():
        for batch in read_batches(part, ["image_key"]):
            for key in batch.column(0).to_pylist():
                digest = digest64(key)
                digests[place] = digest
                if known[place]:
                    numbers.put(digest, place)
                place += 1
    return _Images(embeddings, numbers, digests)


@dataclass(frozen=True)
class _Rows:
    """The rows that may be judged, arrays (rows,) in order of position.

    Attributes:
        question, answer, kind: numbers of question, answer and kind of question.
        asked: how many rows ask the question.
        images: numbers of all their images, row after row; ``starts`` (rows + 1,) is where each row's begin.
        fold: below ``FOLDS``.
    """

    position: Numbers
    question: Numbers
    answer: Numbers
    kind: Numbers
    asked: Numbers
    images: Numbers
    starts: Numbers
    fold: Numbers


def _read_rows(connection: duckdb.DuckDBPyConnection, known: _Images, workspace: Workspace) -> _Rows:
    names = ("position", "question", "answer", "kind", "asked")
    columns: dict[str, list[Numbers]] = {name: [] for name in names}
    images: list[Numbers] = []
    counts: list[Numbers] = []
    for batch in query_batches(connection, f"SELECT image_keys, {', '.join(names)} FROM questions ORDER BY position"):
        lengths = batch.column("image_keys").value_lengths().to_numpy(zero_copy_only=False)
        keys = batch.column("image_keys").flatten().to_pylist()
        found = np.array([known.number(key) for key in keys], np.int64)
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
        whole = np.minimum.reduceat(found, starts) >= 0
        images.append(found[np.repeat(whole, lengths)])
        counts.append(lengths[whole].astype(np.int64))
        for name in names:
            columns[name].append(batch.column(name).to_numpy()[whole].astype(np.int64))
    one = {name: np.concatenate(parts) if parts else np.zeros(0, np.int64) for name, parts in columns.items()}
    flat = np.concatenate(images) if images else np.zeros(0, np.int64)
    starts = np.concatenate([[0], *map(np.ravel, counts)]).cumsum()
    return _Rows(**one, images=flat, starts=starts, fold=_folds(flat, starts, known, workspace))


def _folds(images: Numbers, starts: Numbers, known: _Images, workspace: Workspace) -> Numbers:
    """The fold of each row: the same for all rows that are linked by a picture or by a pair of near copies.

    It follows from the digests of the linked pictures, so that new rows move no others to another fold.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    inside = np.setdiff1d(np.arange(1, len(images)), starts)  # not the first of its row
    pairs = [(images[inside - 1], images[inside])]
    if workspace.duplicate_images.is_file():
        copies = pq.read_table(workspace.duplicate_images, columns=["image_key", "representative_key"])
        both = [np.array([known.number(key) for key in column.to_pylist()], np.int64) for column in copies.columns]
        present = (both[0] >= 0) & (both[1] >= 0)
        pairs.append((both[0][present], both[1][present]))
    left, right = (np.concatenate(side) for side in zip(*pairs, strict=True))
    count = len(known.digests)
    links = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
    _, part = connected_components(links, directed=False)
    smallest = np.full(count, np.iinfo(np.uint64).max)
    np.minimum.at(smallest, part, known.digests)
    return np.asarray(smallest[part[images[starts[:-1]]]] % np.uint64(FOLDS), np.int64)


def _question_words(connection: duckdb.DuckDBPyConnection, file: BinaryIO) -> NDArray[np.float16]:
    """(questions, 256) hashed words of each question by its number, unit length; memory-mapped."""
    from sklearn.feature_extraction.text import HashingVectorizer

    hashed = HashingVectorizer(n_features=_WORDS, ngram_range=(1, 2), token_pattern=r"\w+")
    count = 0
    for batch in query_batches(connection, "SELECT DISTINCT question, question_key FROM questions ORDER BY question"):
        texts = batch.column("question_key").to_pylist()
        file.write(hashed.transform(texts).toarray().astype(np.float16).tobytes())
        count += len(texts)
    file.flush()
    shape = (count, _WORDS)
    return np.memmap(file, np.float16, "r", shape=shape) if count else np.empty(shape, np.float16)


def _judge_rows(rows: _Rows, known: _Images, words: NDArray[np.float16], k: int) -> Confidence:
    judged = Confidence.unknown(len(rows.position))
    rank = known.digests[rows.images[rows.starts[:-1]]] if len(rows.position) else np.zeros(0, np.uint64)
    groups = list(_groups(rows))
    for group, joint in track(groups, "compare answers", len(groups)):
        take = _taker(rows, known.embeddings, words if joint else None, group)
        found = judge(take, rows.answer[group], rows.fold[group], rank[group], k)
        for name, values in vars(found).items():
            getattr(judged, name)[group] = values
    return judged


def _groups(rows: _Rows) -> Iterator[tuple[Numbers, bool]]:
    """Rows that are compared with each other, and whether by the words of the question too."""
    often = rows.asked >= _LEAST_ASKED
    for chosen, key, joint in ((often, rows.question, False), (~often, rows.kind, True)):
        places = np.flatnonzero(chosen)
        places = places[np.argsort(key[places], kind="stable")]
        cuts = np.flatnonzero(np.diff(key[places])) + 1
        yield from ((group, joint) for group in np.split(places, cuts) if len(group))


def _taker(
    rows: _Rows, embeddings: SetEmbeddings, words: NDArray[np.float16] | None, group: Numbers
) -> Callable[[Numbers], Vectors]:
    """Gives the unit vectors of some rows of a group: the mean of their images', beside the words of the question."""

    def take(chosen: Numbers) -> Vectors:
        places = group[chosen]
        first, last = rows.starts[places], rows.starts[places + 1]
        lengths = last - first
        begins = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        every = np.repeat(first - begins, lengths) + np.arange(lengths.sum())
        found = unit(np.add.reduceat(embeddings.of(rows.images[every]), begins, axis=0))
        if words is None:
            return found
        said = np.asarray(words[rows.question[places]], np.float32)
        return np.asarray(np.hstack([found, said]) / np.sqrt(2), np.float32)

    return take


def unit(vectors: Vectors) -> Vectors:
    """The vectors (m, width) at length 1; a zero vector stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)
