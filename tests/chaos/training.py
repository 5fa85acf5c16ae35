"""`finetune train` of a tiny model in two stages, killed anywhere between its start and its manifest."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.chaos.kills import Work, files_below, timeless
from tests.finetune.toys import save_data, save_model
from tests.forks import python

_RECIPE = {
    "name": "toy", "out": "out", "model": "model", "data": "data/rows.jsonl", "lora_rank": 4, "lora_dropout": 0.1,
    "learning_rate": 5e-3, "batch_size": 2, "questions_per_image": 2, "num_workers": 0, "save_steps": 1,
    "max_length": 128,
    "stages": [
        {"name": "align", "train": ["projector"], "filter": {"source": "captions"}, "max_steps": 2},
        {"name": "all", "max_steps": 4},
    ],
}  # fmt: skip
# Measured anew in each run, or of the moment: how long a step took, how much memory a batch, what was committed last.
_MEASURED = ("seconds", "tokens_per_second", "memory", "git_commit")
_TEXTS = ("report.md", "report.html", "adapter/README.md")
_OF_RUNS = ("manifest.json", "image_costs.json", "metrics.jsonl", *_TEXTS)
_SHOWN = re.compile(r"\b[0-9]+\.[0-9]\b|Code: [0-9a-f]{40}")  # minutes and GiB; everything else has more digits


def training() -> Work:
    """Six steps, each with a checkpoint."""
    command = python("-m", "finetune", "train", "recipe.yaml")
    return Work(_make, lambda: command, _outputs, {"command": killed})


def killed(command: subprocess.Popen[bytes]) -> bool:
    """Kill the program of a command of ``tests.forks``."""
    command.terminate()
    return True


def _make(folder: Path) -> None:
    for name in ("model", "data"):
        (folder / name).mkdir(parents=True)
    save_model(folder / "model")
    save_data(folder / "data")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(_RECIPE))


def _outputs(folder: Path) -> dict[str, Any]:
    """All files: adapter, README, losses, report, curves; what was measured is left out."""
    out = folder / "out"
    found = {name: digest for name, digest in files_below(out).items() if name not in _OF_RUNS}
    for name in ("manifest.json", "image_costs.json"):
        found[name] = timeless(json.loads((out / name).read_text()), [*_MEASURED, *_OF_RUNS])
    for name in _TEXTS:
        found[name] = _SHOWN.sub("", (out / name).read_text())
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return {**found, "metrics.jsonl": [timeless(json.loads(line), _MEASURED) for line in lines]}
