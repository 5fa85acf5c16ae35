"""What learns: LoRA on the decoder and a trained copy of the projector; everything else stays frozen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curate.errors import UserError
from finetune.recipe import Part, TrainRecipe
from finetune.towers import Anatomy, find_parts, lora_targets


def add_adapter(base: Any, recipe: TrainRecipe) -> Any:
    """Wrap ``base`` for training: LoRA on the decoder, the projector as a trained copy.

    Trained parameters are float32; autocast brings them to the compute dtype. Parameters that
    are merely unfrozen would not be saved, so the projector goes through ``modules_to_save``.
    """
    from peft import LoraConfig, get_peft_model
    from peft.utils.constants import DUMMY_TARGET_MODULES

    anatomy = find_parts(base)
    if recipe.projector and not anatomy.projector:
        raise UserError(f"model {recipe.model}: no projector was found; set projector: false")
    if recipe.init_projector:
        load_projector(base, anatomy, recipe.init_projector)
    with_lora = recipe.lora_rank > 0
    model = get_peft_model(
        base,
        LoraConfig(
            r=max(recipe.lora_rank, 1),
            lora_alpha=recipe.lora_alpha,
            lora_dropout=recipe.lora_dropout,
            target_modules=lora_targets(base, anatomy, recipe.lora_targets) if with_lora else DUMMY_TARGET_MODULES,
            modules_to_save=list(anatomy.projector) if recipe.projector else None,
            use_rslora=recipe.lora_variant == "rslora",
            use_dora=recipe.lora_variant == "dora",
            task_type="CAUSAL_LM",
        ),
    )
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def load_projector(base: Any, anatomy: Anatomy, path: Path) -> None:
    """Fill the projector from a safetensors file; names may carry any prefix before the projector's own.

    Raises:
        UserError: the file is missing, or a weight is missing or of another shape.
    """
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        raise UserError(f"init_projector: {path}: no such file")
    weights = load_file(path)
    wanted = {
        name: p for name, p in base.named_parameters() if name.startswith(tuple(f"{m}." for m in anatomy.projector))
    }
    for name, parameter in wanted.items():
        key = next((key for key in weights if key == name or name.endswith(f".{key}")), None)
        if key is None or weights[key].shape != parameter.shape:
            raise UserError(f"init_projector: {path}: no weight {name} of shape {tuple(parameter.shape)}")
        with torch.no_grad():
            parameter.copy_(weights[key])


def set_trained(model: Any, parts: Sequence[Part]) -> None:
    """Let exactly ``parts`` of an adapter model learn; LoRA that does not learn is switched off
    only while it is still zero, that is, before the first stage that trains it."""
    from peft.tuners.lora import LoraLayer

    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.enable_adapters("lora" in parts or _has_learnt(module))
    for name, parameter in model.named_parameters():
        part = part_of(name)
        if part is not None:
            parameter.requires_grad_(part in parts)


def _has_learnt(layer: Any) -> bool:
    return any(bool(matrix.weight.any()) for matrix in layer.lora_B.values())


def part_of(name: str) -> Part | None:
    """Which part a parameter of an adapter model belongs to; None for frozen base weights."""
    if ".modules_to_save." in name:
        return "projector"
    return "lora" if ".lora_" in name else None


def load_adapter_weights(model: Any, folder: Path) -> None:
    """Bring an adapter's saved weights into a model that has the same adapter."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(model, load_file(folder / "adapter_model.safetensors"))
