"""Every rule against the truth: recall and precision, and curves over the threshold that justify the defaults.

The images are split into two halves. A threshold is chosen on one half (best F1) and reported on the other, beside
the default of the demo's recipe.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq

from curate.duplicates.hamming import pairs_within
from curate.duplicates.images.fingerprints import ImageFingerprints
from curate.duplicates.images.fingerprints import compare as compare_fingerprints
from curate.settings.copies import MatchSettings
from studies.demo.comparison import Case
from winnow.demo.easy_vqa import image_paths
from winnow.demo.truth import added_answers, compare, ranking

_POINTS = 120  # of a curve as it is stored


@dataclass(frozen=True)
class Cases:
    """What a threshold has to separate.

    Attributes:
        name, unit: the signal, and what one case is (image, row, pair of images).
        value: (n,) the signal; a case is suspected when its value is at most the threshold.
        positive: (n,) whether the case has the defect.
        half: (n,) 0 where thresholds are chosen, 1 where they are reported.
        default: the recipe's threshold.
        missed: positives in the reporting half that no threshold can find.
    """

    name: str
    unit: str
    value: np.ndarray
    positive: np.ndarray
    half: np.ndarray
    default: float
    missed: int = 0


def rule_report(case: Case) -> dict[str, Any]:
    """Recall and precision of all rules, and a curve for each signal with a threshold."""
    whole = compare(case.curated, case.raw.truth)
    curves = {cases.name: curve(cases) for cases in all_cases(case)}
    return {"rules": whole["defects"], "curves": curves}


def all_cases(case: Case) -> Iterator[Cases]:
    """Sharpness by image, alignment by row, hash distance by pair of images."""
    truth = pq.read_table(case.raw.truth, columns=["sample_id", "defect", "twin_id"]).to_pylist()
    connection = duckdb.connect()
    folder = str(case.curated)
    rows = connection.execute(
        f"""SELECT s.sample_id, s.images[1], coalesce(i.sharpness, i.sharpness_coarse), t.clip_alignment
        FROM '{folder}/samples.parquet' s JOIN '{folder}/signals/part-*.parquet' i ON i.image_key = s.image_keys[1]
        JOIN '{folder}/signals/text/*.parquet' t USING (sample_id)
        WHERE i.sharpness_coarse IS NOT NULL ORDER BY s.position"""
    ).fetchall()
    blurred = {row["sample_id"] for row in truth if row["defect"] == "blurred"}
    wrong = {row["sample_id"] for row in truth if row["defect"] == "wrong_answer"}
    neutral = added_answers(truth)
    rows_of = {path: (sharp, sample_id in blurred) for sample_id, path, sharp, _ in rows}
    yield _cases("sharpness", "image", [(value, bad, path) for path, (value, bad) in rows_of.items()], 40.0)
    judged = [row for row in rows if row[3] is not None and row[2] >= 40 and row[0] not in neutral]
    yield _cases("clip_alignment", "row", [(row[3], row[0] in wrong, row[1]) for row in judged], 0.0)
    yield _pairs(connection, folder)


def _cases(name: str, unit: str, found: list[tuple[float, bool, str]], default: float) -> Cases:
    value, positive, paths = zip(*found, strict=True)
    half = np.array([original(path) % 2 for path in paths])
    return Cases(name, unit, np.array(value, float), np.array(positive), half, default)


def original(path: str) -> int:
    """easy-vqa's number of the image in a file: ``images/train/dup-12.jpg`` → 12."""
    return int(Path(path).stem.rpartition("-")[2])


