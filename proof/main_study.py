"""The main comparison: all defects at once, three training sets, the same budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from curate.jsonl import read_jsonl
from data.demo.defects import Shares
from proof.arms import Arm, Plan, run_arms
from proof.compare import Group, accuracy, difference, won_back
from proof.exam import write_exam
from proof.lab import Lab
from proof.sets import RawSet, TrainingSet, curate, demo_recipe, make_raw
from proof.settings import ProofSettings, Regime

VERSIONS = ("dirty", "curated", "clean")


def all_defects(settings: ProofSettings, folder: Path) -> tuple[RawSet, TrainingSet]:
    """The set with all defects, and what curation leaves of it."""
    dirty = make_raw(folder, settings.dirty(), settings)
    return dirty, curate(dirty, demo_recipe(dirty), folder / "curated")


def without_defects(settings: ProofSettings, folder: Path) -> TrainingSet:
    """The same pictures and questions before anything was done to them."""
    return make_raw(folder, Shares.only(), settings).uncurated()


def run_main(lab: Lab, dirty: RawSet, curated: TrainingSet) -> tuple[dict[str, list[Arm]], dict[str, Any]]:
    """The comparison that the other parts build on, and the same in the other regimes.

    Returns:
        The arms of the first one by training set, and the report of all.
    """
    arms, report = _compare_three(lab, dirty, curated)
    report["also"] = []
    for regime in lab.settings.also:
        other = in_regime(lab, regime)
        raw, cleaned = all_defects(other.settings, other.sets / "all")
        write_exam(raw, other.settings, other.exam)
        report["also"].append({"regime": regime.model_dump(mode="json"), **_compare_three(other, raw, cleaned)[1]})
    return arms, report


def in_regime(lab: Lab, regime: Regime) -> Lab:
    """The lab with a regime's budget and sets."""
    training = lab.settings.training.model_copy(update={"steps": regime.steps})
    changed = {"training": training, "images": regime.images, "kinds": regime.kinds}
    return replace(lab, settings=lab.settings.model_copy(update=changed))


def _compare_three(lab: Lab, dirty: RawSet, curated: TrainingSet) -> tuple[dict[str, list[Arm]], dict[str, Any]]:
    """Seed by seed, so that a comparison stands as early as can be."""
    clean = without_defects(lab.settings, lab.sets / "clean")
    sets = dict(zip(VERSIONS, (dirty.uncurated(), curated, clean), strict=True))
    plans = [
        Plan(f"main/{version}/seed-{seed}", sets[version], seed) for seed in lab.settings.seeds for version in VERSIONS
    ]
    done = run_arms(plans, lab)
    arms = {version: done[at :: len(VERSIONS)] for at, version in enumerate(VERSIONS)}
    return arms, compared(arms, leaked_pictures(dirty))


def compared(arms: dict[str, list[Arm]], leaked: set[str]) -> dict[str, Any]:
    """Accuracies and differences on test pictures that were not leaked, and, apart, on those that were."""
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


def leaked_pictures(raw: RawSet) -> set[str]:
    """Test pictures of which the training rows hold a copy, as the test rows name them."""
    truth = pq.read_table(raw.truth, columns=["defect", "twin_id"]).to_pylist()
    twins = {row["twin_id"] for row in truth if row["defect"] == "leaked"}
    return {sample.image[0] for sample in read_jsonl(raw.folder / "test.jsonl") if sample.id in twins}
