"""What a recipe takes over from the adapter that it trains further: base model, shape, how inputs are prepared."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from winnow.errors import UserError
from winnow.remote.downloads import local_model, parse
from winnow.run import MANIFEST
from winnow.vlm.inputs import INPUT_SETTINGS, read_input_settings

ADAPTER_CONFIG = "adapter_config.json"
# Fixed by the adapter's tensors, or by the base that they were trained on.
_FIXED = ("quantization", "lora_rank", "lora_alpha", "lora_targets", "lora_variant")
_TAKEN_OVER = (
    *_FIXED, "model", "compute_dtype", "decoder", "lora_dropout", "vision", "projector", "max_pixels", "max_frames",
    "processor", "chat_template_kwargs", "train_reasoning",
)  # fmt: skip


def with_adapter_base(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a recipe, completed by those of its adapter.

    ``model: FOLDER`` of an adapter becomes ``adapter: FOLDER`` and ``model:`` its base. Keys that the recipe leaves
    out are taken from the run that made the adapter, or from the adapter's own files.

    Raises:
        UserError: there is no LoRA adapter there, its base is not known or gone, or the recipe wants another shape.
    """
    values = dict(values)
    model, given = values.get("model"), values.get("adapter")
    if isinstance(model, str) and is_adapter(Path(model)):
        if given is not None:
            raise UserError(f"model: {model} is an adapter, and adapter: names another; give the base as model")
        given = model
        del values["model"]
    if not isinstance(given, str):
        return values
    folder = local_model(given)
    if not is_adapter(folder):
        whole = " but a whole checkpoint; give it as model" if (folder / "config.json").is_file() else ""
        raise UserError(f"adapter {given}: is no adapter ({ADAPTER_CONFIG}){whole}")
    kept = _of_run(folder) or _of_files(given, folder)
    for key in _FIXED:
        wanted, has = values.get(key), kept.get(key)
        if wanted is None or has is None or wanted == has:
            continue
        if not (key == "lora_variant" and {wanted, has} == {"lora", "lora+"}):  # which differ in their rates only
            raise UserError(
                f"{key}: the adapter {given} was made with {has}, the recipe has {wanted}; leave the key out, or merge "
                "the adapter first (`finetune merge RUN --out DIR`) and train a new one on `model: DIR`"
            )
    completed = {**kept, **values, "adapter": given}
    base = completed.get("model")
    if not isinstance(base, str) or not (Path(base).is_dir() or _may_be_a_name(base)):
        raise UserError(
            f"adapter {given}: its base {base or 'is not named in it'} is not here; name the base with `model: BASE` "
            f"beside `adapter: {given}`"
        )
    return completed


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a PEFT adapter and no whole checkpoint."""
    return (folder / ADAPTER_CONFIG).is_file() and not (folder / "config.json").is_file()


def _of_run(folder: Path) -> dict[str, Any]:
    """Values of the recipe of the run that ``folder`` is the adapter of; empty if there is no such run."""
    try:
        manifest = json.loads((folder.parent / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if manifest.get("stage") != "finetune" or folder.name != "adapter":
        return {}
    recipe = manifest["recipe"]
    kept = {key: recipe[key] for key in _TAKEN_OVER if recipe.get(key) is not None}
    modes = [recipe.get("vision"), *(stage.get("vision") for stage in recipe.get("stages", []))]
    blocks = [mode for mode in modes if isinstance(mode, dict)]
    named = [mode for mode in modes if isinstance(mode, str) and mode != "frozen"]
    kept["vision"] = max(blocks, key=lambda mode: mode["last_n"]) if blocks else next(iter(named), "frozen")
    return kept


def _of_files(given: str, folder: Path) -> dict[str, Any]:
    """Values that an adapter's own files tell, of whatever program made it."""
    try:
        config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{folder / ADAPTER_CONFIG}: not valid JSON ({error})") from error
    if config.get("peft_type") != "LORA":
        raise UserError(f"adapter {given}: is of the kind {config.get('peft_type')}; only LoRA can be trained further")
    base, revision = config.get("base_model_name_or_path"), config.get("revision")
    if base and revision and not Path(base).is_dir():
        base = f"{base}@{revision}"
    variant = "dora" if config.get("use_dora") else "rslora" if config.get("use_rslora") else "lora"
    known = {"model": base, "lora_rank": config.get("r"), "lora_alpha": config.get("lora_alpha"),
             "lora_variant": variant}  # fmt: skip
    settings = asdict(read_input_settings(folder)) if (folder / INPUT_SETTINGS).is_file() else {}
    return {key: value for key, value in {**settings, **known}.items() if value is not None}


def _may_be_a_name(base: str) -> bool:
    try:
        parse(base, "model")
    except UserError:
        return False
    return True
