"""Which parameters are in 4-bit, adapted, trained or frozen: the table that is shown and saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from finetune.adapter import part_of
from finetune.towers import Anatomy


@dataclass(frozen=True, slots=True)
class Group:
    """One line of the module table: a part, what happens to it, its parameters."""

    part: str
    state: str
    tensors: int
    parameters: int


def module_groups(model: Any, anatomy: Anatomy) -> list[Group]:
    """Parameters of an adapter model by part and state (4-bit, frozen, trained, LoRA)."""
    counts: dict[tuple[str, str], list[int]] = {}
    for name, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        if not own:
            continue
        plain = name.removeprefix("base_model.model.")
        place = _place(plain, anatomy)
        for parameter in own.values():
            state = _state(name, parameter)
            size = parameter.quant_state.shape.numel() if state == "4-bit" else parameter.numel()
            entry = counts.setdefault((place, state), [0, 0])
            entry[0] += 1
            entry[1] += size
    return [Group(place, state, *numbers) for (place, state), numbers in sorted(counts.items())]


def _state(name: str, parameter: Any) -> str:
    if part_of(f"{name}.") == "lora":
        return "LoRA"
    if getattr(parameter, "quant_state", None) is not None:
        return "4-bit"
    return "trained" if parameter.requires_grad else "frozen"


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
