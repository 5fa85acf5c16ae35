"""Failures in groups that look and ask alike, each named by what is frequent in it and rare in the others.

Groups are k-means clusters of the wrong answers, by the embedding of the picture and the words of the question. All
answers of the view are then counted to the nearest centre, so that a group also has an error rate.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboards.data.answers import matching_rows
from dashboards.data.catalog import Folder
from dashboards.data.engine import cached, fetch_table, quoted
from dashboards.data.filters import View
from dashboards.data.predictions import RIGHT, WRONG, open_predictions, row_index
from dashboards.find.layout import gathered, principal
from dashboards.find.search import pictured_run
from evalsuite.statistics import excess_errors

MOST = 20_000  # wrong answers that are grouped, and answers that are counted, at a time
FEWEST = 8  # wrong answers
_SEED = 0
_WIDTH = 32  # components of the pictures, and of the words
_RARE = 2  # questions in which a word must stand
_TERMS = 3  # of a name
_PRIOR = 10.0  # rows' worth of the overall frequencies
_SURE = 1.96
_SHARE = 0.2  # of a group's rows that a term of its name must hold for
_SAME = 0.8  # share of rows in common from which two terms say the same
_LONGEST = 40  # characters of an answer that can be part of a name
_WORDS = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_STOP_WORDS = frozenset(_WORDS.findall(
    "a an and any are as at be by can did do does for from has have how if in is it its of on or that the "
    "their there these this those to was were what when where which who whose why will with you your"
))  # fmt: skip

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Term = tuple[str, str]  # what it is about (``question``, ``answer``, ``reference``, a slice), and the word or value


@dataclass(frozen=True)
class Cluster:
    """A group of wrong answers.

    Attributes:
        terms: what is frequent in it compared with the other groups, most telling first; may be empty.
        rows: its wrong answers, as rows of ``predictions.parquet``, the nearest to its centre first.
        answers: answers of the view, right or wrong, that lie nearest to its centre.
        rate: share of wrong ones among them.
        excess: ``rate`` minus the rate of the view.
        low, high: 95% interval of ``excess``, clustered by image; None below two images.
    """

    terms: tuple[Term, ...]
    rows: tuple[int, ...]
    answers: int
    rate: float
    excess: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Clustering:
    """All groups, largest first.

    Attributes:
        failures: wrong answers of the view whose picture is embedded; ``grouped`` of them were drawn.
        answers: answers of the view with a verdict and an embedded picture; ``counted`` of them were drawn.
        rate: share of wrong ones among the counted answers.
    """

    clusters: tuple[Cluster, ...]
    failures: int
    grouped: int
    answers: int
    counted: int
    rate: float


@cached(16)
def cluster_failures(view: View, folder: Folder, stored: int, count: int) -> Clustering:
    """Group the wrong answers of a view, whatever outcome it asks for.

    Args:
        folder: the curated set whose model embedded the pictures.
        stored: how many pictures are embedded, see ``Store.size``; part of the cache key.
        count: how many groups.

    Raises:
        UserError: a table or the embeddings cannot be read.
    """
    pictured, index = pictured_run(view.run, folder), row_index(view.run)
    rows = np.sort(matching_rows(replace(view, spec=replace(view.spec, outcome="All", order="As stored"))))
    usable = rows[pictured.place[rows] >= 0] if pictured else rows[:0]
    wrong, judged = (usable[np.isin(index.correct[usable], found)] for found in ((WRONG,), (WRONG, RIGHT)))
    if pictured is None or len(wrong) < FEWEST:
        return Clustering((), len(wrong), 0, len(judged), 0, 0.0)
    chance = np.random.default_rng(_SEED)
    grouped, counted = _drawn(wrong, chance), _drawn(judged, chance)
    both = np.union1d(grouped, counted)
    table = _texts(view.run, both)
    vectors = features(gathered(pictured.vectors, pictured.place[both]), table["question"], np.isin(both, grouped))
    is_grouped, is_counted = np.isin(both, grouped), np.isin(both, counted)
    centres = _centres(vectors[is_grouped], min(count, len(grouped)))
    nearest, distance = _nearest(vectors, centres)
    errors = (index.correct[counted] == WRONG).astype(np.float64)
    images = np.unique(index.image[counted], return_inverse=True)[1]
    named = name_groups(_terms(table, is_grouped), nearest[is_grouped], len(centres))
    found = []
    for group in range(len(centres)):
        mine = np.flatnonzero(is_grouped & (nearest == group))
        if not len(mine):
            continue
        mine = mine[np.lexsort((both[mine], distance[mine]))]
        excess = excess_errors(errors, nearest[is_counted] == group, images)
        size = max(excess.n, 1)
        low, high = (None if end is None else end / size for end in (excess.low, excess.high))
        rows_of = tuple(both[mine].tolist())
        found.append(Cluster(named[group], rows_of, excess.n, excess.rate, excess.excess / size, low, high))
    found.sort(key=lambda cluster: (-len(cluster.rows), cluster.rows[0]))
    return Clustering(tuple(found), len(wrong), len(grouped), len(judged), len(counted), float(errors.mean()))


def _drawn(rows: NDArray[np.int32], chance: np.random.Generator) -> NDArray[np.int32]:
    return rows if len(rows) <= MOST else np.sort(chance.choice(rows, MOST, replace=False))


def _texts(run: Folder, rows: NDArray[np.int32]) -> Mapping[str, list[Any]]:
    """What rows say: question, answer, first reference and the stored slices, in ascending order of rows."""
    table = open_predictions(run)
    slices = sorted(name for name in table.columns if name.startswith("slice_"))
    columns = ", ".join(["", *(f"{quoted(name)}::VARCHAR AS {quoted(name)}" for name in slices)])
    sql = f"""
        SELECT question, coalesce(extracted, raw, '') AS answer, "references"[1] AS reference{columns}
        FROM read_parquet(?, file_row_number = true) WHERE file_row_number IN (SELECT unnest(?))
        ORDER BY file_row_number"""
    found = fetch_table(run.connection, sql, [table.path, rows.tolist()])
    return {name: [value or "" for value in found[name].to_pylist()] for name in found.column_names}


def words_of(text: str) -> set[str]:
    """The words of a text that say what it is about, in lower case."""
    return {word for word in _WORDS.findall(text.lower()) if word not in _STOP_WORDS}


def features(pictures: NDArray[np.float32], questions: Sequence[str], fitted: NDArray[np.bool_]) -> Floats:
    """(n, dimensions) what is compared: pictures and words, each with a mean square length of 1.

    Args:
        pictures: (n, width) embeddings.
        questions: n texts.
        fitted: (n,) rows whose words count.
    """
    halves = [principal(pictures, _WIDTH).astype(np.float64), _word_vectors(questions, fitted)]
    lengths = [np.sqrt((half**2).sum(axis=1).mean()) for half in halves]
    return np.concatenate([half / max(length, 1e-9) for half, length in zip(halves, lengths, strict=True)], axis=1)


def _word_vectors(questions: Sequence[str], fitted: NDArray[np.bool_]) -> Floats:
    """(n, dimensions) words, weighted by their rarity, in a seeded random projection; 0 for no known word."""
    from scipy.sparse import csr_matrix

    words = [sorted(words_of(text)) for text in questions]
    counts = Counter(word for known, row in zip(fitted.tolist(), words, strict=True) if known for word in row)
    vocabulary = {word: at for at, word in enumerate(sorted(w for w, times in counts.items() if times >= _RARE))}
    listed = [[vocabulary[word] for word in row if word in vocabulary] for row in words]
    starts = np.concatenate([[0], np.cumsum([len(row) for row in listed])])
    columns = np.array([at for row in listed for at in row], dtype=np.int64)
    rarity = np.log((1 + fitted.sum()) / (1 + np.array([counts[word] for word in vocabulary], dtype=np.float64))) + 1
    matrix = csr_matrix(
        (rarity[columns] if len(columns) else [], columns, starts), (len(words), max(len(vocabulary), 1))
    )
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1))[:, 0])
    projection = np.random.default_rng(_SEED).standard_normal((matrix.shape[1], _WIDTH)) / np.sqrt(_WIDTH)
    projected = (matrix @ projection) / np.maximum(lengths, 1e-9)[:, None]
    found: Floats = projected - projected[fitted].mean(axis=0)
    return found


def _centres(vectors: Floats, count: int) -> Floats:
    """(at most ``count``, dimensions) centres of k-means, the best of three seeded starts."""
    from scipy.cluster.vq import ClusterError, kmeans2

    best: Floats = vectors.mean(axis=0, keepdims=True)
    least = np.inf
    for seed in range(3):
        try:
            centres, _ = kmeans2(vectors, count, iter=30, minit="++", missing="raise", seed=_SEED + seed)
        except ClusterError:  # a group lost all its rows: fewer than ``count`` are different
            continue
        if (total := float((_nearest(vectors, centres)[1] ** 2).sum())) < least:
            best, least = centres, total
    return best


def _nearest(vectors: Floats, centres: Floats) -> tuple[Codes, Floats]:
    """(n,) the nearest centre, and (n,) the distance to it."""
    squares = (vectors**2).sum(axis=1)[:, None] - 2 * vectors @ centres.T + (centres**2).sum(axis=1)
    chosen = squares.argmin(axis=1)
    return chosen, np.sqrt(np.maximum(squares[np.arange(len(vectors)), chosen], 0))


def _terms(table: Mapping[str, list[Any]], mask: NDArray[np.bool_]) -> list[set[Term]]:
    """What holds for each row in ``mask``."""
    slices = {name: name.removeprefix("slice_").replace("_", " ") for name in table if name.startswith("slice_")}
    found = []
    for at in np.flatnonzero(mask).tolist():
        held: set[Term] = {("question", word) for word in words_of(table["question"][at])}
        for column in ("answer", "reference"):
            text = " ".join(table[column][at].lower().split()).rstrip(".")
            if 0 < len(text) <= _LONGEST:
                held.add((column, text))
        held.update((title, table[name][at]) for name, title in slices.items() if table[name][at])
        found.append(held)
    return found


def name_groups(held: Sequence[set[Term]], group: Codes, count: int) -> list[tuple[Term, ...]]:
    """What is frequent in each group compared with all others: at most three terms, most telling first.

    A term's log-odds in the group minus those in the rest, each with 10 rows of the overall frequency added, over the
    standard deviation of that difference (Monroe, Colaresi, Quinn 2008, section 3.5.1, for rows that hold a term or do
    not). It must be above 1.96, and the term must hold for a fifth of the group and for three of its rows. Terms that
    hold for the same rows are given once.

    Args:
        held: (n,) terms of each row.
        group: (n,) 0 … count − 1.
    """
    overall = Counter(term for terms in held for term in terms)
    sizes = np.bincount(group, minlength=count)
    named = []
    for number in range(count):
        mine = np.flatnonzero(group == number).tolist()
        inside = Counter(term for row in mine for term in held[row])
        size, rest = int(sizes[number]), len(held) - int(sizes[number])
        scored = [
            (_difference(times, size, overall[term] - times, rest), term)
            for term, times in inside.items()
            if times >= max(3, _SHARE * size)
        ]
        # Of equal ones a slice says more than a word, and the alphabet settles the rest.
        ranked = sorted(scored, key=lambda item: (-round(item[0], 6), item[1][0] in ("question", "answer"), item[1]))
        named.append(_different([term for score, term in ranked if score > _SURE], held, mine))
    return named


def _difference(inside: int, size: int, outside: int, rest: int) -> float:
    """See ``name_groups``; 0 without a rest to compare with."""
    if not rest:
        return 0.0
    prior = _PRIOR * (inside + outside) / (size + rest)
    other = _PRIOR - prior

    def log_odds(times: int, rows: int) -> float:
        return float(np.log(times + prior) - np.log(rows - times + other + 1e-9))

    deviation = np.sqrt(1 / (inside + prior) + 1 / (outside + prior))
    return float((log_odds(inside, size) - log_odds(outside, rest)) / deviation)


def _different(terms: Sequence[Term], held: Sequence[set[Term]], rows: Sequence[int]) -> tuple[Term, ...]:
    kept: list[tuple[Term, set[int]]] = []
    for term in terms:
        where = {row for row in rows if term in held[row]}
        if all(len(where & other) < _SAME * len(where | other) for _, other in kept):
            kept.append((term, where))
        if len(kept) == _TERMS:
            break
    return tuple(term for term, _ in kept)
