"""Merges an adapter into its base and compares the full checkpoint with the adapter model."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from finetune.export.parity import (
    Parity,
    compare,
    load_adapter,
    open_run,
    outputs_in_new_process,
    parity_sentence,
    reference_outputs,
)
from finetune.recipe import TrainRecipe
from finetune.training.prompts import read_prompts
from winnow.errors import UserError
from winnow.files import write_json

Into = Literal["dequantized", "original"]


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
    """Merge the adapter of a finished run into ``out``; reload it in a new process and compare.

    Adding LoRA to 4-bit layers would round it away. Adding it to the original weights gives another
    function than the one trained on the rounded weights; dequantising the base first gives the same
    function. Without ``into`` both are measured and the closer one is taken.

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
    from finetune.model.load import load_processor

    prompts = read_prompts(run, count)
    processor = load_processor(str(run / "adapter"))
    wanted = reference_outputs(load_adapter(recipe, run), processor, prompts, recipe.max_pixels)
    candidates: list[Into] = ["original"] if recipe.quantization == "none" else ["dequantized", "original"]
    measured: dict[str, Parity] = {}
    if into is None and len(candidates) > 1:
        for candidate in candidates:
            outputs = reference_outputs(merged_model(recipe, run, candidate), processor, prompts, recipe.max_pixels)
            measured[candidate] = compare(wanted, outputs, prompts)
    closest = min(candidates, key=lambda name: measured[name].error if measured else 0.0)
    chosen: Into = into or closest
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    merged_model(recipe, run, chosen).save_pretrained(partial)
    processor.save_pretrained(partial)
    parity = compare(wanted, outputs_in_new_process(partial, prompts, recipe.max_pixels), prompts)
    verdict = {**asdict(parity), "run": str(run), "into": chosen,
               "candidates": {name: asdict(found) for name, found in measured.items()}}  # fmt: skip
    write_json(partial / "merge.json", verdict)
    if out.exists():
        out.rmdir()
    partial.rename(out)
    console = Console(stderr=True, highlight=False)
    for name, found in measured.items():
        console.print(f"into {name}: relative logit error {found.error:.4f}, same answer {found.answers:.0%}")
    console.print(f"{out}: merged into the {chosen} base; {parity_sentence(parity)}")
    if not parity.passed:
        raise UserError(f"{out}: the merged model differs from the trained one; see {out / 'merge.json'}")
    return parity


def merged_model(recipe: TrainRecipe, run: Path, into: Into) -> Any:
    """Base and adapter in a single model of full precision, in memory."""
    import torch
    from peft import PeftModel

    from finetune.model.load import load_base

    quantization = recipe.quantization if into == "dequantized" else "none"
    base = load_base(recipe.model, quantization=quantization, compute_dtype=recipe.compute_dtype)
    if quantization != "none":
        base = base.dequantize(getattr(torch, recipe.compute_dtype))
    return PeftModel.from_pretrained(base, str(run / "adapter")).merge_and_unload(safe_merge=True).eval()
