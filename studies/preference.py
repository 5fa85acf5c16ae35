"""Preference pairs from simulated corrections against more SFT on the same rows, on the demo.

An adapter that was trained for few steps answers questions about training images that it has not seen. A reviewer who
knows the answers corrects its mistakes: each is a pair (``curate export --to trl-dpo --mistakes``). From the same
merged start, with the same rows, order and optimiser steps, one arm trains on the right answers (SFT), one on the pairs
(DPO). DPO also reads the rejected answers, so a third arm, SFT for twice the steps, has its amount of computation.

After ``make demo-data`` and ``make curate``, with the demo's model in data/models/demo-vlm, run
``python -m studies.preference --docs``. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

import evalsuite.tasks
from studies.demo.lab import run_stage
from studies.pooled import mean_score, pooled_difference, shown, write_tables
from winnow.files import write_text

PAGE = Path("docs/results/preference.md")
START_STEPS, STEPS, BATCH = 160, 40, 8
# Of each method the rate that does best on images of their own, with a seed of its own.
RATES, CHOICE_SEED = (5.0e-5, 2.0e-4), 99
# Numbers of images: the first three of the training split, the last of the test split.
IMAGES = {"learned": range(2000), "asked": range(2000, 2250), "choice": range(2250, 2350), "test": range(250)}
Table = tuple[list[str], list[list[str]]]
METHODS: dict[str, dict[str, Any]] = {"sft": {}, "dpo": {"method": "dpo", "dpo": {"beta": 0.1}}}
ARMS = {"sft": ("sft", STEPS), "sft, twice the steps": ("sft", 2 * STEPS), "dpo": ("dpo", STEPS)}


def main() -> None:
    """Train, evaluate, and print the tables; with ``--docs`` write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the demo's models, raw and curated")
    parser.add_argument("--cache", type=Path, default=Path("data/cache/preference"), help="folder of runs")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--docs", action="store_true", help=f"write the tables into {PAGE}")
    given = parser.parse_args()
    lab = Lab(given.data.resolve(), given.cache.resolve(), given.seeds)
    start = lab.start()
    pairs = lab.pairs(start)
    choices = {method: lab.scores_by_rate(method, start, pairs) for method in METHODS}
    rates = {method: max(scores, key=scores.__getitem__) for method, scores in choices.items()}
    lab.evaluate("start", start, "test")
    for seed in range(given.seeds):
        for arm, (method, steps) in ARMS.items():
            changes = {"seed": seed, "max_steps": steps, "learning_rate": rates[method], **METHODS[method]}
            adapter = lab.train(f"{arm} {seed}", start, pairs, changes)
            lab.evaluate(f"{arm} {seed}", start, "test", adapter)
    tables = {"setting": lab.setting(pairs, choices), "arms": lab.arms(), "differences": lab.differences()}
    write_tables(PAGE, tables, docs=given.docs)


