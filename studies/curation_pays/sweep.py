"""Each defect alone, at several rates: which rule pays, and where curation costs more than it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from studies.curation_pays.arms import Arm, Plan, run_arms
from studies.curation_pays.compare import Group, accuracy, difference, won_back
from studies.curation_pays.lab import Lab
from studies.curation_pays.main_study import leaked_images
from studies.curation_pays.sets import RawSet, TrainingSet, curate, demo_recipe, make_raw
from studies.curation_pays.settings import Sweep, alone


@dataclass(frozen=True)
class Case:
    """One defect at one rate."""

    defect: str
    rate: float
    raw: RawSet
    curated: TrainingSet

    @property
    def versions(self) -> dict[str, TrainingSet]:
        """What is trained on."""
        return {"dirty": self.raw.uncurated(), "curated": self.curated}


def run_sweep(lab: Lab, sweep: Sweep, clean: list[Arm]) -> dict[str, Any]:
    """One entry a defect and rate.

    Args:
        clean: all arms of the main comparison's clean set, what every defect is held against.
    """
    chosen = [(defect, rate) for rate in sorted(sweep.rates, reverse=True) for defect in sweep.defects]
    cases = lab.all("sets", lambda one: make_case(*one, lab), chosen)
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
    """Accuracies of the case's arms and of the clean ones, and what curation took."""
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
        apart = {image for image in arms["dirty"][0].images if image not in leaked}
        entry["on_leaked_images"] = {
            version: accuracy(Group(of_version, apart)) for version, of_version in arms.items()
        }
    return entry


def dropped_rows(raw: RawSet, curated: TrainingSet) -> dict[str, int]:
    """What curation took: rows with a defect, and rows with none.

    An original that went because its near duplicate has more pixels and stays is not lost, and counts as neither.
    ``gone_with_their_twin`` are rows that went as duplicates of a row that another rule dropped: none of the two stays.
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
