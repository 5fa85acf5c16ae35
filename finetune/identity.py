"""What a run is made from: its recipe and the digests of model and data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from finetune.data.rows import Rows
from finetune.recipe import TrainRecipe
from winnow.errors import UserError
from winnow.files import digest_of, sha256_file, write_json
from winnow.run import MANIFEST

IDENTITY = "run.json"


def input_digests(recipe: TrainRecipe, rows: Rows) -> dict[str, str]:
    """Hex digests of the model, the rows and the template file, by recipe key.

    A local model is hashed file by file; a hub id stands for itself. Data sets with names have
    keys of their own (``data.<name>``, ``evaluate.<name>``).
    """
    folder = Path(recipe.model)
    if folder.is_dir():
        files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
        model = digest_of({path.name: sha256_file(path) for path in files})
    else:
        model = digest_of(recipe.model)
    digests = {"model": model}
    for part in rows.sets:
        file = part.given if part.given.is_file() else part.path
        digests[f"data.{part.name}" if part.name else "data"] = sha256_file(file)
    for name, path in recipe.evaluate.items():
        file = path if path.is_file() else path / "samples.jsonl"
        if file.is_file():
            digests[f"evaluate.{name}"] = sha256_file(file)
    if recipe.chat_template is not None and recipe.chat_template.is_file():
        digests["chat_template"] = sha256_file(recipe.chat_template)
    return digests


def is_ours(folder: Path, recipe: dict[str, Any], inputs: dict[str, str]) -> bool:
    """Whether an earlier start of this very run left something in ``folder``.

    Raises:
        UserError: the folder holds a run of another recipe or of other inputs.
    """
    path = folder / IDENTITY
    if not path.is_file():
        return False
    known = json.loads(path.read_text(encoding="utf-8"))
    # A run of an older version knows fewer keys: those had the value that is now the default.
    before = {**TrainRecipe(name="x", model="x", data=Path("x")).model_dump(mode="json"), **known["recipe"]}
    changed = [f"{key} ({before[key]!r} there, {value!r} now)" for key, value in recipe.items() if before[key] != value]
    changed += [f"the files of {key}" for key, value in inputs.items() if known["inputs"].get(key) != value]
    if changed:
        raise UserError(
            f"{folder} holds a run that differs in {', '.join(changed)}; give this one another name, "
            "or replace that run with --fresh"
        )
    return True


def claim(
    folder: Path, recipe: dict[str, Any], inputs: dict[str, str], *, packages: dict[str, str], modules: list[Any]
) -> None:
    """Write down whose folder this is, and what was printed at the start, before the first checkpoint."""
    write_json(folder / IDENTITY, {"recipe": recipe, "inputs": inputs, "packages": packages, "modules": modules})
