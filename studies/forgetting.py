"""What a second stage makes a model forget, and what ``replay`` keeps, on the demo.

Stage 1 teaches short answers about colours and shapes (the general skill), stage 2 one-sentence captions (the vertical
one), without and with ``replay: 0.2``. After ``make demo-data`` and ``make curate``, with the demo's model in
data/models/demo-vlm, run ``python -m studies.forgetting --docs``. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

import evalsuite.tasks
from evalsuite.analysis.forgetting import forgetting
from evalsuite.report.forgotten import HEADER, forgetting_cells
from studies.demo.lab import run_stage
from studies.pooled import pooled_difference, shown, write_tables
from winnow.files import write_text

PAGE = Path("docs/results/forgetting.md")
# Chosen on seed 99, with 60 steps in stage 1, whose loss no longer fell after step 20.
STAGES: list[dict[str, Any]] = [
    {"name": "questions", "filter": {"source": "easy_vqa", "meta.answer_type": "other"}, "max_steps": 30},
    {"name": "captions", "filter": {"source": "easy_vqa_captions"}, "max_steps": 40},
]
ARMS = {"before": STAGES[:1], "no replay": STAGES, "replay": [STAGES[0], {**STAGES[1], "replay": 0.2}]}
IMAGES = 200  # of the test split
GENERAL, VERTICAL = "questions", "captions"
_SHOWN = (0, 1, 2, 4, 5, 6, 7, 8, 10)  # columns of the command's table
Table = tuple[list[str], list[list[str]]]


def main() -> None:
    """Train, evaluate, and print the tables; with ``--docs`` write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the demo's models, raw and curated")
    parser.add_argument("--cache", type=Path, default=Path("data/cache/forgetting"), help="folder of runs")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--docs", action="store_true", help=f"write the tables into {PAGE}")
    given = parser.parse_args()
    tasks = write_tasks(given.data.resolve(), given.cache)
    for seed in range(given.seeds):
        for arm in ARMS:
            run_arm(given.data.resolve(), given.cache, tasks, arm, seed)
    tables = {"seeds": by_seed(given.cache, given.seeds), "pooled": over_seeds(given.cache, given.seeds)}
    write_tables(PAGE, tables, docs=given.docs)


def write_tasks(data: Path, cache: Path) -> list[Path]:
    """The general and the vertical task: questions about the same test images, and their captions."""
    made = []
    for name, shipped, file in (
        (GENERAL, "easy_vqa", "test.jsonl"), (VERTICAL, "easy_vqa_caption", "test_captions.jsonl")
    ):  # fmt: skip
        lines = (data / "raw/demo" / file).read_text(encoding="utf-8").splitlines()
        wanted = {f"images/test/{number}.png" for number in range(IMAGES)}
        rows = [row for row in map(json.loads, lines) if row["image"] in wanted]
        rows = [row for row in rows if row["meta"].get("answer_type") != "yes/no"]
        write_text(cache / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        spec = yaml.safe_load(Path(evalsuite.tasks.__file__).with_name(f"{shipped}.yaml").read_text(encoding="utf-8"))
        spec.pop("benchmark")
        source = {"location": str(cache / f"{name}.jsonl"), "image_root": str(data / "raw/demo")}
        write_text(cache / f"{name}.yaml", yaml.safe_dump({**spec, "name": name, "source": source}, sort_keys=False))
        made.append(cache / f"{name}.yaml")
    return made


def run_arm(data: Path, cache: Path, tasks: list[Path], arm: str, seed: int) -> None:
    """Train an arm with a seed and evaluate it, unless it is done."""
    run, exam = folders(cache, arm, seed)
    recipe = {
        "name": run.name, "out": str(run), "model": str(data / "models/demo-vlm"), "data": str(data / "curated/demo"),
        "image_root": str(data / "raw/demo"),
        "seed": seed, "lora_dropout": 0.0, "learning_rate": {"decoder": 6.0e-4, "projector": 1.0e-4}, "warmup": 0.05,
        "batch_size": 8, "questions_per_image": 2, "max_length": 512, "num_workers": 0, "save_steps": 20,
        "stages": ARMS[arm],
    }  # fmt: skip
    run_stage("finetune", "train", recipe, run, threads=1)
    model = {"path": recipe["model"], "adapter": str(run / "adapter"), "quantization": "nf4"}
    evaluation = {"name": exam.name, "out": str(exam), "model": model, "tasks": [str(task) for task in tasks]}
    run_stage("evalsuite", "run", evaluation, exam, threads=1)


def by_seed(cache: Path, seeds: int) -> Table:
    """What ``evalsuite forgetting`` finds for each seed."""
    rows = []
    for seed in range(seeds):
        before, *after = (folders(cache, arm, seed)[1] for arm in ARMS)
        found = forgetting(before, after, [VERTICAL], [GENERAL])
        for arm, run in zip(list(ARMS)[1:], found["runs"], strict=True):
            cells = (forgetting_cells(entry) for entry in run["tasks"])
            rows += [[str(seed), arm, *(line[place] for place in _SHOWN)] for line in cells]
    return ["seed", "stage 2", *(HEADER[place] for place in _SHOWN)], rows


def over_seeds(cache: Path, seeds: int) -> Table:
    """Differences over all seeds together."""
    rows = []
    for task, scale in ((GENERAL, 100.0), (VERTICAL, 1.0)):
        for a, b in (("before", "no replay"), ("before", "replay"), ("no replay", "replay")):
            pairs = [(folders(cache, a, seed)[1], folders(cache, b, seed)[1]) for seed in range(seeds)]
            rows.append([task, a, b, *shown(pooled_difference(pairs, task), scale)])
    return ["task", "A", "B", "A scores", "B scores", "B − A", "95% interval"], rows


def folders(cache: Path, arm: str, seed: int) -> tuple[Path, Path]:
    """Run and evaluation folder of an arm with a seed."""
    name = f"{arm.replace(' ', '-')}-{seed}"
    return cache / "runs" / name, cache / "evals" / name


if __name__ == "__main__":
    main()
