"""What serving a trained model takes: whether a server loads its adapter as LoRA, and how it prepares inputs alike.

What vLLM takes, by its API pages in November 2026 (docs.vllm.ai: ``vllm.lora.peft_helper`` of latest,
``vllm.config.lora`` of 0.22.1 and 0.26.0): no ``modules_to_save``, no DoRA, no biases; ranks up to
``--max-lora-rank``, 16 by default and 512 at most. LoRA in the vision tower needs ``--enable-tower-connector-lora`` and
a model class that supports it (vllm-project/vllm, pull requests 31513 and 35147). No such list of LMDeploy's was found.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from winnow.vlm import models
from winnow.vlm.inputs import InputSettings, area_limits, cap_before

MAX_RANK, DEFAULT_RANK = 512, 16
SERVERS = Path(__file__).parents[1] / "servers.json"  # architectures that vLLM and LMDeploy list


def refusals(config: Path) -> list[str]:
    """Why vLLM does not load the adapter of ``adapter_config.json`` as LoRA; empty if it does."""
    values = json.loads(config.read_text(encoding="utf-8"))
    found = []
    if copies := values.get("modules_to_save"):
        found.append(f"it holds trained copies of whole modules ({', '.join(sorted(copies)[:2])})")
    if values.get("use_dora"):
        found.append("it is DoRA")
    if values.get("bias", "none") != "none":
        found.append("it trains biases")
    if values.get("target_parameters"):
        found.append("its LoRA is on parameters of fused experts")
    if values["r"] > MAX_RANK:
        found.append(f"its rank is above {MAX_RANK}")
    return found


def serving_sentence(config: Path, run: Path, *, tower: bool) -> str:
    """How the adapter of ``adapter_config.json`` is served by vLLM.

    Args:
        tower: whether its LoRA covers the vision tower.
    """
    values = json.loads(config.read_text(encoding="utf-8"))
    reasons = refusals(config)
    if not reasons:
        options = lora_options(f"NAME={config.parent}", values["r"], tower=tower)
        return f"vLLM loads the adapter as LoRA: vllm serve BASE {options}"
    # PEFT's name for no module at all.
    has_lora = values["target_modules"] != "dummy-target-modules"
    lora_only = values.get("modules_to_save") and len(reasons) == 1 and has_lora
    split = ", or with --lora-only a base and a LoRA for it" if lora_only else ""
    return (
        f"vLLM cannot load the adapter as LoRA: {' and '.join(reasons)}. Serve a merged checkpoint: "
        f"`finetune merge {run} --out DIR`{split}"
    )


def lora_options(modules: str, rank: int, *, tower: bool) -> str:
    """Options of ``vllm serve`` for an adapter of a rank up to 512; without its own, LoRA of the tower is ignored.

    Args:
        modules: ``NAME=FOLDER`` of the adapter.
        tower: whether its LoRA covers the vision tower.
    """
    largest = next(size for size in (16, 32, 64, 128, 256, 320, 512) if size >= rank)
    options = f"--enable-lora --lora-modules {modules}" + (
        f" --max-lora-rank {largest}" if largest > DEFAULT_RANK else ""
    )
    return options + (" --enable-tower-connector-lora" if tower else "")


def vllm_options(model: str, processor: Any, settings: InputSettings) -> dict[str, dict[str, Any]]:
    """Options of ``vllm serve`` that prepare inputs as in training, by name, with their values; empty if it needs none.

    Args:
        model: the base model.
        processor: the trained model's.
    """
    base = models.load_processor(model)
    before = base.image_processor.to_dict() if getattr(base, "image_processor", None) is not None else {}
    after = processor.image_processor.to_dict() if before else {}
    changed = {key: value for key, value in after.items() if before.get(key) != value}
    config = models.load_config(model)
    options = {
        "mm-processor-kwargs": changed,
        "hf-overrides": {key: value for key, value in changed.items() if hasattr(config, key)},
        "default-chat-template-kwargs": dict(settings.chat_template_kwargs),
    }
    return {name: value for name, value in options.items() if value}


def serving_notes(model: str, processor: Any, settings: InputSettings, folder: Path) -> list[str]:
    """What a server must be given to prepare inputs as in training, as sentences; empty if it needs nothing.

    The folder of a merged model holds the same settings, and servers that load its processor apply them; a server
    that loads the base with the adapter does not know them.

    Args:
        model: the base model.
        processor: the trained model's.
        folder: of the merged model or the adapter.
    """
    options = vllm_options(model, processor, settings)
    notes = []
    if options:
        options_text = "".join(f" --{name} '{json.dumps(value)}'" for name, value in options.items())
        notes.append(f"vLLM: vllm serve {folder}{options_text}")
    if "mm-processor-kwargs" in options and (limits := area_limits(processor)) is not None:
        body = json.dumps({"mm_processor_kwargs": {"image": {"min_pixels": limits[0], "max_pixels": limits[1]}}})
        notes.append(f"LMDeploy: in every request {body}")
    if (cap := cap_before(processor, settings)) is not None:
        notes.append(
            f"every server: it has no option to scale images down to {cap:,} pixels before its processor, so clients "
            f"send them scaled (evalsuite: `server.max_pixels: {cap}`)"
        )
    return notes
