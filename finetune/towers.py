"""Where the vision tower, the projector and the decoder of a model are; found, not listed by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from curate.errors import UserError


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Full module names of a vision-language model's parts.

    Attributes:
        decoder: the language model without its head.
        encoder: the vision tower.
        head: the output layer, or None.
        projector: what lies between tower and decoder.
    """

    decoder: str
    encoder: str
    head: str | None
    projector: tuple[str, ...]

    @property
    def unquantized(self) -> list[str]:
        """Everything outside the decoder: these modules keep their precision."""
        return [self.encoder, *self.projector, *([self.head] if self.head else [])]


def find_parts(model: Any) -> Anatomy:
    """Locate the parts through ``get_encoder``, ``get_decoder`` and ``get_output_embeddings``.

    Raises:
        UserError: the model has no vision tower or no decoder of its own.
    """
    names = {id(module): name for name, module in model.named_modules()}
    encoder, decoder, head = model.get_encoder(modality="image"), model.get_decoder(), model.get_output_embeddings()
    if not names.get(id(encoder)) or not names.get(id(decoder)):
        raise UserError(f"{type(model).__name__} has no vision tower beside its decoder, so this is no model to train")
    known = {id(encoder), id(decoder), id(head)}
    projector = _between(model, "", known) or _mergers(encoder, names[id(encoder)], decoder)
    head_name = names.get(id(head)) if head is not None else None
    return Anatomy(names[id(decoder)], names[id(encoder)], head_name, tuple(projector))


def _between(module: Any, prefix: str, known: set[int]) -> list[str]:
    """Topmost modules with parameters that are no known part and hold none."""
    found: list[str] = []
    for name, child in module.named_children():
        if id(child) in known:
            continue
        if any(id(inner) in known for inner in child.modules()):
            found += _between(child, f"{prefix}{name}.", known)
        elif next(child.parameters(), None) is not None:
            found.append(f"{prefix}{name}")
    return found


def _mergers(encoder: Any, prefix: str, decoder: Any) -> list[str]:
    """Projectors inside the tower (Qwen): children that end in the decoder's width, the blocks aside."""
    from torch import nn

    width = decoder.get_input_embeddings().weight.shape[1]
    blocks = max(encoder.children(), key=lambda child: sum(parameter.numel() for parameter in child.parameters()))
    found = []
    for name, child in encoder.named_children():
        linears = [module for module in child.modules() if isinstance(module, nn.Linear)]
        if child is not blocks and linears and linears[-1].out_features == width:
            found.append(f"{prefix}.{name}")
    return found


def lora_targets(model: Any, anatomy: Anatomy, wanted: str | list[str]) -> str:
    """A regular expression that matches exactly the decoder's linear layers asked for, by full name.

    Short names would also hit layers of the vision tower that happen to be called the same.

    Args:
        wanted: ``all-linear`` or short names such as ``["q_proj", "v_proj"]``.

    Raises:
        UserError: a short name fits no linear layer of the decoder.
    """
    from torch import nn

    linears = {
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(f"{anatomy.decoder}.")
    }
    short = {name.rsplit(".", 1)[-1] for name in linears}
    chosen = short if wanted == "all-linear" else set(wanted)
    if unknown := sorted(chosen - short):
        raise UserError(
            f"lora_targets: no linear layer of the decoder is called {unknown[0]!r}; known: {sorted(short)}"
        )
    layers = "|".join(re.escape(name) for name in sorted(chosen))
    return rf"{re.escape(anatomy.decoder)}\.(?:.*\.)?(?:{layers})"
