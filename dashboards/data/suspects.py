"""Which rows of a curated set are most likely wrong, by the signals that it stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from curate.workspace import Workspace
from dashboards.data.catalog import Folder
from dashboards.data.engine import fetch, fetch_integers

_ANSWERS = "answers.parquet"


def has_suspects(folder: Folder) -> bool:
    """Whether curation has looked for wrong answers (`answers:` in its recipe)."""
    return (folder.path / _ANSWERS).is_file()


def most_suspect(folder: Folder) -> NDArray[np.int32]:
    """Positions of the rows that were not dropped and have a ``suspect``, the highest first, then by position.

    Raises:
        UserError: a table is broken.
    """
    sql = """
        SELECT position FROM read_parquet(?) JOIN (SELECT position FROM read_parquet(?) WHERE decision <> 'drop')
        USING (position) WHERE isfinite(suspect) ORDER BY suspect DESC, position"""
    return fetch_integers(folder.connection, sql, [folder.file(_ANSWERS), folder.file("decisions.parquet")])


def suspicions(folder: Folder, positions: Sequence[int]) -> Mapping[int, tuple[float, str]]:
    """Position → ``suspect`` and the signals that speak against the answer, '' for none; raises like the above."""
    if not has_suspects(folder):
        return {}
    sql = "SELECT position, suspect, suspect_why FROM read_parquet(?) WHERE position IN (SELECT unnest(?))"
    rows = fetch(folder.connection, sql, [folder.file(_ANSWERS), list(positions)])
    return {row["position"]: (row["suspect"], row["suspect_why"] or "") for row in rows}


def least_aligned(folder: Folder) -> NDArray[np.int32] | None:
    """Positions of the rows that were not dropped and have an alignment of text and image, the lowest first.

    Equal alignments are in order of position. None if the set has no such signal.

    Raises:
        UserError: a table is broken.
    """
    texts = Workspace(folder.path).text
    if not texts.exists():
        return None
    # Ids are compared by hash: two of a million share one in a set of forty million.
    sql = f"""
        SELECT position FROM (SELECT hash(sample_id) AS id, clip_alignment FROM {texts.sql()}
                              WHERE isfinite(clip_alignment))
        JOIN (SELECT hash(sample_id) AS id, position FROM read_parquet(?) WHERE decision <> 'drop') USING (id)
        ORDER BY clip_alignment, position"""
    return fetch_integers(folder.connection, sql, [folder.file("decisions.parquet")])