def _pairs(connection: duckdb.DuckDBPyConnection, folder: str) -> Cases:
    """Pairs of train images with matching thumbnails, by the smaller distance of their two hashes."""
    images = connection.execute(
        f"""SELECT path, phash, dhash, thumbnail, least(width, height) FROM '{folder}/signals/part-*.parquet'
        WHERE phash IS NOT NULL AND path NOT LIKE '%leak-%' ORDER BY path"""
    ).fetchall()
    paths, phash, dhash, thumbnails, sides = zip(*images, strict=True)
    hashes = (np.array(phash, np.uint64), np.array(dhash, np.uint64))
    pixels = np.frombuffer(b"".join(map(bytes, thumbnails)), np.uint8).reshape(len(paths), -1)
    fingerprints = ImageFingerprints.of(*hashes, pixels, np.array(sides))
    widest = MatchSettings(radius=16)
    near = np.unique(np.concatenate([pairs_within(hash_, 16) for hash_ in hashes]), axis=0)
    confirmed = compare_fingerprints(fingerprints, near[:, 0], fingerprints, near[:, 1], widest).confirmed(widest)
    near = near[confirmed]
    distance = np.min([np.bitwise_count(hash_[near[:, 0]] ^ hash_[near[:, 1]]) for hash_ in hashes], axis=0)
    packaged = image_paths("train")
    same: dict[int, bytes] = {number: packaged[number].read_bytes() for number in {original(path) for path in paths}}
    first, second = ([original(paths[k]) for k in column] for column in near.T)
    positive = np.array([same[a] == same[b] for a, b in zip(first, second, strict=True)])
    half = np.array([min(a, b) % 2 for a, b in zip(first, second, strict=True)])
    injected = {original(path) for path in paths if "dup-" in path} & {original(p) for p in paths if "dup-" not in p}
    copies = {a for a, b in zip(first, second, strict=True) if a == b}
    missed = sum(number % 2 for number in injected - copies)
    return Cases("hash distance", "pair of images", distance.astype(float), positive, half, 8.0, missed)


def curve(cases: Cases) -> dict[str, Any]:
    """Recall and precision over the threshold on the reporting half, and at the chosen and the default threshold."""
    chosen = _best(*_points(cases, 0))
    thresholds, recall, precision = _points(cases, 1)
    even = np.linspace(thresholds[0], thresholds[-1], _POINTS)
    shown = np.unique(np.searchsorted(thresholds, even, side="right") - 1)
    reported = cases.half == 1
    report: dict[str, Any] = {
        "unit": cases.unit,
        "cases": int(reported.sum()),
        "positives": int(cases.positive[reported].sum()) + cases.missed,
        "threshold": thresholds[shown].tolist(),
        "recall": recall[shown].tolist(),
        "precision": precision[shown].tolist(),
        "chosen": _at(cases, chosen),
        "default": _at(cases, cases.default),
    }
    if 0 < cases.positive[reported].sum() < reported.sum():
        report |= ranking(-cases.value[reported], cases.positive[reported])
    return report


def _points(cases: Cases, half: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds in ascending order, with recall and precision when everything up to each is suspected."""
    used = cases.half == half
    order = np.argsort(cases.value[used], kind="stable")
    value, positive = cases.value[used][order], cases.positive[used][order]
    ends = np.append(np.flatnonzero(np.diff(value)), len(value) - 1)
    hits = np.cumsum(positive)[ends]
    missed = cases.missed if half else 0
    return value[ends], hits / max(1, hits[-1] + missed), hits / (ends + 1)


def _best(thresholds: np.ndarray, recall: np.ndarray, precision: np.ndarray) -> float:
    """The threshold of the best F1, moved halfway to the next value so that it lies between two cases."""
    f1 = 2 * recall * precision / np.maximum(recall + precision, 1e-12)
    at = int(np.argmax(f1))
    return float(thresholds[at : at + 2].mean())


def _at(cases: Cases, threshold: float) -> dict[str, float | None]:
    reported = cases.half == 1
    suspected = reported & (cases.value <= threshold)
    hits = int((suspected & cases.positive).sum())
    wanted = int((reported & cases.positive).sum()) + cases.missed
    return {
        "threshold": threshold,
        "recall": hits / wanted if wanted else None,
        "precision": hits / int(suspected.sum()) if suspected.any() else None,
    }
