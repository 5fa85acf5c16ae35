"""Score a finished evaluation anew: what the model said stays, how it is read and scored may change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalsuite.analysis.results import SLICE, Row
from evalsuite.finished import load_evaluation, load_manifest
from evalsuite.runs.finish import Evaluation, finish, read_scores
from evalsuite.runs.store import BASE_SCHEMA, read_timings
from evalsuite.tasks.spec import TaskSpec, dumped, load_spec, side_by_side
from winnow.errors import UserError

_READ_ANEW = ("extracted", "status")
_KEPT = ("image_root", "skipped", "ask_again", "model_digest", "server_model", "server_facts")


def rescore(
    folder: Path, tasks: list[str], corrections: Path | None = None, variants: Sequence[str] = ()
) -> dict[str, Any]:
    """Score a finished evaluation anew, without a model.

    Args:
        tasks: names or files of tasks whose extraction, metrics and slices are used instead of
            those the evaluation was made with.
        corrections: folder of reviewers' decisions, in place of the recipe's.
        variants: ``metric=variant``: further columns beside the metrics as the tasks have them.

    Raises:
        UserError: no finished evaluation, or a given task was not part of it.
    """
    specs, rows = load_evaluation(folder)
    took = {row["request_key"]: row["seconds"] for row in read_timings(folder)}
    manifest = load_manifest(folder)
    recipe, inputs = manifest["recipe"], dict(manifest["inputs"])
    for given in tasks:
        spec = load_spec(given)
        if spec.name not in specs:
            raise UserError(f"{folder}: holds no task {spec.name!r}; it has {', '.join(specs)}")
        # What was asked cannot change any more; how it is read and scored can.
        read = {"extraction": spec.extraction, "metrics": spec.metrics, "slices": spec.slices}
        specs[spec.name] = specs[spec.name].model_copy(update=read)
        inputs[f"task {spec.name}"] = f"scored with {given}"
    _check_variants(variants, specs)
    specs = {name: side_by_side(spec, variants) for name, spec in specs.items()}
    extra = {key: manifest[key] for key in _KEPT if key in manifest}
    extra["task_specs"] = dumped(specs)
    evaluation = Evaluation(
        name=recipe["name"],
        label=read_scores(folder)["model"],
        specs=specs,
        rows={name: [_unscored(row, took) for row in listed] for name, listed in rows.items()},
        seed=recipe["seed"],
        baseline=Path(recipe["baseline"]) if recipe["baseline"] else None,
        recipe=recipe,
        inputs=inputs,
        extra=extra,
        seconds=manifest["seconds"],
        corrections=corrections or (Path(recipe["corrections"]) if recipe.get("corrections") else None),
        findings=manifest.get("findings", {}),
    )
    return finish(folder, evaluation)


def _check_variants(variants: Sequence[str], specs: Mapping[str, TaskSpec]) -> None:
    known = list(dict.fromkeys(name for spec in specs.values() for name in spec.metrics))
    for given in variants:
        if given.partition("=")[0] not in known:
            raise UserError(f"--variant {given}: no task here has that metric; they have {', '.join(known)}")


def _unscored(row: Row, took: Mapping[str, float]) -> Row:
    """The row as it was before it was read and scored."""
    kept = set(BASE_SCHEMA.names) - set(_READ_ANEW)
    before = {key: value for key, value in row.items() if key in kept or key.startswith(SLICE)}
    return {**before, "seconds": took.get(row["request_key"], 0.0)}
