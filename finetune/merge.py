"""Adapter + base → one checkpoint that computes what was trained, with the proof beside it."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from curate.atomic import write_json
from curate.config import parse_recipe
from curate.errors import UserError
from curate.manifest import read_manifest
from finetune.collate import IGNORED, Collator
from finetune.preflight import Preflight
from finetune.recipe import TrainRecipe
from finetune.rows import open_rows

MAX_ERROR = 0.05
MIN_AGREEMENT = 0.97


@dataclass(frozen=True, slots=True)
class Parity:
    """How close the merged model is to the adapter model on answer tokens.

    Attributes:
        conversations, tokens: how many were compared.
        error: |merged - adapter| / |adapter|, norms over all logits.
        agreement: share of tokens with the same most likely token.
        passed: error ≤ 0.05 and agreement ≥ 0.97.
    """

    conversations: int
    tokens: int
    error: float
    agreement: float
    passed: bool


def merge(run: Path, out: Path, *, count: int) -> Parity:
    """Merge the adapter of a finished run into ``out`` and compare the reloaded result.

    Adding LoRA into 4-bit layers would round it away, and adding it to the original weights
    gives another function than the one that was trained on the rounded ones. So the base is
    dequantised, then merged.

    Raises:
        UserError: no finished run, ``out`` is not empty, or the comparison fails.
    """
    manifest = read_manifest(run, finish_with="finetune train RECIPE")
    recipe = parse_recipe(manifest["recipe"], TrainRecipe, where=str(run))
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: is not empty; give a new folder with --out")
    import torch
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    from finetune.model import load_base, load_processor

    console = Console(stderr=True, highlight=False)
    processor = load_processor(str(run / "adapter"))
    batches = _batches(recipe, run, processor, count)
    dtype = getattr(torch, recipe.compute_dtype)
    base = load_base(recipe.model, quantization=recipe.quantization, compute_dtype=recipe.compute_dtype)
    adapter = PeftModel.from_pretrained(base, str(run / "adapter")).eval()
    wanted = [_answer_logits(adapter, batch) for batch in batches]
    del adapter, base
    base = load_base(recipe.model, quantization=recipe.quantization, compute_dtype=recipe.compute_dtype)
    if recipe.quantization != "none":
        base = base.dequantize(dtype)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    PeftModel.from_pretrained(base, str(run / "adapter")).merge_and_unload(safe_merge=True).save_pretrained(partial)
    processor.save_pretrained(partial)
    del base
    merged = AutoModelForImageTextToText.from_pretrained(partial, dtype=dtype).eval()
    parity = compare(wanted, [_answer_logits(merged, batch) for batch in batches])
    write_json(partial / "merge.json", {**asdict(parity), "run": str(run), "into": "dequantized"})
    if out.exists():
        out.rmdir()
    partial.rename(out)
    console.print(
        f"{out}: relative logit error {parity.error:.4f}, same top token {parity.agreement:.1%} "
        f"on {parity.tokens} answer tokens"
    )
    if not parity.passed:
        raise UserError(f"{out}: the merged model differs from the trained one; see {out / 'merge.json'}")
    return parity


def _batches(recipe: TrainRecipe, run: Path, processor: Any, count: int) -> list[dict[str, Any]]:
    from finetune.plan import preflight, schedule_of

    rows = open_rows(recipe)
    checked: Preflight = preflight(recipe.model_copy(update={"out": run}), rows, processor, resume=True)
    stages = recipe.resolved_stages()
    schedule = schedule_of(recipe, rows, checked.table, len(stages) - 1, stages[-1])
    collator = Collator(processor, rows.image_root)
    return [collator([schedule[position]]) for position in range(min(count, len(schedule)))]


def _answer_logits(model: Any, batch: dict[str, Any]) -> Any:
    """Float32 logits (answer tokens, vocabulary) that predict the labelled tokens."""
    import torch

    inputs = {key: value for key, value in batch.items() if key not in ("labels", "owners", "rows", "epochs")}
    inputs = {k: v.to(model.dtype) if v.is_floating_point() else v for k, v in inputs.items()}
    with torch.inference_mode():
        logits = model(**{key: value.to(model.device) for key, value in inputs.items()}).logits
    return logits[:, :-1][(batch["labels"][:, 1:] != IGNORED).to(logits.device)].float().cpu()


def compare(wanted: list[Any], got: list[Any]) -> Parity:
    """Parity of two lists of logits (answer tokens, vocabulary), one entry a conversation."""
    import torch

    left, right = torch.cat(wanted), torch.cat(got)
    error = float((left - right).norm() / left.norm())
    agreement = float((left.argmax(1) == right.argmax(1)).double().mean())
    return Parity(len(wanted), len(left), error, agreement, error <= MAX_ERROR and agreement >= MIN_AGREEMENT)
