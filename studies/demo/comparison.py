"""Dirty, curated and clean training sets compared at the same budget, all with the same seeds, rows and batches."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from studies.demo.arms import Arm, Group, Plan, accuracy, difference, run_arms, won_back
from studies.demo.draws import aligned, drawn
from studies.demo.lab import Lab
from studies.demo.sets import RawSet, TrainingSet, curate, curated_rows, make_raw, write_exam
from studies.demo.settings import Comparison
from winnow.demo.defects import Shares
from winnow.rows.lines import read_jsonl


@dataclass(frozen=True)
class Case:
    """A set with defects, and what curation leaves of it.

    Attributes:
        curated: the curated folder.
    """

    raw: RawSet
    curated: Path


def make_case(lab: Lab, name: str, shares: Shares) -> Case:
    """Inject the defects and curate."""
    raw = make_raw(lab.sets / name, shares, lab.settings)
    return Case(raw, curate(raw, lab.sets / name / "curated"))


def clean_set(lab: Lab) -> TrainingSet:
    """The same images and questions without defects; writes the test questions too."""
    raw = make_raw(lab.sets / "clean", Shares.only(), lab.settings)
    write_exam(raw, lab.settings, lab.exam)
    return raw.uncurated()


def main_report(lab: Lab) -> dict[str, Any]:
    """All comparisons of the settings."""
    clean = clean_set(lab)
    return {"comparisons": [compare(lab, comparison, clean) for comparison in lab.settings.comparisons]}


def compare(lab: Lab, comparison: Comparison, clean: TrainingSet) -> dict[str, Any]:
    """Train on the dirty, the curated and the clean set, and compare.

    All arms of a seed start from the same adapter and have the rows that they share at the same places.
    """
    suffix = "" if comparison == lab.settings.comparisons[0] else f"-{comparison.name}"
    case = make_case(lab, f"all{suffix}", comparison.shares())
    sets = {"clean": clean, "dirty": case.raw.uncurated(), "curated": curated_rows(case.raw, case.curated)}
    count, plans = lab.settings.training.rows, []
    for seed in range(comparison.trainings):  # seed by seed, so that a first comparison is there early
        like = drawn(clean.rows, count, seed)
        for version, of_set in sets.items():
            rows = aligned(drawn(of_set.rows, count, seed), like)
            name = version if version == "clean" else version + suffix
            plans.append(Plan(f"main/{name}/seed-{seed}", rows, of_set.image_root, seed))
    done = run_arms(plans, lab)
    arms = {version: done[at :: len(sets)] for at, version in enumerate(sets)}
    found = compared(arms, leaked_images(case.raw))
    return {"rates": comparison.model_dump(mode="json"), **found, "rows": row_counts(case, sets)}


def compared(arms: dict[str, list[Arm]], leaked: set[str]) -> dict[str, Any]:
    """Accuracies and differences on test images that were not leaked and, separately, on those that were."""
    report: dict[str, Any] = {}
    everywhere = {image for version in arms.values() for image in version[0].images}
    for part, without in {"untouched": leaked, "leaked": everywhere - leaked}.items():
        if everywhere <= without:
            continue
        groups = {version: Group(of_version, without) for version, of_version in arms.items()}
        report[part] = {
            "accuracy": {version: accuracy(group) for version, group in groups.items()},
            "curated_minus_dirty": difference(groups["dirty"], groups["curated"]),
            "clean_minus_curated": difference(groups["curated"], groups["clean"]),
            "clean_minus_dirty": difference(groups["dirty"], groups["clean"]),
            "gap_won_back": won_back(groups["dirty"], groups["curated"], groups["clean"]),
        }
    return report


def leaked_images(raw: RawSet) -> set[str]:
    """Paths of the test images that the training rows have a copy of."""
    truth = pq.read_table(raw.truth, columns=["defect", "twin_id"]).to_pylist()
    twins = {row["twin_id"] for row in truth if row["defect"] == "leaked"}
    return {sample.image[0] for sample in read_jsonl(raw.folder / "test.jsonl") if sample.id in twins}


def row_counts(case: Case, sets: dict[str, TrainingSet]) -> dict[str, Any]:
    """How many rows the sets have, and what curation did wrong.

    Returns:
        ``sets``: rows of each. ``kept``: rows with a defect that curation kept, by defect. ``lost``: rows without a
        defect that it dropped and of which no copy stayed, by the reason.
    """
    defects = case.raw.defects()
    decisions = pq.read_table(case.curated / "decisions.parquet", columns=["sample_id", "decision", "reason"])
    reasons = {row["sample_id"]: row["reason"] for row in decisions.to_pylist() if row["decision"] == "drop"}
    truth = pq.read_table(case.raw.truth, columns=["sample_id", "defect", "twin_id"]).to_pylist()
    twins = {row["sample_id"]: row["twin_id"] for row in truth if row["defect"] == "near_duplicate"}
    stay = {twin for copy, twin in twins.items() if copy not in reasons}
    kept = Counter(
        defect
        for sample_id, defect in defects.items()
        if sample_id not in reasons and twins.get(sample_id) not in reasons
    )
    lost = Counter(reason for sample_id, reason in reasons.items() if sample_id not in defects.keys() | stay)
    return {"sets": {name: len(rows.rows) for name, rows in sets.items()}, "kept": dict(kept), "lost": dict(lost)}
