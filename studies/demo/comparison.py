"""Dirty, curated and clean training sets compared at the same budget.

Part ``main`` has all defects at once; part ``sweep`` has each defect alone at several rates, and shows which rule
pays and where curation costs more than it gains.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pyarrow.parquet as pq

from studies.curation_pays.arms import Arm, Group, Plan, accuracy, difference, run_arms, won_back
from studies.curation_pays.lab import Lab
from studies.curation_pays.sets import RawSet, TrainingSet, curate, demo_recipe, make_raw, write_exam
from studies.curation_pays.settings import Regime, Sweep, alone
from winnow.demo.defects import Shares
from winnow.records import read_jsonl


@dataclass(frozen=True)
class Sets:
    """What the main comparison trains on.

    Attributes:
        raw: the set with all defects.
        curated: what curation leaves of it.
        clean: the same images and questions without defects.
    """

    raw: RawSet
    curated: TrainingSet
    clean: TrainingSet

    @property
    def versions(self) -> dict[str, TrainingSet]:
        """By name, the worst first."""
        return {"dirty": self.raw.uncurated(), "curated": self.curated, "clean": self.clean}


def prepare(lab: Lab) -> Sets:
    """Make the sets and the test questions."""
    raw, curated = all_defects(lab)
    write_exam(raw, lab.settings, lab.exam)
    return Sets(raw, curated, make_raw(lab.sets / "clean", Shares.only(), lab.settings).uncurated())


def all_defects(lab: Lab) -> tuple[RawSet, TrainingSet]:
    """The set with all defects, and what curation leaves of it."""
    folder = lab.sets / "all"
    dirty = make_raw(folder, lab.settings.dirty(), lab.settings)
    return dirty, curate(dirty, demo_recipe(dirty), folder / "curated")


def main_arms(lab: Lab, sets: Sets) -> dict[str, list[Arm]]:
    """The arms of each version; seed by seed, so that a first comparison is there early."""
    versions = sets.versions
    plans = [
        Plan(f"main/{name}/seed-{seed}", data, seed) for seed in lab.settings.seeds for name, data in versions.items()
    ]
    done = run_arms(plans, lab)
    return {name: done[at :: len(versions)] for at, name in enumerate(versions)}


def main_report(lab: Lab, sets: Sets, arms: dict[str, list[Arm]]) -> dict[str, Any]:
    """The comparison, once more for each of the other regimes."""
    also = []
    for regime in lab.settings.also:
        other = in_regime(lab, regime)
        of_regime = prepare(other)
        found = compared(main_arms(other, of_regime), leaked_images(of_regime.raw))
        also.append({"regime": regime.model_dump(mode="json"), **found})
    return {**compared(arms, leaked_images(sets.raw)), "also": also}


def in_regime(lab: Lab, regime: Regime) -> Lab:
    """The same lab with the budget and sets of a regime."""
    training = lab.settings.training.model_copy(update={"steps": regime.steps})
    changed = {"training": training, "images": regime.images, "kinds": regime.kinds}
    return replace(lab, settings=lab.settings.model_copy(update=changed))


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


@dataclass(frozen=True)
class Case:
    """A set with one defect at one rate."""

    defect: str
    rate: float
    raw: RawSet
    curated: TrainingSet

    @property
    def versions(self) -> dict[str, TrainingSet]:
        """The training sets by name."""
        return {"dirty": self.raw.uncurated(), "curated": self.curated}


def run_sweep(lab: Lab, sweep: Sweep, clean: list[Arm]) -> dict[str, Any]:
    """One entry per defect and rate.

    Args:
        clean: all arms of the main comparison's clean set, with which every defect is compared.
    """
    chosen = [(defect, rate) for rate in sorted(sweep.rates, reverse=True) for defect in sweep.defects]
    cases = lab.map("sets", lambda pair: make_case(*pair, lab), chosen)
    keys = [(case, version, seed) for case in cases for version in case.versions for seed in sweep.seeds]
    plans = [
        Plan(f"sweep/{case.defect}-{case.rate:g}/{version}/seed-{seed}", case.versions[version], seed)
        for case, version, seed in keys
    ]
    arms: dict[tuple[str, float, str], list[Arm]] = {}
    for (case, version, _), arm in zip(keys, run_arms(plans, lab), strict=True):
        arms.setdefault((case.defect, case.rate, version), []).append(arm)
    entries = []
    for case in cases:
        own = {version: arms[case.defect, case.rate, version] for version in case.versions}
        entries.append(entry_of(case, {**own, "clean": clean}))
    return {"entries": entries}


def make_case(defect: str, rate: float, lab: Lab) -> Case:
    """Inject the defect and curate."""
    folder = lab.sets / f"{defect}-{rate:g}"
    raw = make_raw(folder, alone(defect, rate), lab.settings)
    return Case(defect, rate, raw, curate(raw, demo_recipe(raw), folder / "curated"))


def entry_of(case: Case, arms: dict[str, list[Arm]]) -> dict[str, Any]:
    """Accuracies of the case's arms and of the clean arms, and how many rows curation dropped."""
    leaked = leaked_images(case.raw)
    groups = {version: Group(of_version, leaked) for version, of_version in arms.items()}
    entry: dict[str, Any] = {
        "defect": case.defect,
        "rate": case.rate,
        "accuracy": {version: accuracy(group) for version, group in groups.items()},
        "curated_minus_dirty": difference(groups["dirty"], groups["curated"]),
        "gap_won_back": won_back(groups["dirty"], groups["curated"], groups["clean"]),
        "rows": dropped_rows(case.raw, case.curated),
    }
    if leaked:
        others = {image for image in arms["dirty"][0].images if image not in leaked}
        entry["on_leaked_images"] = {
            version: accuracy(Group(of_version, others)) for version, of_version in arms.items()
        }
    return entry


def dropped_rows(raw: RawSet, curated: TrainingSet) -> dict[str, int]:
    """How many rows curation dropped, with and without a defect.

    An original that was dropped in favour of its near duplicate, which has more pixels, is not lost and counts as
    neither. ``gone_with_their_twin`` counts rows dropped as duplicates of a row that another rule dropped as well.
    """
    truth = pq.read_table(raw.truth, columns=["sample_id", "defect", "twin_id"]).to_pylist()
    affected = {row["sample_id"] for row in truth}
    columns = ["sample_id", "decision", "reason", "representative"]
    decisions = pq.read_table(curated.data / "decisions.parquet", columns=columns).to_pylist()
    dropped = {row["sample_id"] for row in decisions if row["decision"] == "drop"}
    copies = (row for row in truth if row["defect"] == "near_duplicate" and row["sample_id"] not in dropped)
    replaced = {row["twin_id"] for row in copies}
    return {
        "rows": len(decisions),
        "affected": len(affected),
        "dropped": len(dropped),
        "dropped_without_defect": len(dropped - affected - replaced),
        "gone_with_their_twin": sum(
            row["reason"] == "duplicate" and row["representative"] in dropped for row in decisions
        ),
    }
