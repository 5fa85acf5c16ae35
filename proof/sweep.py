"""Each defect alone, at several rates: which rule pays, and where curation costs more than it gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from proof.arms import Arm, run_arm
from proof.compare import Group, accuracy, difference, won_back
from proof.main_study import leaked_pictures
from proof.sets import RawSet, TrainingSet, curate, demo_recipe, make_raw
from proof.settings import ProofSettings, Sweep, alone


def run_sweep(settings: ProofSettings, sweep: Sweep, clean: list[Arm], cache: Path) -> dict[str, Any]:
    """One entry a defect and rate.

    Args:
        clean: arms of the main comparison's clean set, which all defects share; seeds that it lacks are left out.
    """
    entries = [
        _one(defect, rate, settings, sweep, clean, cache)
        for rate in sorted(sweep.rates, reverse=True)  # the strongest first: it tells soonest
        for defect in sweep.defects
    ]
    return {"entries": entries}


def _one(
    defect: str, rate: float, settings: ProofSettings, sweep: Sweep, clean: list[Arm], cache: Path
) -> dict[str, Any]:
    folder = cache / "sets" / f"{defect}-{rate:g}"
    raw = make_raw(folder, alone(defect, rate), settings.images, settings.data_seed)
    sets = {"dirty": raw.uncurated(), "curated": curate(raw, demo_recipe(raw), folder / "curated")}
    seeds = [seed for seed in sweep.seeds if seed in settings.seeds]
    name = f"sweep/{defect}-{rate:g}"
    arms = {
        version: [run_arm(f"{name}/{version}/seed-{seed}", one, seed, settings, cache) for seed in seeds]
        for version, one in sets.items()
    }
    leaked = leaked_pictures(raw)
    groups = {version: Group(of_version, leaked) for version, of_version in arms.items()}
    groups["clean"] = Group([clean[settings.seeds.index(seed)] for seed in seeds], leaked)
    entry: dict[str, Any] = {
        "defect": defect,
        "rate": rate,
        "accuracy": {version: accuracy(group) for version, group in groups.items()},
        "curated_minus_dirty": difference(groups["dirty"], groups["curated"]),
        "gap_won_back": won_back(groups["dirty"], groups["curated"], groups["clean"]),
        "rows": dropped_rows(raw, sets["curated"]),
    }
    if leaked:
        apart = {image for image in arms["dirty"][0].images if image not in leaked}
        entry["on_leaked_pictures"] = {
            version: accuracy(Group(of_version, apart)) for version, of_version in arms.items()
        }
    return entry


def dropped_rows(raw: RawSet, curated: TrainingSet) -> dict[str, int]:
    """What curation took: rows with a defect, and rows with none."""
    affected = set(pq.read_table(raw.truth, columns=["sample_id"]).column(0).to_pylist())
    decisions = pq.read_table(curated.data / "decisions.parquet", columns=["sample_id", "decision"]).to_pylist()
    dropped = {row["sample_id"] for row in decisions if row["decision"] == "drop"}
    return {
        "rows": len(decisions),
        "affected": len(affected),
        "dropped": len(dropped),
        "dropped_without_defect": len(dropped - affected),
    }
