"""Selections of a curated set: which one a model was trained on, and what was found about its worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow.errors import UserError
from winnow.files import read_json
from winnow.run import MANIFEST

PROOFS = "selections"  # folder of a curated set: one JSON file for each proven selection and task


@dataclass(frozen=True)
class TrainedSelection:
    """A training run on a selection.

    Attributes:
        run: the run folder.
        selection: as ``curate select`` has written it into the manifest of the curated folder.
        seed: of the training.
    """

    run: Path
    selection: Mapping[str, Any]
    seed: int

    @property
    def is_random(self) -> bool:
        """Whether its rows are the random ones."""
        return bool(self.selection["strategy"] == "random")

    @property
    def label(self) -> str:
        """Strategy and budget in words."""
        parts = [self.selection["strategy"], *self.selection["columns"]]
        per = self.selection["per"]
        return " ".join([*parts, *([f"per {per}"] if per else []), self.selection["budget"]])


def selection_behind(model: Mapping[str, Any]) -> TrainedSelection:
    """The selection that a model was trained on.

    Args:
        model: ``model`` of an evaluation's recipe: the adapter, or else the checkpoint, lies in a run of `finetune`.

    Raises:
        UserError: it was not trained on a selection, or the selection has changed since.
    """
    named = Path(model.get("adapter") or model.get("path") or "")
    for folder in (named, named.parent):
        manifest = _manifest(folder)
        if manifest.get("stage") == "finetune":
            break
    else:
        raise UserError(f"{named}: lies in no finished run of `finetune`, so its training set is not known")
    data = manifest["recipe"]["data"]
    found = []
    for name, place in ({"": data} if isinstance(data, str) else data).items():
        curated = _manifest(Path(place))
        if "selection" in curated:
            if curated["outputs"]["samples.jsonl"] != manifest["inputs"].get(f"data.{name}" if name else "data"):
                raise UserError(f"{place}: has changed since {folder} was trained on it; train again")
            found.append(curated["selection"])
    if len(found) != 1:
        raise UserError(
            f"{folder}: was trained on {len(found) or 'no'} selections; a proof needs one of `curate select`"
        )
    return TrainedSelection(folder, found[0], int(manifest["recipe"]["seed"]))


def _manifest(folder: Path) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = read_json(folder / MANIFEST)
    except (OSError, ValueError):
        return {}
    return found
