"""A finished evaluation, read back from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evalsuite.analysis.results import Row
from evalsuite.runs.store import read_predictions
from evalsuite.tasks.spec import TaskSpec
from winnow.errors import UserError
from winnow.recipe import parse_recipe
from winnow.run import read_manifest

STAGE = "evalsuite"
FINISH = "evalsuite run RECIPE"


def load_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished evaluation.

    Raises:
        UserError: the folder is no finished evaluation.
    """
    manifest = read_manifest(folder, finish_with=FINISH)
    if manifest.get("stage") != STAGE:
        raise UserError(f"{folder}: is no evaluation (its manifest says {manifest.get('stage')!r})")
    if not isinstance(manifest.get("task_specs"), list):
        raise UserError(f"{folder}: was made by another version of Winnow; bring it up to date with `{FINISH}`")
    return manifest


def load_evaluation(folder: Path) -> tuple[dict[str, TaskSpec], dict[str, list[Row]]]:
    """The task specs and the rows of a finished evaluation, by task.

    Raises:
        UserError: the folder is no finished evaluation.
    """
    specs = load_specs(folder, load_manifest(folder))
    rows: dict[str, list[Row]] = {name: [] for name in specs}
    for row in read_predictions(folder).to_pylist():
        rows.setdefault(row["task"], []).append(row)
    return specs, rows


def load_specs(folder: Path, manifest: dict[str, Any]) -> dict[str, TaskSpec]:
    """The tasks that an evaluation was made with, by name."""
    parsed = [parse_recipe(spec, TaskSpec, where=f"{folder}: task in its manifest") for spec in manifest["task_specs"]]
    return {spec.name: spec for spec in parsed}
