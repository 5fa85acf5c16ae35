"""An audit of the references: a random sample of right and wrong answers, and the error rate that it shows.

Right and wrong answers are sampled apart, as many of each, because wrong references hide among the wrong answers:
each kind is then weighted with its share of the run. The interval joins Wilson's interval of each kind by adding
squared distances (MOVER: Newcombe 1998, Zou and Donner 2008), with each sample size scaled for a finite number of
rows, so that a kind that was judged whole adds no doubt. Rows count as independent.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from dashboards.data.catalog import Folder
from dashboards.data.engine import cached, fetch
from dashboards.data.predictions import RIGHT, WRONG, open_predictions, row_index
from dashboards.data.reviews import Decision
from winnow.corrections import WRONG_REFERENCE, Correction, aspect_of

_Z = NormalDist().inv_cdf(0.975)


@cached(16)
def audit_sample(run: Folder, draw: int, size: int) -> NDArray[np.int32]:
    """Rows of ``predictions.parquet``, in the order in which they are to be judged: right and wrong ones mixed.

    Half of them are right answers and half wrong, or more of one kind where the other has too few. The first rows
    of each kind are a random sample of it too, and a larger ``size`` only adds rows of each kind.

    Args:
        draw: number of the sample; with the run's name it seeds the draw.

    Raises:
        UserError: a table of the run is broken.
    """
    correct = row_index(run).correct
    seed = hashlib.sha256(f"{run.name}\n{draw}".encode()).digest()
    chance = np.random.default_rng(np.frombuffer(seed, dtype=np.uint32))
    kinds = [chance.permutation(np.flatnonzero(correct == verdict)) for verdict in (RIGHT, WRONG)]
    counts = _halves(size, len(kinds[0]), len(kinds[1]))
    drawn = [kind[:count] for kind, count in zip(kinds, counts, strict=True)]
    # Evenly mixed: whoever stops early has judged about as much of the share of each kind.
    places = np.concatenate([(np.arange(len(kind)) + chance.random(len(kind))) / max(len(kind), 1) for kind in drawn])
    rows = np.concatenate(drawn)[np.argsort(places, kind="stable")].astype(np.int32)
    rows.setflags(write=False)
    return rows


def _halves(size: int, right: int, wrong: int) -> tuple[int, int]:
    """How many right and how many wrong rows a sample of ``size`` takes."""
    half = size // 2
    of_wrong = min(wrong, size - min(right, half))
    return min(right, size - of_wrong), of_wrong


@dataclass(frozen=True)
class Stratum:
    """The right or the wrong answers of a run.

    Attributes:
        rows: how many there are in the run.
        judged: how many of the sample have a verdict.
        wrong_reference, ambiguous: how many of them a reviewer called so.
    """

    rows: int
    judged: int
    wrong_reference: int
    ambiguous: int


@dataclass(frozen=True)
class Rate:
    """A share with its 95% interval, all from 0 to 1."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Audit:
    """What an audit shows.

    Attributes:
        size: rows of the sample.
        in_conflict: rows on which reviewers disagree; they are left out until that is settled.
    """

    size: int
    right: Stratum
    wrong: Stratum
    in_conflict: int

    @property
    def judged(self) -> int:
        """Rows with a verdict."""
        return self.right.judged + self.wrong.judged

    def wrong_references(self) -> Rate | None:
        """The share of the run's references that are wrong; None until each kind has a judged row."""
        return _stratified([(part.rows, part.judged, part.wrong_reference) for part in (self.right, self.wrong)])

    def ambiguous(self) -> Rate | None:
        """The share of the run's questions without a single right answer; None like ``wrong_references``."""
        return _stratified([(part.rows, part.judged, part.ambiguous) for part in (self.right, self.wrong)])


def rate_of(part: Stratum) -> Rate | None:
    """The share of wrong references among right or wrong answers alone; None without a judged row."""
    return _stratified([(part.rows, part.judged, part.wrong_reference)])


def audit(run: Folder, rows: NDArray[np.int32], verdicts: Mapping[int, str]) -> Audit:
    """Count what reviewers said about the rows of a sample.

    Args:
        rows: of ``audit_sample``.
        verdicts: row → ``wrong reference``, ``ambiguous``, ``conflict`` or anything else for a reference that stands;
            a row without a verdict is left out.

    Raises:
        UserError: a table of the run is broken.
    """
    correct = row_index(run).correct

    def judged(verdict: int) -> Stratum:
        said = [verdicts[int(row)] for row in rows if correct[row] == verdict and int(row) in verdicts]
        counts = Counter(word for word in said if word != "conflict")
        return Stratum(int((correct == verdict).sum()), counts.total(), counts[WRONG_REFERENCE], counts["ambiguous"])

    in_conflict = sum(verdicts.get(int(row)) == "conflict" for row in rows)
    return Audit(len(rows), judged(RIGHT), judged(WRONG), in_conflict)


def audit_verdicts(run: Folder, rows: NDArray[np.int32], decisions: Iterable[Decision]) -> dict[int, str]:
    """Row → what reviewers said about it: ``wrong reference``, ``ambiguous``, ``conflict`` or the other verdict.

    Rows without a verdict, or whose question or references changed since, are left out.

    Args:
        rows: of ``audit_sample``.
        decisions: the newest first.

    Raises:
        UserError: a table of the run is broken.
    """
    of_row = _rows_by_content(run, tuple(rows.tolist()))
    found: dict[int, str] = {}
    for decision in decisions:
        line = decision.line
        row = of_row.get((line.sample_id, line.content_hash))
        if row is not None and aspect_of(line) == "verdict" and decision.state in ("active", "conflict"):
            found.setdefault(row, "conflict" if decision.state == "conflict" else _word(line))
    return found


@cached(16)
def _rows_by_content(run: Folder, rows: tuple[int, ...]) -> Mapping[tuple[str, str], int]:
    """(sample_id, content hash) → row, of these rows."""
    table = open_predictions(run)
    content = "content_hash" if "content_hash" in table.columns else "''"
    sql = f"""
        SELECT file_row_number AS row, sample_id, {content} AS content
        FROM read_parquet(?, file_row_number = true) WHERE file_row_number IN (SELECT unnest(?))"""
    return {
        (row["sample_id"], row["content"] or ""): row["row"]
        for row in fetch(run.connection, sql, [table.path, list(rows)])
    }


def _word(line: Correction) -> str:
    is_wrong = line.action == "relabel" or (line.action == "exclude_from_eval" and WRONG_REFERENCE in line.tags)
    return WRONG_REFERENCE if is_wrong else line.action


def _stratified(parts: Sequence[tuple[int, int, int]]) -> Rate | None:
    """A share over kinds of rows, each (rows, judged, hits), with its interval."""
    there = [part for part in parts if part[0]]
    if not there or not all(judged for _, judged, _ in there):
        return None
    total = sum(rows for rows, _, _ in there)
    value, below, above = 0.0, 0.0, 0.0
    for rows, judged, hits in there:
        weight, share = rows / total, hits / judged
        low, high = _wilson(share, judged, rows)
        value += weight * share
        below += (weight * (share - low)) ** 2
        above += (weight * (high - share)) ** 2
    return Rate(value, max(value - math.sqrt(below), 0.0), min(value + math.sqrt(above), 1.0))


def _wilson(share: float, judged: int, rows: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share of ``judged`` rows, drawn without replacement from ``rows``."""
    if judged >= rows:
        return share, share
    n = judged * (rows - 1) / (rows - judged)  # the size of a sample with replacement that says as much
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return max(middle - half, 0.0), min(middle + half, 1.0)
