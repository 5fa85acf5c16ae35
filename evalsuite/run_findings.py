"""What a run finds out about itself: rows that show training pictures, answers that depend on the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evalsuite.analysis.overlap import mark, touched_images
from evalsuite.analysis.results import Row
from evalsuite.backends import Reply
from evalsuite.backends.choice import Backend
from evalsuite.finished import FINISH
from evalsuite.recipe import EvalRecipe
from evalsuite.runs.batch_check import compare_batches, draw, ids_of
from evalsuite.runs.requests import Asked, distinct_requests
from winnow.run import MANIFEST, read_manifest

_CHECKED = {"model", "server", "tasks", "limit", "batch_size", "seed", "check_batch"}


def find_overlap(recipe: EvalRecipe, asked: Sequence[Asked], rows: Mapping[str, list[Row]]) -> dict[str, Any]:
    """Mark rows whose picture is in the recipe's training set; returns how many pictures are, and by what."""
    if recipe.training_set is None:
        return {}
    files = {
        key: file
        for entry in asked
        if entry.request
        for key, file in zip(entry.request.image_keys, entry.request.images, strict=True)
    }
    touched = touched_images(recipe.training_set, files)
    for listed in rows.values():
        mark(listed, touched)
    ways = list(touched.values())
    found = {
        "training_set": str(recipe.training_set), "images": len(files), "touched": len(ways),
        "by_bytes": ways.count("bytes"), "by_look": ways.count("look"),
    }  # fmt: skip
    return {"contamination": found}


def check_answers(
    recipe: EvalRecipe,
    backend: Backend,
    asked: Sequence[Asked],
    replies: Mapping[str, Reply],
    inputs: Mapping[str, str],
) -> dict[str, Any]:
    """Compare some answers with batches of one, unless a finished run of the same model, rows and batches did."""
    if recipe.check_batch is None:
        return {}
    chosen = draw(distinct_requests(asked), recipe.check_batch, recipe.seed)
    before = _checked_before(recipe, inputs)
    return {"batch_check": before or compare_batches(backend, recipe, chosen, replies, ids_of(asked))}


def _checked_before(recipe: EvalRecipe, inputs: Mapping[str, str]) -> dict[str, Any] | None:
    if not (recipe.folder / MANIFEST).is_file():
        return None
    manifest = read_manifest(recipe.folder, finish_with=FINISH)
    now = recipe.model_dump(mode="json", include=_CHECKED)
    same_recipe = all(manifest["recipe"].get(name) == value for name, value in now.items())
    same_rows = all(
        manifest["inputs"].get(name) == value
        for name, value in inputs.items()
        if name == "model" or name.startswith("task ")
    )
    found: dict[str, Any] | None = manifest.get("findings", {}).get("batch_check")
    return found if same_recipe and same_rows else None
