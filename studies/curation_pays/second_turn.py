"""The second turn of the loop: a rule on the losses of the first training, and a review of the rows of highest loss.

Nothing else is curated here, so that the gain comes from the losses and the review alone. The reviewer is simulated
from the truth: wrong answers are corrected, rows with a blurred image and rows that only contradict another are
dropped, and the rest is left. The baseline is a review of the same number of rows drawn at random.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from studies.curation_pays.arms import Arm, Group, Plan, accuracy, difference, run_arms
from studies.curation_pays.comparison import leaked_images
from studies.curation_pays.lab import Lab
from studies.curation_pays.sets import RawSet, TrainingSet, bare_recipe, curate
from studies.curation_pays.settings import SecondTurn
from winnow.corrections import Correction
from winnow.files import digest_of, write_text

_AT = "2026-01-01T00:00:00Z"  # fixed: the corrections are part of a cached result


def run_second_turn(lab: Lab, turn: SecondTurn, raw: RawSet, curated: TrainingSet, first: list[Arm]) -> dict[str, Any]:
    """The gain of a rule on the losses, and of reviewing equally many rows chosen by loss and at random.

    Args:
        raw, first: the set with all defects, and the arms trained on it uncurated.
        curated: the same set curated; only its stored rows are read.
    """
    losses = mean_losses(first[0].losses)
    worst = list(losses)[: turn.corrected]
    drawn = random.Random(0).sample(sorted(losses), len(worst))
    folder = lab.sets / "second-turn"
    limit = round(float(np.quantile(list(losses.values()), 1 - turn.dropped)), 4)
    rule = {"high_loss": {"when": f"train_loss > {limit}", "action": "drop"}}
    recipes = {"loss_rule": bare_recipe(raw, losses=[str(first[0].losses)], rules=rule)}
    changed: dict[str, int] = {}
    for name, chosen in {"reviewed_worst": worst, "reviewed_at_random": drawn}.items():
        lines = review(chosen, raw, curated)
        changed[name] = len(lines)
        corrections = folder / name / "corrections"
        corrections.mkdir(parents=True, exist_ok=True)
        write_text(corrections / "simulated.jsonl", "".join(line.model_dump_json() + "\n" for line in lines))
        recipes[name] = bare_recipe(raw, corrections=str(corrections))
    leaked = leaked_images(raw)
    seeds = turn.seeds
    dirty = Group([first[lab.settings.seeds.index(seed)] for seed in seeds], leaked)
    report: dict[str, Any] = {"dirty": accuracy(dirty), "looked_at": len(worst), "loss_threshold": limit}
    report["rows_with_a_loss"] = len(losses)
    data = lab.map("sets", lambda name: curate(raw, recipes[name], folder / name / "set"), list(recipes))
    plans = [
        Plan(f"second-turn/{name}/seed-{seed}", training_set, seed)
        for name, training_set in zip(recipes, data, strict=True)
        for seed in seeds
    ]
    arms = run_arms(plans, lab)
    groups = {name: Group(arms[at * len(seeds) : (at + 1) * len(seeds)], leaked) for at, name in enumerate(recipes)}
    for name, group in groups.items():
        gain = difference(dirty, group)
        report[name] = {"accuracy": accuracy(group), "minus_dirty": gain}
        if name in changed:
            report[name] |= {
                "rows_changed": changed[name],
                "gain_per_row_looked_at": gain["difference"] / max(1, len(worst)),
                "gain_per_row_changed": gain["difference"] / max(1, changed[name]),
            }
    report["worst_minus_random"] = difference(groups["reviewed_at_random"], groups["reviewed_worst"])
    report["loss_rule"]["rows"] = rule_hits(raw, [sample_id for sample_id, loss in losses.items() if loss > limit])
    return report


def mean_losses(losses: Path) -> dict[str, float]:
    """Sample id → mean loss over the epochs, highest first, ties by id."""
    table = pq.read_table(losses, columns=["sample_id", "loss"]).group_by("sample_id").aggregate([("loss", "mean")])
    rows = zip(table["sample_id"].to_pylist(), table["loss_mean"].to_pylist(), strict=True)
    return dict(sorted(rows, key=lambda row: (-row[1], row[0])))


def rule_hits(raw: RawSet, dropped: list[str]) -> dict[str, int]:
    """How many rows a rule drops, in all and by defect."""
    defects = {row["sample_id"]: row["defect"] for row in _truth(raw)}
    found = Counter(defects.get(sample_id, "without_defect") for sample_id in dropped)
    return {"dropped": len(dropped), **dict(found.most_common())}


def review(chosen: list[str], raw: RawSet, curated: TrainingSet) -> list[Correction]:
    """Corrections, as the dashboard writes them, of a reviewer who knows the truth about these rows."""
    truth = {row["sample_id"]: row for row in _truth(raw)}
    rows = pq.read_table(curated.data / "samples.parquet", columns=["sample_id", "content_hash"])
    hashes = dict(zip(rows["sample_id"].to_pylist(), rows["content_hash"].to_pylist(), strict=True))
    lines = []
    for sample_id in chosen:
        known = truth.get(sample_id)
        if known is None:
            continue
        base = {
            "correction_id": digest_of(sample_id)[:32], "sample_id": sample_id, "reviewer": "simulated", "at": _AT,
            "content_hash": hashes[sample_id],
        }  # fmt: skip
        if known["defect"] == "wrong_answer":
            right = json.loads(known["detail"])["right_answer"]
            lines.append(Correction.model_validate({**base, "action": "relabel", "field": "answer", "new": right}))
        elif known["defect"] == "blurred" or "/con-" in sample_id:
            lines.append(Correction.model_validate({**base, "action": "drop"}))
    return lines


def _truth(raw: RawSet) -> list[dict[str, Any]]:
    return list(pq.read_table(raw.truth, columns=["sample_id", "defect", "detail"]).to_pylist())
