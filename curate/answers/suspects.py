"""``suspect``: how probable it is that an answer is wrong, from every signal that the row has.

Each signal is turned into evidence in nats, the logarithm of how much likelier it is for a wrong answer than for a
right one. Weighted evidence is added to the log-odds of ``BASE``; a signal that is missing adds nothing.

- neighbours, model: how much likelier the picture is with another answer (``curate.answers.confidence.against``), by
  the nearest pictures and by the logistic model.
- picture: minus ``picture_gain``, the pointwise information of picture and answer by the vision-language model.
- ocr: by the text in the pictures, for dates and numbers (``curate.answers.ocr.against``).
- votes: log-odds of the votes against the answer, with half a vote in twenty added to either side.
- conflict: of two answers to one question about one picture, one is wrong: the odds become even.
- alignment, loss: a rank r in the set, 0 the most suspect, of density a·r^(a-1) among wrong answers (a beta
  distribution): log a + (a - 1)·log r. Its AUROC is 1 / (1 + a).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.duplicates.comparable import read_comparable
from curate.views import create_views
from curate.workspace import Workspace
from winnow.parquet.tables import database, parquet, query_batches, write_parquet

VERSION = 2  # raise it when the same signals give another score
Evidence = NDArray[np.float64]
ANSWERS = pa.schema(
    [
        ("position", pa.int64()),
        ("sample_id", pa.string()),
        ("neighbour_confidence", pa.float64()),
        ("model_confidence", pa.float64()),
        ("ocr_support", pa.float64()),
        ("ocr_contradiction", pa.float64()),
        ("answer_loss", pa.float64()),
        ("picture_gain", pa.float64()),
        ("suspect", pa.float64()),
        ("suspect_why", pa.string()),
    ]
)
BASE = 0.05  # share of wrong answers that is assumed before any signal is seen
_MOST = 5.0  # nats that one signal can add or take
_TOLD = float(np.log(2))  # weighted evidence from which a signal is named
_SMOOTH = 0.025  # of votes
# AUROC 2/3: not measured, as alignment depends on the user's CLIP and loss on his training; so both weigh little.
_RANK = 0.5
# Chosen, not fitted, see docs/results/wrong-answers.md: neighbours, model and picture count half, as they look at the
# same picture; ocr counts half, as it was measured on receipts alone; the others as derived.
WEIGHTS = {
    "neighbours": 0.5, "model": 0.5, "picture": 0.5, "ocr": 0.5, "votes": 1.0, "conflict": 1.0, "alignment": 1.0,
    "loss": 1.0,
}  # fmt: skip
_SIGNALS = """
    SELECT r.position, r.sample_id, n.neighbour_confidence, n.model_confidence,
           n.neighbours_against, n.model_against, o.ocr_support, o.ocr_contradiction, o.ocr_against,
           g.answer_loss, g.picture_gain,
           t.agreement, len(r.answers) AS votes, x.position IS NOT NULL AS conflict, a.rank AS alignment, l.rank AS loss
    FROM rows r
    LEFT JOIN neighbours n ON n.position = r.position
    LEFT JOIN read_answers o ON o.position = r.position
    LEFT JOIN gains g ON g.sample_id = r.sample_id
    LEFT JOIN texts t ON t.sample_id = r.sample_id
    LEFT JOIN conflicts x ON x.position = r.position
    LEFT JOIN (
        SELECT sample_id, percent_rank() OVER (ORDER BY clip_alignment) AS rank FROM texts
        WHERE isfinite(clip_alignment)
    ) a ON a.sample_id = r.sample_id
    LEFT JOIN (
        SELECT sample_id, percent_rank() OVER (ORDER BY train_loss DESC) AS rank FROM losses
    ) l ON l.sample_id = r.sample_id
    WHERE r.bad_row IS NULL ORDER BY r.position
