"""The main comparison: all defects at once, three training sets, the same budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from data.demo.defects import Shares
from proof.arms import Arm, run_arm
from proof.compare import Group, accuracy, difference, won_back
from proof.sets import RawSet, TrainingSet, curate, demo_recipe, make_raw
from proof.settings import ProofSettings

VERSIONS = ("dirty", "curated", "clean")


def main_sets(settings: ProofSettings, cache: Path) -> tuple[RawSet, dict[str, TrainingSet]]:
    """The set with all defects, and the three versions of it that are trained on."""
    dirty = make_raw(cache / "sets/all", settings.dirty(), settings.images, settings.data_seed)
    clean = make_raw(cache / "sets/clean", Shares.only(), settings.images, settings.data_seed)
    curated = curate(dirty, demo_recipe(dirty), cache / "sets/all/curated")
    return dirty, {"dirty": dirty.uncurated(), "curated": curated, "clean": clean.uncurated()}


def run_main(settings: ProofSettings, cache: Path) -> tuple[dict[str, list[Arm]], dict[str, Any]]:
    """All arms, seed by seed so that a comparison stands as early as can be, and what they say."""
    dirty, sets = main_sets(settings, cache)
    arms: dict[str, list[Arm]] = {version: [] for version in VERSIONS}
    for seed in settings.seeds:
        for version in VERSIONS:
            arms[version].append(run_arm(f"main/{version}/seed-{seed}", sets[version], seed, settings, cache))
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
    from curate.jsonl import read_jsonl

    truth = pq.read_table(raw.truth, columns=["defect", "twin_id"]).to_pylist()
    twins = {row["twin_id"] for row in truth if row["defect"] == "leaked"}
    return {sample.image[0] for sample in read_jsonl(raw.folder / "test.jsonl") if sample.id in twins}
