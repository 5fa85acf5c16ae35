"""What learns: LoRA or the whole decoder, the projector, parts of the vision tower; all else stays frozen.

Which parameters are in 4-bit, adapted, trained or frozen: the table that is shown and saved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from torch import nn

from finetune.model.parts import ModelParts, find_parts, lora_targets, vision_targets
from finetune.recipe import LastBlocks, Part, Quantization, ResolvedStage, TrainRecipe
from winnow.errors import UserError


@dataclass(frozen=True)
class Learner:
    """A model that is ready to train.

    Attributes:
        model: a PEFT model; with ``decoder: full`` the plain model.
        anatomy: its parts, by the names of the plain model.
        parts: parameter name → part, of every parameter that some stage may train.
    """

    model: Any
    anatomy: ModelParts
    parts: Mapping[str, Part]

    def trained_in(self, stage: ResolvedStage) -> Iterator[str]:
        """Names of the parameters that learn in ``stage``."""
        blocks = self.anatomy.blocks[-stage.vision.last_n :] if isinstance(stage.vision, LastBlocks) else None
        inside = tuple(f"{block}." for block in blocks or ())
        for name, part in self.parts.items():
            outside = part == "vision" and blocks is not None and not plain_name(name).startswith(inside)
            if part in stage.train and not outside:
                yield name


def build_learner(base: Any, recipe: TrainRecipe) -> Learner:
    """Make ``base`` ready: LoRA where it is asked for, trained copies of the other parts.

    Trained parameters are float32; autocast brings them to the compute dtype. Parameters that
    are merely unfrozen would not be saved, so they go through ``modules_to_save``. The adapter
    holds what any stage trains, so that its shape is the same in all of them.

    Raises:
        UserError: the model has no such part, or a layer that the recipe names.
    """
    anatomy = find_parts(base)
    if recipe.projector and not anatomy.projector:
        raise UserError(f"model {recipe.model}: no projector was found; set projector: false")
    if recipe.last_blocks() > len(anatomy.blocks):
        raise UserError(
            f"vision: last_n is {recipe.last_blocks()}, the vision tower of {recipe.model} has "
            f"{len(anatomy.blocks)} blocks that feed the projector"
        )
    model = base if recipe.decoder == "full" else _peft_model(base, anatomy, recipe)
    found = ((name, part_of(name, anatomy, adapter=model is not base)) for name, _ in model.named_parameters())
    offered = recipe.parts()
    learner = Learner(model, anatomy, {name: part for name, part in found if part in offered})
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in learner.parts)
        # Unused norms in a trained copy too: kernels refuse weights and inputs of different dtypes.
        if name in learner.parts or ".modules_to_save." in name:
            parameter.data = parameter.data.float()
    return learner


def _peft_model(base: Any, anatomy: ModelParts, recipe: TrainRecipe) -> Any:
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora import LoraLayer
    from peft.utils.constants import DUMMY_TARGET_MODULES

    modes = recipe.vision_modes()
    targets = []
    if recipe.decoder == "lora":
        targets.append(lora_targets(base, anatomy, recipe.lora_targets))
    if "lora" in modes:
        targets.append(vision_targets(base, anatomy, recipe.lora_targets))
    copies = (
        [anatomy.encoder] if "full" in modes else list(anatomy.blocks[len(anatomy.blocks) - recipe.last_blocks() :])
    )
    if recipe.projector:
        inside = tuple(f"{copy}." for copy in copies)
        copies += [name for name in anatomy.projector if not name.startswith(inside or ("\0",))]
    model = get_peft_model(
        base,
        LoraConfig(
            r=recipe.lora_rank,
            lora_alpha=recipe.lora_alpha,
            lora_dropout=recipe.lora_dropout,
            target_modules="|".join(targets) if targets else DUMMY_TARGET_MODULES,
            modules_to_save=copies or None,
            use_rslora=recipe.lora_variant == "rslora",
            use_dora=recipe.lora_variant == "dora",
            task_type="CAUSAL_LM",
        ),
    )
    for module in model.modules():
        if isinstance(module, LoraLayer):
            # Else every layer's input goes to float32 and, by autocast, at once back again.
            module.cast_input_dtype_enabled = False
    return model


def set_trained(learner: Learner, stage: ResolvedStage) -> None:
    """Let exactly the stage's parameters learn; LoRA that does not learn is switched off
    only while it is still zero, that is, before the first stage that trains it."""
    from peft.tuners.lora import LoraLayer

    trained = set(learner.trained_in(stage))
    for name, module in learner.model.named_modules():
        if isinstance(module, LoraLayer):
            module.enable_adapters(f"{name}.lora_B.default.weight" in trained or _has_learnt(module))
    for name, parameter in learner.model.named_parameters():
        if name in learner.parts:
            parameter.requires_grad_(name in trained)


def _has_learnt(layer: Any) -> bool:
    return any(bool(matrix.weight.any()) for matrix in layer.lora_B.values())


def plain_name(name: str) -> str:
    """A parameter's or module's name as it is without PEFT's wrappers."""
    name = name.removeprefix("base_model.model.").replace(".modules_to_save.default", "")
    return name.replace(".base_layer", "").replace(".original_module", "")


def part_of(name: str, anatomy: ModelParts, *, adapter: bool) -> Part | None:
    """Which part a parameter belongs to; None if it never learns.

    Args:
        adapter: the model is a PEFT model, so that only what the adapter holds can learn.
    """
    if adapter and ".lora_" not in name and ".modules_to_save." not in name:
        return None
    plain = f"{plain_name(name)}."

    def below(modules: tuple[str, ...]) -> bool:
        return plain.startswith(tuple(f"{module}." for module in modules))

    if below(anatomy.projector):
        return "projector"
    if below(anatomy.unused):
        return None
    return "vision" if below((anatomy.encoder,)) else "decoder"


def load_weights(model: Any, folder: Path) -> None:
    """Bring saved weights into a model of the same shape: an adapter's, or those of a whole model."""
    from peft import PeftModel, set_peft_model_state_dict
    from safetensors.torch import load_file

    if isinstance(model, PeftModel):
        set_peft_model_state_dict(model, load_file(folder / "adapter_model.safetensors"))
        return
    import torch

    saved = dict(type(model).from_pretrained(folder, dtype=torch.float32).named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(saved[name])


@dataclass(frozen=True, slots=True)
class ModuleGroup:
    """One line of the module table: a part, what happens to it, its tensors and their parameters."""

    part: str
    state: str
    tensors: int
    parameters: int


def module_groups(learner: Learner, *, quantization: Quantization = "none") -> list[ModuleGroup]:
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
    return [ModuleGroup(place, state, *numbers) for (place, state), numbers in sorted(counts.items())]


def _state(name: str, parameter: Any, learns: bool) -> str:
    if learns:
        return "LoRA" if ".lora_" in name else "trained"
    if getattr(parameter, "quant_state", None) is not None:
        return "4-bit"
    return "8-bit" if type(parameter).__name__ == "Int8Params" else "frozen"


def _place(name: str, anatomy: ModelParts) -> str:
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


def module_table(title: str, groups: Sequence[ModuleGroup]) -> Table:
    """The groups for the terminal; what learns is green."""
    table = Table("part", "state", "tensors", "parameters", title=title, title_justify="left")
    for group in groups:
        style = "bold green" if group.state in ("LoRA", "trained") else None
        table.add_row(group.part, group.state, f"{group.tensors:,}", f"{group.parameters:,}", style=style)
    for column in table.columns[2:]:
        column.justify = "right"
    return table