"""


@dataclass(frozen=True)
class Signals:
    """The signals of some rows, float64 (rows,), NaN where a row has none.

    Attributes:
        neighbours, model: nats against the answer, see ``curate.answers.confidence``.
        gain: ``picture_gain``, nats per token.
        ocr: nats against the answer, see ``curate.answers.ocr``.
        agreement: share of the votes for the answer, of at least two.
        conflict: 1 where an equal question about the same picture has another answer.
        alignment, loss: rank in the set, 0–1; 0 is the lowest alignment, and the highest loss.
    """

    neighbours: Evidence
    model: Evidence
    gain: Evidence
    ocr: Evidence
    agreement: Evidence
    conflict: Evidence
    alignment: Evidence
    loss: Evidence


def evidence(signals: Signals) -> dict[str, Evidence]:
    """Signal → nats (rows,) for a wrong answer, not weighted; NaN where it is missing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        against = np.log(1 - signals.agreement + _SMOOTH) - np.log(signals.agreement + _SMOOTH)
        found = {
            "neighbours": signals.neighbours,
            "model": signals.model,
            "picture": -signals.gain,
            "ocr": signals.ocr,
            "votes": against,
            "conflict": np.where(signals.conflict == 1, np.log(1 - BASE) - np.log(BASE), np.nan),
            "alignment": _of_rank(signals.alignment),
            "loss": _of_rank(signals.loss),
        }
    return {name: np.clip(value, -_MOST, _MOST) for name, value in found.items()}


def _of_rank(rank: Evidence) -> Evidence:
    return np.asarray(np.log(_RANK) + (_RANK - 1) * np.log(np.maximum(rank, 1e-6)))


def suspect(found: dict[str, Evidence]) -> tuple[Evidence, list[str | None]]:
    """The score of each row, 0–1, NaN without any signal, and the signals that speak against the answer."""
    names = list(WEIGHTS)
    weighted = np.stack([WEIGHTS[name] * found[name] for name in names])
    known = ~np.isnan(weighted)
    odds = np.log(BASE) - np.log(1 - BASE) + np.where(known, weighted, 0).sum(axis=0)
    score = np.where(known.any(axis=0), 1 / (1 + np.exp(-odds)), np.nan)
    order = np.argsort(-np.where(known, weighted, -np.inf), axis=0, kind="stable")
    why: list[str | None] = []
    for row in range(score.size):
        told = [names[at] for at in order[:, row] if known[at, row] and weighted[at, row] > _TOLD]
        why.append(", ".join(told) or None)
    return score, why


def write_answers(workspace: Workspace, losses: Sequence[Path], gains: Sequence[Path]) -> None:
    """Write ``workspace.answers`` (schema ``ANSWERS``): every row with any signal, in input order.

    Args:
        losses: ``losses.parquet`` of training runs.
        gains: files of ``finetune score``; of several the mean counts.
    """
    with database(workspace.work) as connection:
        create_views(connection, workspace, losses)
        _add_tables(connection, workspace, gains)
        write_parquet(workspace.answers, _judged(connection), ANSWERS)


def _add_tables(connection: duckdb.DuckDBPyConnection, workspace: Workspace, gains: Sequence[Path]) -> None:
    connection.execute(f"CREATE VIEW neighbours AS SELECT * FROM {parquet([workspace.neighbours])}")
    connection.execute(f"CREATE VIEW read_answers AS SELECT * FROM {parquet([workspace.read_answers])}")
    read = "SELECT NULL::VARCHAR AS sample_id, NULL::DOUBLE AS loss, NULL::DOUBLE AS picture_gain WHERE false"
    read = f"SELECT sample_id, loss, picture_gain FROM {parquet(gains)}" if gains else read
    connection.execute(
        f"CREATE VIEW gains AS SELECT sample_id, avg(loss) AS answer_loss, avg(picture_gain) AS picture_gain"
        f" FROM ({read}) GROUP BY sample_id"
    )
    if workspace.comparable_rows.is_file():
        rows = read_comparable(workspace.comparable_rows)
        conflicts = rows.position[rows.conflicting(np.zeros(len(rows), bool))]
        connection.register("conflicts", pa.table({"position": conflicts}))
    else:
        connection.execute("CREATE TABLE conflicts (position BIGINT)")


def _judged(connection: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
    for batch in query_batches(connection, _SIGNALS):

        def column(name: str, batch: pa.RecordBatch = batch) -> Evidence:
            values = batch.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False)
            return np.asarray(values, np.float64)

        found = evidence(
            Signals(
                column("neighbours_against"), column("model_against"), column("picture_gain"),
                column("ocr_against"),
                np.where(column("votes") > 1, column("agreement"), np.nan), column("conflict"), column("alignment"),
                column("loss"),
            )
        )  # fmt: skip
        score, why = suspect(found)
        table = pa.table(
            {
                **{name: batch.column(name) for name in ANSWERS.names[:-2]},
                "suspect": pa.array(score, from_pandas=True),
                "suspect_why": pa.array(why, pa.string()),
            }
        ).filter(pa.array(~np.isnan(score)))
        yield from table.cast(ANSWERS).to_batches()
