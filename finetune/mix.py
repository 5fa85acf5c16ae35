"""``finetune mix-search``: short runs with a few weights of the sources, compared with equal weights on held-out rows.

Every trial is a run folder of its own, named by a digest of its recipe, so that a killed search goes on where it
stopped. A trial's figure is the mean over the held-out parts of their mean row loss: every part counts the same,
whatever its size. Its difference to equal weights is paired by row, with an interval that draws whole images. The
intervals of all trials hold together: with k of them beside equal weights, each has the level 1 - 0.05 / k
(Bonferroni). One run each: training seeds are not in the interval.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evalsuite.statistics import Floats, cluster_codes, interval
from finetune.data.rows import RowError, Rows, open_rows, open_sets
from finetune.recipe import TrainRecipe, load
from finetune.score import score
from finetune.training.run import train
from winnow.errors import UserError
from winnow.files import digest_of, write_json, write_text
from winnow.strict_yaml import read_mapping

FAVOURED = 3.0  # weight of the source that a default trial favours; all others have 1
_LEVEL, _MOST_COLUMNS = 0.95, 6
Weights = dict[str, float]


@dataclass(frozen=True)
class HeldOut:
    """The held-out rows of all sets, in one order.

    Attributes:
        ids: of the rows.
        part: number of each row's part, int64 (rows,).
        image: number of each row's image, int64 (rows,); rows without one are each their own.
        parts: the parts by name: a set, or a source of a set that has several.
    """

    ids: tuple[str, ...]
    part: np.ndarray
    image: np.ndarray
    parts: tuple[str, ...]

    def by_part(self, losses: Floats) -> list[float]:
        """Mean loss of each part."""
        return [float(losses[self.part == number].mean()) for number in range(len(self.parts))]

    def difference(self, losses: Floats, equal: Floats, level: float) -> tuple[float, float | None, float | None]:
        """Mean over the parts of the mean difference, paired by row; with its interval, which draws images."""
        count = len(self.parts)
        inside = self.part[:, None] == np.arange(count)
        sums = np.concatenate([inside * (losses - equal)[:, None], inside], axis=1).astype(np.float64)

        def estimate(drawn: Floats) -> Floats:
            with np.errstate(invalid="ignore", divide="ignore"):
                # NaN where no image of a part was drawn; such draws are left out.
                return (drawn[:, :count] / drawn[:, count:]).mean(axis=1)  # type: ignore[no-any-return]

        found = interval(sums, self.image, estimate, level=level)
        return found.value, found.low, found.high


def parse_weights(text: str) -> Weights:
    """``a=3,b=1`` as weights by name.

    Raises:
        UserError: anything else, a name that is given twice, or a weight that is not a number above 0.
    """
    found: Weights = {}
    for pair in text.split(","):
        name, _, number = (part.strip() for part in pair.rpartition("="))
        try:
            weight = float(number)
        except ValueError:
            weight = 0.0
        if not name or name in found or not 0 < weight < math.inf:
            raise UserError(f"--weights {text}: give each name once with a number above 0, such as vqa=3,captions=1")
        found[name] = weight
    return found


def default_trials(names: Sequence[str]) -> list[Weights]:
    """One trial for each name, with three times the weight of each other one."""
    return [{name: FAVOURED if name == favoured else 1.0 for name in names} for favoured in names]


def mix_search(path: Path, asked: Sequence[Weights], steps: int, *, fresh: bool = False) -> dict[str, Any]:
    """Try weights, print the table, and write ``mix.json`` and ``recipe.yaml`` into ``<run folder>-mix-search``.

    Args:
        path: a recipe of one stage that names held-out sets under ``evaluate``.
        asked: the weights to try beside equal ones; empty: ``default_trials``.
        steps: optimiser steps of each trial.
        fresh: train finished trials again.

    Returns:
        What ``mix.json`` holds.

    Raises:
        UserError: the recipe, the weights or the data cannot be used.
    """
    recipe = load(path)
    if len(recipe.stages) > 1:
        raise UserError(f"{path}: has {len(recipe.stages)} stages; give a recipe of the stage whose weights are sought")
    if not recipe.evaluate:
        raise UserError(f"{path}: name held-out rows under `evaluate:`; weights are compared by the loss on them")
    names = list(dict.fromkeys(name for weights in asked for name in weights)) or _names(recipe)
    if len(names) < 2:
        raise UserError(f"{path}: has one source only, {names[0]!r}, so there is nothing to weigh")
    equal = dict.fromkeys(names, 1.0)
    trials = [equal]
    for weights in asked or default_trials(names):
        if _shares(weights) not in map(_shares, trials):
            trials.append(weights)
    if len(trials) == 1:
        raise UserError("--weights: only equal weights were given; give others, to be compared with them")
    folder = recipe.folder.with_name(f"{recipe.folder.name}-mix-search")
    console = Console(highlight=False)
    losses, runs, held = [], [], None
    for number, weights in enumerate(trials, start=1):
        console.print(f"trial {number} of {len(trials)}: {_label(weights)}", markup=False)
        trial = _trial(recipe, weights, steps, folder)
        run = train(trial, fresh=fresh)
        ids, found = _losses(run, recipe.evaluate)
        if held is None:
            held = _held_out(recipe.evaluate, ids)
        elif held.ids != tuple(ids):
            raise UserError(f"{run}: another trial could use other held-out rows; start again with --fresh")
        losses.append(found)
        runs.append(run)
        _free()
    assert held is not None
    outcome = _compared(trials, runs, losses, held, steps)
    write_json(folder / "mix.json", outcome)
    write_text(folder / "recipe.yaml", _with_weights(path, outcome["weights"]))
    console.print(_table(outcome))
    console.print(outcome["sentence"], markup=False, soft_wrap=True)
    console.print(f"written: {folder}/mix.json and recipe.yaml", markup=False, soft_wrap=True)
    return outcome


def _names(recipe: TrainRecipe) -> list[str]:
    """What can be weighed: the data sets if there are several, else the sources."""
    if isinstance(recipe.data, dict) and len(recipe.data) > 1:
        return list(recipe.data)
    return sorted(set(_sources(open_rows(recipe))))


def _sources(rows: Rows) -> list[str]:
    found = []
    for number in range(len(rows)):
        try:
            found.append(rows[number].source)
        except RowError:  # training rejects it and says why
            continue
    return found


def _trial(recipe: TrainRecipe, weights: Weights, steps: int, folder: Path) -> TrainRecipe:
    """The recipe of a short run with these weights."""
    values = recipe.model_dump(exclude_unset=True)
    stage = {**(values.get("stages") or [{}])[0], "weights": weights, "max_steps": steps}
    values |= {
        "stages": [stage], "evaluate": {}, "eval_tasks": {}, "eval_steps": None, "best": None, "patience": None,
        "keep_checkpoints": 0, "out": None,
    }  # fmt: skip
    name = f"trial-{digest_of(TrainRecipe.model_validate(values).model_dump(mode='json'))[:12]}"
    return TrainRecipe.model_validate({**values, "name": name, "out": folder / name})


def _losses(run: Path, sets: Mapping[str, Path]) -> tuple[list[str], Floats]:
    """Ids of the held-out rows of all sets that can be scored, each with its set, and their losses (rows,)."""
    ids: list[str] = []
    losses = []
    for number, (name, data) in enumerate(sets.items()):
        out = run / f"held-out-{number}.parquet"
        score(run, data, out)
        table = pq.read_table(out, columns=["sample_id", "loss"])
        ids += [f"{name}\t{one}" for one in table["sample_id"].to_pylist()]
        losses.append(table["loss"].to_numpy())
    return ids, np.concatenate(losses)


def _held_out(sets: Mapping[str, Path], ids: Sequence[str]) -> HeldOut:
    known: dict[str, tuple[str, Any]] = {}
    sources: dict[str, set[str]] = {name: set() for name in sets}
    for name, data in sets.items():
        rows = open_sets({name: data}, None)
        for number in range(len(rows)):
            try:
                sample = rows[number]
            except RowError:
                continue
            own = f"{name}\t{sample.id}"
            image = f"{rows.image_root}/{sample.image[0]}" if sample.image else own
            known[own] = (sample.source, image)
            sources[name].add(sample.source)
    labels = []
    for own in ids:
        name = own.partition("\t")[0]
        labels.append(f"{name}: {known[own][0]}" if len(sources[name]) > 1 else name)
    parts = tuple(dict.fromkeys(labels))
    part = np.array([parts.index(label) for label in labels])
    return HeldOut(tuple(ids), part, cluster_codes([known[own][1] for own in ids]), parts)


def _compared(
    trials: Sequence[Weights], runs: Sequence[Path], losses: Sequence[Floats], held: HeldOut, steps: int
) -> dict[str, Any]:
    level = 1 - (1 - _LEVEL) / (len(trials) - 1)
    entries = []
    for number, (weights, run, found) in enumerate(zip(trials, runs, losses, strict=True)):
        by_part = held.by_part(found)
        entry: dict[str, Any] = {
            "weights": weights, "run": str(run), "loss": sum(by_part) / len(by_part),
            "by_part": dict(zip(held.parts, by_part, strict=True)),
        }  # fmt: skip
        if number:
            value, low, high = held.difference(found, losses[0], level)
            entry |= {"minus_equal": value, "low": low, "high": high}
        entries.append(entry)
    best = min(entries, key=lambda entry: entry["loss"])
    proven = best.get("high") is not None and best["high"] < 0
    images = len(np.unique(held.image))
    basis = f"{len(held.ids):,} held-out rows about {images:,} images, {steps:,} steps, one run each"
    if best is entries[0]:
        sentence = f"equal weights have the lowest loss ({basis}): nothing is better than equal weights"
    else:
        bounds = "" if best["low"] is None else f" [{best['low']:+.4f}, {best['high']:+.4f}]"
        sentence = (
            f"{_label(best['weights'])} minus equal weights: {best['minus_equal']:+.4f} nats{bounds} ({basis}): "
            + ("better than equal weights" if proven else "no better than equal weights")
        )
    return {
        "trials": entries, "level": level, "rows": len(held.ids), "images": images, "steps": steps,
        "better_than_equal": proven, "weights": best["weights"] if proven else trials[0], "sentence": sentence,
    }  # fmt: skip


def _table(outcome: Mapping[str, Any]) -> Table:
    entries = outcome["trials"]
    parts = list(entries[0]["by_part"])
    shown = parts if 1 < len(parts) <= _MOST_COLUMNS else []
    table = Table("weights", "mean loss", *map(escape, shown), f"minus equal, {outcome['level']:.1%} interval")
    for entry in entries:
        bounds = "" if entry.get("low") is None else f" [{entry['low']:+.4f}, {entry['high']:+.4f}]"
        change = f"{entry['minus_equal']:+.4f}{bounds}" if "minus_equal" in entry else "–"
        losses = [f"{entry['by_part'][part]:.4f}" for part in shown]
        table.add_row(escape(_label(entry["weights"])), f"{entry['loss']:.4f}", *losses, escape(change))
    return table


def _with_weights(path: Path, weights: Weights) -> str:
    """The text of the user's recipe with these weights, under a name of its own."""
    values = dict(read_mapping(path))
    stage = {key: value for key, value in (values.get("stages") or [{}])[0].items() if key != "weights"}
    values["stages"] = [{**stage, "weights": weights}]
    values["name"] = f"{values['name']}-mix"
    if values.get("out"):
        values["out"] = f"{values['out']}-mix"
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _shares(weights: Weights) -> tuple[tuple[str, float], ...]:
    whole = sum(weights.values())
    return tuple(sorted((name, round(weight / whole, 9)) for name, weight in weights.items()))


def _label(weights: Weights) -> str:
    return ", ".join(f"{name}={weight:g}" for name, weight in weights.items())


def _free() -> None:
    """Give the memory of a trial's model back before the next one loads."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
