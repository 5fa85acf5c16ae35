"""Which parameters are in 4-bit, adapted, trained or frozen: the table that is shown and saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from torch import nn

from finetune.model.adapter import Learner, plain_name
from finetune.model.parts import Anatomy
from finetune.recipe import Quantization


@dataclass(frozen=True, slots=True)
class Group:
    """One line of the module table: a part, what happens to it, its tensors and their parameters."""

    part: str
    state: str
    tensors: int
    parameters: int


def module_groups(learner: Learner, *, quantization: Quantization = "none") -> list[Group]:
    """Parameters of a model by part and state (4-bit, 8-bit, frozen, trained, LoRA).

    Frozen originals behind trained copies are no parameters of the trained function: left out.

    Args:
        quantization: for a model without weights: what its decoder's linear layers would be.
    """
    inside = f"{learner.anatomy.decoder}."
    linears = {
        f"{name}.weight"
        for name, module in learner.model.named_modules()
        if quantization != "none" and isinstance(module, nn.Linear) and plain_name(name).startswith(inside)
    }
    counts: dict[tuple[str, str], list[int]] = {}
    for name, parameter in learner.model.named_parameters():
        if ".original_module." in name:
            continue
        state = _state(name, parameter, name in learner.parts)
        if state == "frozen" and name in linears:
            state = "4-bit" if quantization == "nf4" else "8-bit"
        packed = getattr(parameter, "quant_state", None)
        size = parameter.numel() if packed is None else packed.shape.numel()
        entry = counts.setdefault((_place(plain_name(name), learner.anatomy), state), [0, 0])
        entry[0] += 1
        entry[1] += size
    return [Group(place, state, *numbers) for (place, state), numbers in sorted(counts.items())]


def _state(name: str, parameter: Any, learns: bool) -> str:
    if learns:
        return "LoRA" if ".lora_" in name else "trained"
    if getattr(parameter, "quant_state", None) is not None:
        return "4-bit"
    return "8-bit" if type(parameter).__name__ == "Int8Params" else "frozen"


def _place(name: str, anatomy: Anatomy) -> str:
    places: list[tuple[str, Sequence[str | None]]] = [
        ("projector", anatomy.projector),
        ("vision tower", [anatomy.encoder]),
        ("decoder", [anatomy.decoder]),
        ("output head", [anatomy.head]),
    ]
    for place, parts in places:
        if any(part and f"{name}.".startswith(f"{part}.") for part in parts):
            return place
    return "other"


def as_table(title: str, groups: Sequence[Group]) -> Table:
    """The groups for the terminal; what learns is green."""
    table = Table("part", "state", "tensors", "parameters", title=title, title_justify="left")
    for group in groups:
        style = "bold green" if group.state in ("LoRA", "trained") else None
        table.add_row(group.part, group.state, f"{group.tensors:,}", f"{group.parameters:,}", style=style)
    for column in table.columns[2:]:
        column.justify = "right"
    return table
