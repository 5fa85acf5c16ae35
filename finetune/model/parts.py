"""Which layers of a model LoRA adapts, by their full names."""

from __future__ import annotations

import re
from typing import Any

from winnow.errors import UserError, did_you_mean
from winnow.vlm.anatomy import ModelParts, below


def plain_name(name: str) -> str:
    """Name of a parameter or module without PEFT's wrappers."""
    name = name.removeprefix("base_model.model.").replace(".modules_to_save.default", "")
    name = name.replace(".base_layer", "").replace(".original_module", "")
    return name.replace(".parametrizations", "").removesuffix(".original")


def lora_targets(model: Any, parts: ModelParts, wanted: str | list[str]) -> tuple[str, list[str]]:
    """What LoRA adapts in the decoder: an expression for the full names of its linear layers, and expert parameters.

    Short names would also match layers of the vision tower that have the same name. The output layer is never adapted.

    Args:
        wanted: ``all-linear``, which leaves out routers, or short names such as ``["q_proj", "v_proj"]``.

    Raises:
        UserError: the decoder has no linear layer or expert weight of that short name.
    """
    from torch import nn

    linears = {
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and parts.part_of(name) == "decoder"
    }
    short = {name.rsplit(".", 1)[-1] for name in (*linears, *parts.experts)}
    # A trained router sends tokens to other experts than those that the adapters of the experts learned with.
    every = {name for name in short if not re.search(r"(^|_)(router|gate)$", name)}
    chosen = every if wanted == "all-linear" else set(wanted)
    if unknown := sorted(chosen - short):
        meant = did_you_mean(unknown[0], sorted(short), most=1)
        raise UserError(f"lora_targets: no linear layer of the decoder is called {unknown[0]!r}; {meant}")
    layers = "|".join(re.escape(name) for name in sorted({name.rsplit(".", 1)[-1] for name in linears} & chosen))
    nested = [name for name in (parts.encoder, parts.head, *parts.projector, *parts.other) if name]
    nested = [re.escape(name) for name in nested if below(name, [parts.decoder])]
    ahead = rf"(?!(?:{'|'.join(nested)})(?:\.|$))" if nested else ""
    experts = [name for name in parts.experts if name.rsplit(".", 1)[-1] in chosen]
    return (rf"{ahead}{re.escape(parts.decoder)}\.(?:.*\.)?(?:{layers})" if layers else ""), experts


def vision_targets(model: Any, parts: ModelParts, wanted: str | list[str]) -> str:
    """The same for the blocks of the vision tower; all their linear layers if none has a wanted name (Qwen's ``qkv``).

    Raises:
        UserError: the tower has no blocks with linear layers.
    """
    from torch import nn

    inside = tuple(f"{block}." for block in parts.blocks)
    linears = {name for name, module in model.named_modules() if isinstance(module, nn.Linear) and
               name.startswith(inside)}  # fmt: skip
    if not linears:
        raise UserError(f"{type(model).__name__}: found no blocks in its vision tower; set vision: frozen or full")
    chosen = {name for name in linears if wanted != "all-linear" and name.rsplit(".", 1)[-1] in wanted}
    return "|".join(re.escape(name) for name in sorted(chosen or linears))
