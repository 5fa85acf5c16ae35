"""Whether a selection of training rows was better than as many random ones: models trained on both, compared by row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evalsuite.analysis.compare import ComparedSide
from evalsuite.analysis.results import load_evaluation, load_manifest, score_rows
from evalsuite.statistics import finite, mean_sums, paired_difference
from winnow.errors import UserError
from winnow.files import write_json
from winnow.selections import PROOFS, TrainedSelection, selection_behind


def chosen_minus_random(folders: Sequence[Path], seed: int = 0) -> list[dict[str, Any]]:
    """For each task that all evaluations share: the mean of chosen minus the mean of random.

    Runs of several seeds are averaged row by row on each side, then rows are paired and whole images are drawn. That
    interval knows nothing of how much training seeds differ, so with several of them a difference only counts if the
    pairs of runs, by order of their seeds, agree in its sign.

    Compared is the first metric that is a mean of rows. Rows count that all evaluations hold with the same images,
    question and references, and that no request failed on.

    Raises:
        UserError: a folder is no evaluation of a model trained on a selection, the selections are not one and its
            random rows, or the evaluations share no row.
    """
    models = [selection_behind(load_manifest(folder)["recipe"].get("model") or {}) for folder in folders]
    chosen, random = _sides(folders, models)
    loaded = [load_evaluation(folder) for folder in folders]
    shared = [name for name in loaded[0][0] if all(name in specs for specs, _ in loaded)]
    found = [entry for name in shared if (entry := _compared(name, loaded, chosen, random, seed))]
    if not found:
        raise UserError("the evaluations share no row of a task; they cannot be compared")
    selection = models[chosen[0]].selection
    label = models[chosen[0]].label
    facts = {
        "selection": dict(selection), "label": label,
        "chosen": [str(folders[k]) for k in chosen], "random": [str(folders[k]) for k in random],
    }  # fmt: skip
    return [{**facts, **entry, "sentence": _sentence(label, entry)} for entry in found]


def keep_proofs(found: Sequence[dict[str, Any]]) -> list[Path]:
    """Write each below the set that was chosen from, where `curate select` finds it; none if the set is gone."""
    written = []
    for entry in found:
        of = Path(entry["selection"]["of"])
        if of.is_dir():
            name = re.sub(r"[^\w.%-]+", "_", f"{entry['label']} {entry['task']}")
            written.append(of / PROOFS / f"{name}.json")
            written[-1].parent.mkdir(exist_ok=True)
            write_json(written[-1], entry)
    return written


def _sides(folders: Sequence[Path], models: Sequence[TrainedSelection]) -> tuple[list[int], list[int]]:
    """Which evaluations are of chosen rows and which of random ones, each by training seed."""
    order = sorted(range(len(models)), key=lambda k: (models[k].seed, models[k].selection["seed"]))
    chosen = [k for k in order if not models[k].is_random]
    random = [k for k in order if models[k].is_random]
    if not chosen or len(chosen) != len(random):
        raise UserError(
            f"{len(chosen)} of the models were trained on chosen rows and {len(random)} on random ones; give as many of"
            " each"
        )
    if len(labels := sorted({models[k].label for k in chosen})) > 1:
        raise UserError(f"the models were trained on different selections ({' and '.join(labels)}); give those of one")
    for k in order:
        for key, what in (("made_from", "another set"), ("budget", "another budget")):
            if models[k].selection[key] != models[chosen[0]].selection[key]:
                raise UserError(
                    f"{folders[k]}: its model was trained on rows of {what} than that of {folders[chosen[0]]}"
                )
    return chosen, random


def _compared(
    name: str, loaded: Sequence[Any], chosen: list[int], random: list[int], seed: int
) -> dict[str, Any] | None:
    spec = loaded[chosen[0]][0][name]
    sides = [ComparedSide.of(held[name]) for _, held in loaded]
    first = sides[chosen[0]]
    places = [side.places_of(first.ids) for side in sides]
    usable = np.ones(len(first.ids), bool)
    for side, place in zip(sides, places, strict=True):
        usable &= place >= 0
        usable[usable] &= (side.questions[place[usable]] == first.questions[usable]) & ~side.failed[place[usable]]
    results = [score_rows(spec, held[name]) for _, held in loaded]
    metric = next((column.name for column in results[chosen[0]].columns if column.mean_of_rows), "")
    columns = [column for result in results for column in result.columns if column.name == metric]
    if len(columns) < len(loaded):
        return None
    values = np.stack([column.per_row[place[usable]] for column, place in zip(columns, places, strict=True)])
    applies = np.isfinite(values).all(axis=0)
    if not applies.any():
        return None
    values, clusters = values[:, applies], results[chosen[0]].clusters[usable][applies]
    before, after = (mean_sums(values[side].mean(axis=0)) for side in (random, chosen))
    difference = paired_difference(before, after, clusters, seed=seed)
    pairs = [float((values[a] - values[b]).mean()) for a, b in zip(chosen, random, strict=True)]
    column = columns[chosen[0]]
    return {
        "task": name, "metric": column.name, "unit": column.unit, "n": difference.n, "images": difference.clusters,
        "chosen_mean": float(values[chosen].mean()), "random_mean": float(values[random].mean()),
        "difference": finite(difference.value), "ci_low": difference.low, "ci_high": difference.high,
        "pairs": pairs, "verdict": _verdict(difference.low, difference.high, pairs, column.lower_is_better),
    }  # fmt: skip


def _verdict(low: float | None, high: float | None, pairs: Sequence[float], lower_is_better: bool) -> str:
    above = low is not None and low > 0 and min(pairs) > 0
    below = high is not None and high < 0 and max(pairs) < 0
    better, worse = (below, above) if lower_is_better else (above, below)
    return "better than random" if better else "worse than random" if worse else "no better than random"


def _sentence(label: str, entry: dict[str, Any]) -> str:
    scale, unit = (100, " points") if entry["unit"] == "%" else (1, "")
    value, *interval = (
        "–" if number is None else f"{scale * number:+.1f}".replace("-", "−")
        for number in (entry["difference"], entry["ci_low"], entry["ci_high"])
    )
    runs = len(entry["pairs"])
    seeds = "one run each, so training seeds are not in the interval" if runs == 1 else f"means of {runs} seeds"
    return (
        f"{label} on {entry['task']}, {entry['metric']}: chosen minus random: {value}{unit} [{', '.join(interval)}]"
        f" ({entry['n']:,} rows about {entry['images']:,} images; {seeds}): {entry['verdict']}"
    )
