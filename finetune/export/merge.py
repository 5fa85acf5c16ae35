"""Merges an adapter into its base and compares the full checkpoint with the adapter model."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from finetune.export.outputs import (
    Parity,
    compare,
    load_adapter,
    open_run,
    outputs_in_new_process,
    parity_sentence,
    reference_outputs,
)
from finetune.export.stream import Into, NotStreamable, stream_merge
from finetune.processes import device
from finetune.recipe import TrainRecipe
from finetune.report.serving import serving_notes
from finetune.training.prompts import read_prompts
from winnow.errors import UserError
from winnow.files import write_json
from winnow.vlm.inputs import save_input_settings
from winnow.vlm.models import empty_model
from winnow.vlm.tensor_names import save_under_published_names


def parse_into(given: str | None) -> Into | None:
    """The base to merge into, from the command line; None: the closer base.

    Raises:
        UserError: a quantised base, or an unknown name.
    """
    known: dict[str | None, Into | None] = {None: None, "dequantized": "dequantized", "original": "original"}
    if given in known:
        return known[given]
    if given in ("quantized", "4bit", "nf4", "int8", "8bit"):
        raise UserError(
            f"--into {given}: rounding the sum of weight and LoRA to 4 or 8 bits again loses most of what was learned; "
            "merge into dequantized and quantise the result with a calibrated exporter if it must be small"
        )
    raise UserError(f"--into {given}: unknown; give dequantized or original")


def merge(run: Path, out: Path, *, into: Into | None, count: int) -> Parity:
    """Merge the adapter of a finished run into ``out``; load it in a new process and compare.

    Adding LoRA to 4-bit layers would round it away. Adding it to the original weights gives another
    function than the one trained on the rounded weights; dequantising the base first gives the same
    function. Without ``into`` both are written and measured, and the closer one is kept.

    Args:
        count: how many of the kept prompts to compare on.

    Raises:
        UserError: the run is not finished or has nothing to merge, ``out`` is not empty, or the comparison fails.
    """
    recipe = open_run(run)
    if recipe.decoder == "full":
        raise UserError(f"{run}: trained with decoder: full, so {run / 'adapter'} is a whole checkpoint already")
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: is not empty; give a new folder with --out")
    import torch

    from finetune.model.load import load_processor

    console = Console(stderr=True, highlight=False)
    place = comparison_device(recipe)
    prompts = read_prompts(run, count)
    processor = load_processor(str(run / "adapter"))
    wanted = reference_outputs(load_adapter(recipe, run, place), processor, prompts, recipe.input_settings)
    if place.type != "cpu":
        torch.accelerator.empty_cache()  # the other process needs it
    both: list[Into] = ["dequantized", "original"]
    candidates: list[Into] = [into] if into else ["original"] if recipe.quantization == "none" else both
    measured: dict[Into, Parity] = {}
    folders = {name: out.with_name(f".{out.name}.{name}.partial") for name in candidates}
    for name, folder in folders.items():
        shutil.rmtree(folder, ignore_errors=True)
        try:
            stream_merge(recipe, run, name, folder)
        except NotStreamable as reason:
            console.print(f"the model is merged in memory, not tensor by tensor: {reason}")
            merged = merged_model(recipe, run, name)
            save_under_published_names(merged)
            merged.save_pretrained(folder)
        processor.save_pretrained(folder)
        save_input_settings(folder, recipe.input_settings)
        outputs = outputs_in_new_process(folder, prompts, recipe.input_settings, place)
        measured[name] = compare(wanted, outputs, prompts)
        if len(candidates) > 1:
            found = measured[name]
            console.print(f"into {name}: relative logit error {found.error:.4f}, same answer {found.answers:.0%}")
    chosen = min(candidates, key=lambda name: measured[name].error)
    parity = measured[chosen]
    others = measured if len(candidates) > 1 else {}
    notes = serving_notes(recipe.model, processor, recipe.input_settings, out)
    verdict = {**asdict(parity), "run": str(run), "into": chosen, "device": str(place), "serving": notes,
               "candidates": {name: asdict(found) for name, found in others.items()}}  # fmt: skip
    write_json(folders[chosen] / "merge.json", verdict)
    if out.exists():
        out.rmdir()
    folders.pop(chosen).rename(out)
    for folder in folders.values():
        shutil.rmtree(folder)
    console.print(f"{out}: merged into the {chosen} base; {parity_sentence(parity)}")
    for note in notes:
        console.print(f"to serve it, {note}", markup=False, soft_wrap=True)
    if not parity.passed:
        raise UserError(f"{out}: the merged model differs from the trained one; see {out / 'merge.json'}")
    return parity


def comparison_device(recipe: TrainRecipe) -> Any:
    """The device that both models are compared on: the GPU if the merged model fits into its free memory, else the CPU.

    Different devices round differently, so a comparison across them would measure that too.
    """
    import torch

    place = device()
    if place.type in ("cpu", "mps"):
        return torch.device("cpu")
    size = getattr(torch, recipe.compute_dtype).itemsize
    needed = size * sum(parameter.numel() for parameter in empty_model(recipe.model).parameters())
    return place if torch.accelerator.get_memory_info()[0] > 1.2 * needed else torch.device("cpu")


def merged_model(recipe: TrainRecipe, run: Path, into: Into) -> Any:
    """Base and adapter in a single model of full precision, in memory."""
    from winnow.vlm.experts import load_adapter

    return load_adapter(full_precision_base(recipe, into), run / "adapter").merge_and_unload(safe_merge=True).eval()


def full_precision_base(recipe: TrainRecipe, into: Into) -> Any:
    """The base as it was published, or quantised as in training and dequantised."""
    import torch

    from finetune.model.load import load_base

    quantization = recipe.quantization if into == "dequantized" else "none"
    base = load_base(
        recipe.model, quantization=quantization, compute_dtype=recipe.compute_dtype, settings=recipe.input_settings
    )
    return base if quantization == "none" else base.dequantize(getattr(torch, recipe.compute_dtype))
