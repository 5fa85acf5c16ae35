"""The training images nearest to the image of a failure, and what their rows say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.data.catalog import Folder
from dashboards.data.engine import cached, fetch
from dashboards.find.embeddings import HOW_TO_GET, embedding_of, has_embeddings, open_embeddings, search
from winnow.rows.keys import normalized

IDENTICAL = 0.995  # cosine from which two images count as the same
_ROWS_EACH = 6  # listed of a neighbour


@dataclass(frozen=True)
class TrainingRow:
    """A training row and what curation did with it."""

    sample_id: str
    question: str
    answer: str
    decision: str
    reason: str
    same_question: bool


@dataclass(frozen=True)
class Neighbor:
    """A training image: its cosine, how many rows are about it, and some of them, same question first."""

    image_key: str
    cosine: float
    row_count: int
    rows: tuple[TrainingRow, ...]


@dataclass(frozen=True)
class Nearest:
    """The nearest images of one curated set, and what they say about a failure.

    Attributes:
        usual: cosine that 95% of the training images exceed with their nearest other image.
        contradicting: kept rows that ask the same about the same image and give another answer.
        problem: why there are no neighbours, '' otherwise.
    """

    folder: Folder
    neighbors: tuple[Neighbor, ...] = ()
    usual: float = 0.0
    contradicting: tuple[TrainingRow, ...] = ()
    problem: str = ""

    @property
    def is_far(self) -> bool:
        """A coverage gap: no training image is as near as training images are to each other."""
        return bool(self.neighbors) and self.neighbors[0].cosine < self.usual

    @property
    def is_identical(self) -> bool:
        """A leak: a kept row shows the image itself, or one that CLIP cannot tell from it."""
        kept = (n for n in self.neighbors if any(row.decision != "drop" for row in n.rows))
        return any(neighbor.cosine >= IDENTICAL for neighbor in kept)


@cached(64)
def nearest(
    folder: Folder, image_key: str, question: str, references: tuple[str, ...], *, of_training: bool, count: int = 8
) -> Nearest:
    """The ``count`` training images nearest to ``image_key``.

    Args:
        of_training: the image belongs to the set itself, so it is left out of its own neighbours.

    Raises:
        UserError: a table of the folder is broken.
    """
    # The image first: the matrix of a million takes seconds to write, and an image without a vector needs none.
    query = embedding_of(folder, image_key)
    if query is None and has_embeddings(folder):
        return Nearest(folder, problem="This image was not measured: list its set under `contamination:`, `against:`.")
    embeddings = None if query is None else open_embeddings(folder)
    if query is None or embeddings is None:
        return Nearest(folder, problem=HOW_TO_GET)
    found = search(embeddings, query, count + 1)
    found = [item for item in found if not (of_training and item[0] == image_key)][:count]
    rows = _rows_about(folder, [key for key, _ in found], question)
    neighbors = tuple(
        Neighbor(key, cosine, len(rows.get(key, ())), tuple(rows.get(key, ())[:_ROWS_EACH])) for key, cosine in found
    )
    return Nearest(folder, neighbors, embeddings.usual, _contradicting(found, rows, references))


def _rows_about(folder: Folder, keys: Sequence[str], question: str) -> dict[str, list[TrainingRow]]:
    sql = """
        SELECT sample_id, question, answer, decision, reason, image_keys FROM read_parquet(?)
        WHERE image_keys[1] IN (SELECT unnest(?)) OR (len(image_keys) > 1 AND list_has_any(image_keys, ?))
        ORDER BY position"""
    rows: dict[str, list[TrainingRow]] = {}
    asked, wanted = normalized(question), set(keys)
    for row in fetch(folder.connection, sql, [folder.file("samples.parquet"), list(keys), list(keys)]):
        same = normalized(row["question"] or "") == asked
        about = TrainingRow(
            row["sample_id"],
            row["question"] or "",
            row["answer"] or "",
            row["decision"] or "",
            row["reason"] or "",
            same,
        )
        for key in wanted.intersection(row["image_keys"]):
            rows.setdefault(key, []).append(about)
    for listed in rows.values():
        listed.sort(key=lambda row: (not row.same_question, row.decision == "drop", row.sample_id))
    return rows


def _contradicting(
    found: Sequence[tuple[str, float]], rows: dict[str, list[TrainingRow]], references: Sequence[str]
) -> tuple[TrainingRow, ...]:
    right = {normalized(reference) for reference in references}
    same = [row for key, cosine in found if cosine >= IDENTICAL for row in rows.get(key, ())]
    return tuple(
        row for row in same if row.same_question and row.decision != "drop" and normalized(row.answer) not in right
    )
