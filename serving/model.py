"""What a folder holds that is to be served: an export, a merged checkpoint, a base with its LoRA, or a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.export.outputs import open_run
from finetune.export.record import RECORD, ExportRecord, read_record
from finetune.recipe import TrainRecipe
from winnow.errors import UserError
from winnow.files import read_json
from winnow.remote.downloads import local_model
from winnow.run import MANIFEST

MERGED = "merge.json"
_OPENVINO = "openvino_language_model.xml"


@dataclass(frozen=True)
class Servable:
    """A model that an engine can be started for.

    Attributes:
        name: by which clients ask for it, where the engine lets it be chosen.
        checkpoint: folder of the weights, of the base if there is an adapter.
        adapter: folder of a LoRA that the engine loads on top.
        config: of ``config.json``.
        run: the training run, where it is known and still there.
        recipe: of that run.
        record: of an export.
    """

    name: str
    checkpoint: Path
    adapter: Path | None
    config: dict[str, Any]
    run: Path | None
    recipe: TrainRecipe | None
    record: ExportRecord | None = None

    @property
    def architectures(self) -> list[str]:
        """Names of the model's classes."""
        return list(self.config.get("architectures") or [])

    @property
    def quantization(self) -> str | None:
        """How the weights are stored, by the configuration's name; None: in 16 or 32 bit."""
        found = self.config.get("quantization_config") or {}
        return found.get("quant_method")

    @property
    def is_openvino(self) -> bool:
        """Whether the weights are in OpenVINO's form."""
        return (self.checkpoint / _OPENVINO).is_file()

    @property
    def longest(self) -> int | None:
        """Tokens of a conversation that the model was made for; None if the configuration does not say."""
        text = self.config.get("text_config") or {}
        found = text.get("max_position_embeddings") or self.config.get("max_position_embeddings")
        return int(found) if found else None

    @property
    def inputs(self) -> Path:
        """The folder with processor, chat template and input settings as they were trained."""
        return self.adapter or self.checkpoint


def open_model(place: Path) -> Servable:
    """Find out what ``place`` holds.

    Raises:
        UserError: nothing that can be served.
    """
    if (place / RECORD).is_file():
        record = read_record(place)
        if not record.passed:
            raise UserError(f"{place}: its export did not pass ({RECORD}), so it is not served; export the run again")
        return _servable(record.name, place / record.model, None, Path(record.base_run), record)
    if (place / MERGED).is_file():
        run = Path(read_json(place / MERGED)["run"])
        if (place / "base").is_dir():
            return _servable(place.name, place / "base", place / "adapter", run)
        return _servable(place.name, place, None, run)
    if (place / MANIFEST).is_file() and (place / "adapter").is_dir():
        return _of_run(place)
    if (place / "config.json").is_file():
        return _servable(place.name, place, None, None)
    raise UserError(
        f"{place}: holds no model; give a folder of `finetune export`, `finetune merge` or `finetune train`, or a "
        "checkpoint with a config.json"
    )


def _of_run(run: Path) -> Servable:
    recipe, adapter = open_run(run), run / "adapter"
    if recipe.decoder == "full":
        return _servable(recipe.name, adapter, None, run)
    return _servable(recipe.name, Path(local_model(recipe.model) or recipe.model), adapter, run)


def _servable(
    name: str, checkpoint: Path, adapter: Path | None, run: Path | None, record: ExportRecord | None = None
) -> Servable:
    path = checkpoint / "config.json"
    if not path.is_file():
        raise UserError(f"{checkpoint}: no checkpoint there (config.json); give the folder of one")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from error
    known = run if run is not None and (run / MANIFEST).is_file() else None
    return Servable(name, checkpoint, adapter, config, known, open_run(known) if known else None, record)
