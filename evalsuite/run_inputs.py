"""What a run depends on, as digests: equal ones mean that a finished run is up to date."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from evalsuite.analysis.corrected import corrections_digest
from evalsuite.recipe import EvalRecipe
from evalsuite.runs.store import PREDICTIONS
from evalsuite.tasks.load import Task
from winnow.files import digest_of, sha256_file


def inputs_of(recipe: EvalRecipe, tasks: Mapping[str, Task], identity: str) -> dict[str, str]:
    """Digests of the model, of each task's settings, rows and image files, and of the folders the recipe names."""
    return {"model": identity, **_task_inputs(tasks), **_folder_inputs(recipe)}


def _task_inputs(tasks: Mapping[str, Task]) -> dict[str, str]:
    """Image files count by path, size and time of change."""
    inputs = {}
    for name, task in tasks.items():
        images = sorted({path for row in task.rows for path in row.images})
        files = [[path, *_looks(task.image_root / path)] for path in images]
        rows = [[row.sample_id, row.prompt, list(row.references), list(row.images)] for row in task.rows]
        inputs[f"task {name}"] = digest_of({"spec": task.spec.to_json(), "rows": rows, "images": files})
    return inputs


def _looks(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _folder_inputs(recipe: EvalRecipe) -> dict[str, str]:
    inputs = {}
    for name, folder, file in (
        ("baseline", recipe.baseline, PREDICTIONS),
        ("training_set", recipe.training_set, "samples.parquet"),
    ):
        if folder is not None:
            inputs[name] = sha256_file(folder / file) if (folder / file).is_file() else "missing"
    if recipe.corrections is not None:
        inputs["corrections"] = corrections_digest(recipe.corrections)
    return inputs