class Lab:
    """Where the demo's data lie and where the study's runs go."""

    def __init__(self, data: Path, cache: Path, seeds: int) -> None:
        self.data, self.cache, self.raw, self.seeds = data, cache, data / "raw/demo", range(seeds)
        rows = [json.loads(line) for line in (data / "curated/demo/samples.jsonl").read_text("utf-8").splitlines()]
        rows = [row for row in rows if row["source"] == "easy_vqa"]
        tests = [json.loads(line) for line in (self.raw / "test.jsonl").read_text("utf-8").splitlines()]
        for name, numbers in IMAGES.items():
            pool = tests if name == "test" else rows
            chosen = [row for row in pool if int(Path(row["image"]).stem.rpartition("-")[2]) in numbers]
            write_text(cache / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in chosen))
        shipped = Path(evalsuite.tasks.__file__).with_name("easy_vqa.yaml")
        task = {**yaml.safe_load(shipped.read_text(encoding="utf-8")), "name": "questions"}
        task.pop("benchmark")
        for name in ("asked", "choice", "test"):
            task["source"] = {"location": str(cache / f"{name}.jsonl"), "image_root": str(self.raw)}
            write_text(cache / f"{name}.yaml", yaml.safe_dump(task, sort_keys=False))

    def start(self) -> Path:
        """The model that all arms start from: an adapter of few steps, merged."""
        run, merged = self.cache / "runs/start", self.cache / "start"
        recipe = {
            "name": "start", "out": str(run), "model": str(self.data / "models/demo-vlm"),
            "data": str(self.cache / "learned.jsonl"), "image_root": str(self.raw), "quantization": "none",
            "lora_dropout": 0.0, "learning_rate": {"decoder": 6.0e-4, "projector": 1.0e-4}, "warmup": 0.05,
            "batch_size": 4, "questions_per_image": 12, "balance_answers": True, "max_steps": START_STEPS,
            "max_length": 512, "num_workers": 0, "save_steps": 20,
        }  # fmt: skip
        run_stage("finetune", "train", recipe, run, threads=1)
        if not (merged / "merge.json").is_file():
            from finetune.export.merge import merge

            merge(run, merged, into=None, count=16)
        return merged

    def pairs(self, start: Path) -> Path:
        """The start's mistakes on images that it has not seen, as preference pairs."""
        curated = self.cache / "curated"
        source = {"location": str(self.cache / "asked.jsonl"), "image_root": str(self.raw)}
        run_stage("curate", "run", {"name": "asked", "out": str(curated), "sources": [source]}, curated, threads=1)
        mistakes = self.evaluate("start asked", start, "asked")
        from curate.exports.export import export
        from curate.exports.rows import open_curated
        from curate.settings.outputs import ExportSettings

        exported = export(open_curated(curated), ExportSettings(to="trl-dpo", mistakes=mistakes))
        return exported.folder / "train.jsonl"

    def scores_by_rate(self, method: str, start: Path, pairs: Path) -> dict[float, float]:
        """Share of right answers about the images of the choice, by learning rate."""
        scores = {}
        for rate in RATES:
            name = f"choice {method} {rate:g}"
            changes = {"seed": CHOICE_SEED, "max_steps": STEPS, "learning_rate": rate, **METHODS[method]}
            exam = self.evaluate(name, start, "choice", self.train(name, start, pairs, changes))
            scores[rate] = mean_score(exam, "questions")
        return scores

    def train(self, name: str, start: Path, pairs: Path, changes: dict[str, Any]) -> Path:
        """The adapter of an arm."""
        run = self.cache / "runs" / _slug(name)
        recipe = {
            "name": run.name, "out": str(run), "model": str(start), "data": str(pairs), "image_root": str(self.raw),
            "quantization": "none", "lora_dropout": 0.0, "projector": False, "warmup": 0.05,
            "batch_size": BATCH, "max_length": 512, "num_workers": 0, "save_steps": 20, **changes,
        }  # fmt: skip
        run_stage("finetune", "train", recipe, run, threads=1)
        return run / "adapter"

    def evaluate(self, name: str, start: Path, task: str, adapter: Path | None = None) -> Path:
        """The evaluation of the start, or of an adapter on it."""
        folder = self.exam(name)
        model = {"path": str(start), **({"adapter": str(adapter)} if adapter else {})}
        recipe = {"name": folder.name, "out": str(folder), "model": model, "tasks": [str(self.cache / f"{task}.yaml")]}
        run_stage("evalsuite", "run", recipe, folder, threads=1)
        return folder

    def exam(self, name: str) -> Path:
        """Folder of an evaluation."""
        return self.cache / "evals" / _slug(name)

    def setting(self, pairs: Path, choices: dict[str, dict[float, float]]) -> Table:
        """What was known before the test."""
        count = sum(1 for _ in pairs.open(encoding="utf-8"))
        asked = mean_score(self.exam("start asked"), "questions")
        rows = [["accuracy of the start on the images that it was asked about", f"{100 * asked:.1f}"],
                ["pairs: its mistakes there", f"{count:,}"]]  # fmt: skip
        for method, scores in choices.items():
            each = ", ".join(f"{rate:g}: {100 * score:.1f}" for rate, score in scores.items())
            rows.append([f"{method}: accuracy on the images of the choice by learning rate", each])
        return ["", ""], rows

    def arms(self) -> Table:
        """Accuracy on the test images, by arm and seed."""
        rows = [["start", *[f"{100 * mean_score(self.exam('start'), 'questions'):.1f}"] * len(self.seeds)]]
        for arm in ARMS:
            rows.append(
                [arm, *(f"{100 * mean_score(self.exam(f'{arm} {seed}'), 'questions'):.1f}" for seed in self.seeds)]
            )
        return ["arm", *(f"seed {seed}" for seed in self.seeds)], rows

    def differences(self) -> Table:
        """Differences on the test images over all seeds together."""
        rows = []
        for a, b in (("start", "sft"), ("start", "dpo"), ("sft", "dpo"), ("sft, twice the steps", "dpo")):
            pairs = [
                (self.exam("start" if a == "start" else f"{a} {seed}"), self.exam(f"{b} {seed}")) for seed in self.seeds
            ]
            rows.append([a, b, *shown(pooled_difference(pairs, "questions"))])
        return ["A", "B", "A: accuracy", "B: accuracy", "B − A", "95% interval"], rows


def _slug(name: str) -> str:
    return name.replace(",", "").replace(" ", "-")


if __name__ == "__main__":
    main()
