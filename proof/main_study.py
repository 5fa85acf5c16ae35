"""The main comparison: all defects at once, three training sets, the same budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from curate.jsonl import read_jsonl
from data.demo.defects import Shares
from proof.arms import Arm, Plan, run_arms
from proof.compare import Group, accuracy, difference, won_back
from proof.lab import Lab
from proof.sets import RawSet, TrainingSet, curate, demo_recipe, make_raw
from proof.settings import ProofSettings

VERSIONS = ("dirty", "curated", "clean")


def all_defects(settings: ProofSettings, folder: Path) -> tuple[RawSet, TrainingSet]:
    """The set with all defects, and what curation leaves of it."""
    dirty = make_raw(folder, settings.dirty(), settings)
    return dirty, curate(dirty, demo_recipe(dirty), folder / "curated")


def without_defects(settings: ProofSettings, folder: Path) -> TrainingSet:
    """The same pictures and questions before anything was done to them."""
    return make_raw(folder, Shares.only(), settings).uncurated()


def run_main(lab: Lab, dirty: RawSet, curated: TrainingSet) -> tuple[dict[str, list[Arm]], dict[str, Any]]:
    """All arms, seed by seed, with the budget of all parts and then with the longer ones, and what they say.

    Returns:
        The arms of the first budget by training set, and the report.
    """
    clean = without_defects(lab.settings, lab.sets / "clean")
    sets = dict(zip(VERSIONS, (dirty.uncurated(), curated, clean), strict=True))
    training, leaked = lab.settings.training, leaked_pictures(dirty)
    budgets = [training.steps, *training.longer]
    plans = [
        Plan(f"main/{version}/seed-{seed}", sets[version], seed, steps)
        for steps in budgets
        for seed in lab.settings.seeds
        for version in VERSIONS
    ]
    done, found = run_arms(plans, lab), {}
    each = len(done) // len(budgets)
    for number, steps in enumerate(budgets):
        of_budget = done[number * each : (number + 1) * each]
        found[steps] = {version: of_budget[at :: len(VERSIONS)] for at, version in enumerate(VERSIONS)}
    report = compared(found[training.steps], leaked)
    report["longer"] = {str(steps): compared(found[steps], leaked) for steps in training.longer}
    return found[training.steps], report


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
