"""Finds the vision tower, the projector and the decoder in any vision-language model of transformers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from winnow.errors import UserError, did_you_mean


@dataclass(frozen=True, slots=True)
class ModelParts:
    """Full module names of a vision-language model's parts.

    Attributes:
        decoder: the language model without its head.
        encoder: the vision tower.
        head: the output layer, or None.
        projector: the modules between tower and decoder (Qwen: inside the tower, at its end).
        blocks: the tower's blocks in order, up to the block whose output the projector reads.
        unused: later modules of the tower, whose output nothing reads.
    """

    decoder: str
    encoder: str
    head: str | None
    projector: tuple[str, ...]
    blocks: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


def find_parts(model: Any) -> ModelParts:
    """Locate the parts through ``get_encoder``, ``get_decoder`` and ``get_output_embeddings``.

    Raises:
        UserError: the model has no vision tower or no decoder of its own.
    """
    names = {id(module): name for name, module in model.named_modules()}
    encoder, decoder, head = model.get_encoder(modality="image"), model.get_decoder(), model.get_output_embeddings()
    if not names.get(id(encoder)) or not names.get(id(decoder)):
        raise UserError(
            f"{type(model).__name__} has no vision tower and decoder of its own; give a vision-language model"
        )
    found = {id(encoder), id(decoder), id(head)}
    projector = _between(model, "", found) or _mergers(encoder, names[id(encoder)], decoder)
    head_name = names.get(id(head)) if head is not None else None
    blocks, unused = _blocks(encoder, names[id(encoder)], getattr(model.config, "vision_feature_layer", None))
    return ModelParts(names[id(decoder)], names[id(encoder)], head_name, tuple(projector), blocks, unused)


def _blocks(encoder: Any, prefix: str, feeding: int | Sequence[int] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tower's blocks that are used, and the later modules that are not.

    Args:
        feeding: the configuration's ``vision_feature_layer``, the hidden state that the projector
            reads; 0 is the input of the first block. LLaVA's -2 leaves the last block and the norm
            behind it unused.
    """
    from torch import nn

    lists = ((name, module) for name, module in encoder.named_modules() if isinstance(module, nn.ModuleList))
    name, layers = max(lists, key=lambda found: len(found[1]), default=("", None))
    if layers is None:
        return (), ()
    blocks = tuple(f"{prefix}.{name}.{number}" for number in range(len(layers)))
    chosen = [feeding] if isinstance(feeding, int) else list(feeding or [-1])
    used = max(layer if layer >= 0 else len(layers) + 1 + layer for layer in chosen)
    if used >= len(layers):
        return blocks, ()
    direct = name.split(".")[0]
    children = list(encoder.named_children())
    behind = children[[child for child, _ in children].index(direct) + 1 :]
    norms = tuple(f"{prefix}.{child}" for child, module in behind if next(module.parameters(), None) is not None)
    return blocks[:used], blocks[used:] + norms


def _between(module: Any, prefix: str, parts: set[int]) -> list[str]:
    """Topmost modules with parameters that are not in ``parts`` (by id) and contain none of them."""
    names: list[str] = []
    for name, child in module.named_children():
        if id(child) in parts:
            continue
        if any(id(inner) in parts for inner in child.modules()):
            names += _between(child, f"{prefix}{name}.", parts)
        elif next(child.parameters(), None) is not None:
            names += _callable(f"{prefix}{name}", child)
    return names


def _callable(name: str, module: Any) -> list[str]:
    """The module, or the members of a module list: PEFT can only copy modules that have a forward."""
    from torch import nn

    if not isinstance(module, nn.ModuleList):
        return [name]
    return [inner for number, child in enumerate(module) for inner in _callable(f"{name}.{number}", child)]


def _mergers(encoder: Any, prefix: str, decoder: Any) -> list[str]:
    """Projectors inside the tower (Qwen): its children, except the blocks, whose output has the decoder's width."""
    from torch import nn

    width = decoder.get_input_embeddings().weight.shape[1]
    blocks = max(encoder.children(), key=lambda child: sum(parameter.numel() for parameter in child.parameters()))
    found = []
    for name, child in encoder.named_children():
        linears = [module for module in child.modules() if isinstance(module, nn.Linear)]
        if child is not blocks and linears and linears[-1].out_features == width:
            found += _callable(f"{prefix}.{name}", child)
    return found


def lora_targets(model: Any, parts: ModelParts, wanted: str | list[str]) -> str:
    """Regular expression that matches the full names of the wanted linear layers of the decoder, and no others.

    Short names would also match layers of the vision tower that have the same name.

    Args:
        wanted: ``all-linear`` or short names such as ``["q_proj", "v_proj"]``.

    Raises:
        UserError: the decoder has no linear layer of that short name.
    """
    from torch import nn

    linears = {
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(f"{parts.decoder}.")
    }
    short = {name.rsplit(".", 1)[-1] for name in linears}
    chosen = short if wanted == "all-linear" else set(wanted)
    if unknown := sorted(chosen - short):
        meant = did_you_mean(unknown[0], sorted(short), most=1)
        raise UserError(f"lora_targets: no linear layer of the decoder is called {unknown[0]!r}; {meant}")
    layers = "|".join(re.escape(name) for name in sorted(chosen))
    return rf"{re.escape(parts.decoder)}\.(?:.*\.)?(?:{layers})"


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
