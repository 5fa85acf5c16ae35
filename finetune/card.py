"""The model card beside the adapter: what it is, what it learnt from, how to load it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from finetune.modules import Group
from finetune.recipe import TrainRecipe
from finetune.stage_options import ResolvedStage
from finetune.training.plan import Plan
from winnow.files import sha256_file, write_text
from winnow.run import MANIFEST, git_commit, package_versions


def write_card(recipe: TrainRecipe, plan: Plan, groups: list[Group], target: Path) -> None:
    """Write ``README.md`` with the front matter of the hub and the data's provenance from its manifest."""
    front: dict[str, Any] = {"base_model": recipe.model, "pipeline_tag": "image-text-to-text"}
    if recipe.decoder == "full":
        front |= {"library_name": "transformers", "tags": ["winnow", "full-fine-tuning"]}
    else:
        front |= {"library_name": "peft", "tags": ["winnow", "lora", recipe.lora_variant]}
    trained = sum(group.parameters for group in groups if group.state in ("LoRA", "trained"))
    stages = "\n".join(
        f"| {stage.name} | {' + '.join(stage.train)} | {len(schedule):,} | {_rates(stage)} |"
        for stage, schedule in zip(recipe.resolved_stages(), plan.schedules, strict=True)
    )
    versions = ", ".join(f"{name} {version}" for name, version in package_versions().items())
    loads = "AutoModelForImageTextToText.from_pretrained"
    text = f"""---
{yaml.safe_dump(front, sort_keys=False).rstrip()}
---
# {recipe.name}

{_kind(recipe)} of `{recipe.model}`, made with Winnow. {trained:,} parameters were trained; the loss was taken on
answers and their stop tokens only.

## Data

{_provenance(plan)}

## Training

| stage | trains | conversations | learning rate |
|---|---|---|---|
{stages}

Quantization of the decoder: {recipe.quantization}. Compute dtype: {recipe.compute_dtype}. Vision tower:
{recipe.model_dump()["vision"]}. Seed: {recipe.seed}. Code: {git_commit() or "unknown commit"}.
Packages: {versions}.

## Use

```python
from transformers import AutoModelForImageTextToText, AutoProcessor

model = {loads}("PATH/TO/THIS/FOLDER")
processor = AutoProcessor.from_pretrained("PATH/TO/THIS/FOLDER")
```

An adapter of a 4-bit base answers most like it did in training on that base, or merged into the dequantised base:
`finetune merge RUN --out DIR`.
"""
    write_text(target, text)


def _rates(stage: ResolvedStage) -> str:
    return ", ".join(f"{part} {stage.rates[part]:g}" for part in stage.train)


def _kind(recipe: TrainRecipe) -> str:
    if recipe.decoder == "full":
        return "A full fine-tuning"
    return "A QLoRA adapter" if recipe.quantization == "nf4" else "A LoRA adapter"


def _provenance(plan: Plan) -> str:
    lines = []
    for part in plan.rows.sets:
        folder = part.given if part.given.is_dir() else part.given.parent
        manifest = folder / MANIFEST
        lines.append(f"- `{part.given}`: {len(part.offsets):,} rows, sha256 `{sha256_file(part.path)}`")
        if manifest.is_file():
            lines += _curation(json.loads(manifest.read_text(encoding="utf-8")))
    rejected = ", ".join(f"{reason} {count:,}" for reason, count in plan.checked.rejected.items()) or "none"
    accepted = len(plan.checked.table.row)
    return "\n".join([*lines, f"- rows that could be trained: {accepted:,}; rejected: {rejected}"])


def _curation(manifest: dict[str, Any]) -> list[str]:
    """What a curated set's manifest says about its origin."""
    counts = manifest.get("counts", {})
    kept = ", ".join(f"{name} {counts[name]:,}" for name in ("rows", "keep", "flag", "drop") if name in counts)
    lines = [
        f"  - curated by recipe `{manifest.get('recipe_digest', '')[:16]}`, "
        f"commit `{(manifest.get('git_commit') or 'unknown')[:12]}`" + (f": {kept}" if kept else "")
    ]
    inputs = sorted(manifest.get("inputs", {}).items())
    return lines + [f"  - input `{name}`: sha256 `{digest}`" for name, digest in inputs]
