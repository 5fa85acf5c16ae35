"""Splits an adapter for servers that load LoRA only: a base that has the trained modules in it, and the LoRA."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from finetune.export.merge import full_precision_base
from finetune.export.outputs import Parity, compare, load_adapter, open_run, parity_sentence, reference_outputs
from finetune.export.stream import Into
from finetune.report.serving import lora_options, refusals, serving_notes
from finetune.training.prompts import read_prompts
from winnow.errors import UserError
from winnow.files import write_json
from winnow.vlm.inputs import save_input_settings
from winnow.vlm.tensor_names import save_under_published_names

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def split(run: Path, out: Path, *, into: Into | None, count: int) -> Parity:
    """Write ``out/base``, the base with the run's trained copies in place, and ``out/adapter``, its LoRA layers.

    Both are loaded from there and compared with the run's model.

    Args:
        into: the base: dequantised, the one that the LoRA was trained on and the default, or original.
        count: how many of the kept prompts to compare on.

    Raises:
        UserError: the run is not finished, has nothing to split or a LoRA that vLLM refuses for another reason; ``out``
            is not empty; the comparison fails.
    """
    recipe, source = open_run(run), run / "adapter"
    if recipe.decoder == "full":
        raise UserError(f"{run}: trained with decoder: full, so {source} is a whole checkpoint already")
    config = json.loads((source / _CONFIG).read_text(encoding="utf-8"))
    if not config.get("modules_to_save"):
        raise UserError(f"{run}: its adapter is LoRA only; serve {source} as it is")
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: is not empty; give a new folder with --out")
    from safetensors.torch import load_file, save_file

    from finetune.model.load import load_processor

    tensors = load_file(source / _WEIGHTS)
    lora = {name: tensor for name, tensor in tensors.items() if ".lora_" in name}
    if not lora:
        raise UserError(f"{run}: its adapter has no LoRA; write a merged checkpoint (without --lora-only)")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "adapter").mkdir(parents=True)
    only = {**config, "modules_to_save": None, "base_model_name_or_path": str(out / "base"), "revision": None}
    write_json(partial / "adapter" / _CONFIG, only)
    if others := refusals(partial / "adapter" / _CONFIG):
        raise UserError(f"{run}: vLLM refuses its LoRA too, as {others[0]}; write a merged checkpoint instead")
    save_file(lora, partial / "adapter" / _WEIGHTS, metadata={"format": "pt"})
    processor, prompts = load_processor(str(source)), read_prompts(run, count)
    wanted = reference_outputs(load_adapter(recipe, run), processor, prompts, recipe.input_settings)
    base = full_precision_base(recipe, into or "dequantized")
    _put(base, {name.removeprefix("base_model.model."): tensors[name] for name in tensors.keys() - lora.keys()}, run)
    save_under_published_names(base)
    base.save_pretrained(partial / "base")
    del base
    for folder in (partial / "base", partial / "adapter"):
        processor.save_pretrained(folder)
        save_input_settings(folder, recipe.input_settings)
    if out.exists():
        out.rmdir()
    partial.rename(out)
    written = load_adapter(recipe.model_copy(update={"model": str(out / "base"), "quantization": "none"}), out)
    parity = compare(wanted, reference_outputs(written, processor, prompts, recipe.input_settings), prompts)
    write_json(out / "merge.json", {**asdict(parity), "run": str(run), "into": into or "dequantized"})
    console = Console(stderr=True, highlight=False)
    console.print(f"{out}: base and LoRA of {run}; {parity_sentence(parity)}")
    options = lora_options(f"{recipe.name}={out}/adapter", config["r"], tower="lora" in recipe.vision_modes())
    console.print(f"vllm serve {out}/base {options}", markup=False, soft_wrap=True)
    for note in serving_notes(recipe.model, processor, recipe.input_settings, out / "base"):
        console.print(f"to serve it, {note}", markup=False, soft_wrap=True)
    if not parity.passed:
        raise UserError(f"{out}: differs from the trained model; see {out / 'merge.json'}")
    return parity


def _put(base: Any, trained: dict[str, Any], run: Path) -> None:
    import torch

    state = base.state_dict()
    if lost := sorted(trained.keys() - state.keys()):
        raise UserError(f"{run}: its adapter holds {lost[0]}, which the base does not have")
    with torch.no_grad():
        for name, tensor in trained.items():
            state[name].copy_(tensor)
