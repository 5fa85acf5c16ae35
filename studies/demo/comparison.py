"""Dirty, curated and clean training sets compared at the same budget, all with the same seeds, rows and batches.

Part ``main`` has all defects at once; part ``alone`` has each defect alone, and shows which rule pays.
"""

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
from winnow.demo.defects import Shares
from winnow.records import read_jsonl


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


def plan_arms(lab: Lab, name: str, sets: dict[str, TrainingSet], clean: TrainingSet, trainings: int) -> list[Plan]:
    """One plan for each seed and set, seed by seed, so that a first comparison is there early.

    All arms of a seed start from the same adapter and have the rows that they share at the same places.
    """
    count = lab.settings.training.rows
    plans = []
    for seed in range(trainings):
        like = drawn(clean.rows, count, seed)
        for version, rows in sets.items():
            chosen = aligned(drawn(rows.rows, count, seed), like)
            plans.append(Plan(f"{name}/{version}/seed-{seed}", chosen, rows.image_root, seed))
    return plans


def by_version(sets: dict[str, TrainingSet], arms: list[Arm]) -> dict[str, list[Arm]]:
    """The arms that ``plan_arms`` planned, by set."""
    return {version: arms[at :: len(sets)] for at, version in enumerate(sets)}


def main_report(lab: Lab) -> dict[str, Any]:
    """All defects at once: dirty, curated and clean sets and, with fewer seeds, what an ideal curation would leave."""
    settings = lab.settings
    case, clean = make_case(lab, "all", settings.rates.together()), clean_set(lab)
    sets = {"clean": clean, "dirty": case.raw.uncurated(), "curated": curated_rows(case.raw, case.curated)}
    arms = by_version(sets, run_arms(plan_arms(lab, "main", sets, clean, settings.trainings), lab))
    report = compared(arms, leaked_images(case.raw))
    report["rows"] = row_counts(case, sets)
    if settings.ideal:
        ideal = {"ideal": case.raw.ideal()}
        of_ideal = run_arms(plan_arms(lab, "main", ideal, clean, settings.ideal), lab)
        report["ideal"] = against_ideal({**arms, "ideal": of_ideal}, leaked_images(case.raw), settings.ideal)
    return report


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


def against_ideal(arms: dict[str, list[Arm]], leaked: set[str], seeds: int) -> dict[str, Any]:
    """How far the curated set is from what an ideal curation would leave, over the first seeds."""
    groups = {version: Group(of_version, leaked).first(seeds) for version, of_version in arms.items()}
    return {
        "accuracy": {version: accuracy(group) for version, group in groups.items()},
        "ideal_minus_curated": difference(groups["curated"], groups["ideal"]),
        "clean_minus_ideal": difference(groups["ideal"], groups["clean"]),
    }


def leaked_images(raw: RawSet) -> set[str]:
    """Paths of the test images that the training rows have a copy of."""
    truth = pq.read_table(raw.truth, columns=["defect", "twin_id"]).to_pylist()
    twins = {row["twin_id"] for row in truth if row["defect"] == "leaked"}
    return {sample.image[0] for sample in read_jsonl(raw.folder / "test.jsonl") if sample.id in twins}


def alone_report(lab: Lab) -> dict[str, Any]:
    """Each defect alone: one entry per defect."""
    settings = lab.settings
    assert settings.alone
    clean, entries = clean_set(lab), []
    of_clean = run_arms(plan_arms(lab, "main", {"clean": clean}, clean, settings.alone.trainings), lab)
    for defect in settings.alone.defects:
        case = make_case(lab, defect, settings.rates.alone(defect))
        sets = {"dirty": case.raw.uncurated(), "curated": curated_rows(case.raw, case.curated)}
        arms = by_version(sets, run_arms(plan_arms(lab, defect, sets, clean, settings.alone.trainings), lab))
        found = compared({**arms, "clean": of_clean}, leaked_images(case.raw))
        entries.append({"defect": defect, **found, "rows": row_counts(case, sets)})
    return {"entries": entries}


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
