"""Makes a base model trainable: LoRA, trained copies of the projector and of vision blocks, everything else frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from finetune.model.parts import ModelParts, find_parts, lora_targets, vision_targets
from finetune.recipe import LastBlocks, Part, Quantization, ResolvedStage, TrainRecipe
from winnow.errors import UserError


@dataclass(frozen=True)
class Learner:
    """A model that is ready to train.

    Attributes:
        model: a PEFT model; with ``decoder: full`` the plain model.
        model_parts: its parts, with module names of the plain model.
        parameter_parts: parameter name → part, for every parameter that some stage may train.
    """

    model: Any
    model_parts: ModelParts
    parameter_parts: Mapping[str, Part]

    def trained_in(self, stage: ResolvedStage) -> Iterator[str]:
        """Names of the parameters that learn in ``stage``."""
        blocks = self.model_parts.blocks[-stage.vision.last_n :] if isinstance(stage.vision, LastBlocks) else None
        inside = tuple(f"{block}." for block in blocks or ())
        for name, part in self.parameter_parts.items():
            outside = part == "vision" and blocks is not None and not plain_name(name).startswith(inside)
            if part in stage.train and not outside:
                yield name


def build_learner(base: Any, recipe: TrainRecipe) -> Learner:
    """Make ``base`` ready to train: LoRA where the recipe asks for it, trained copies of the other parts.

    Trained parameters are float32; autocast converts them to the compute dtype. The copies are made
    by ``modules_to_save``, as PEFT would not save parameters that are merely unfrozen. The adapter
    holds what any stage trains, so its shape is the same in all stages.

    Raises:
        UserError: the model lacks a part or a layer that the recipe names.
    """
    model_parts = find_parts(base)
    if recipe.projector and not model_parts.projector:
        raise UserError(f"model {recipe.model}: found no projector; set projector: false")
    if recipe.last_blocks() > len(model_parts.blocks):
        raise UserError(
            f"vision: last_n is {recipe.last_blocks()}, the vision tower of {recipe.model} has "
            f"{len(model_parts.blocks)} blocks that feed the projector"
        )
    model = base if recipe.decoder == "full" else _peft_model(base, model_parts, recipe)
    found = ((name, part_of(name, model_parts, adapter=model is not base)) for name, _ in model.named_parameters())
    offered = recipe.parts()
    learner = Learner(model, model_parts, {name: part for name, part in found if part in offered})
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in learner.parameter_parts)
        # Untrained parameters of a copy too: kernels refuse weights and inputs of different dtypes.
        if name in learner.parameter_parts or ".modules_to_save." in name:
            parameter.data = parameter.data.float()
    return learner


def _peft_model(base: Any, model_parts: ModelParts, recipe: TrainRecipe) -> Any:
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora import LoraLayer
    from peft.utils.constants import DUMMY_TARGET_MODULES

    modes = recipe.vision_modes()
    targets = []
    if recipe.decoder == "lora":
        targets.append(lora_targets(base, model_parts, recipe.lora_targets))
    if "lora" in modes:
        targets.append(vision_targets(base, model_parts, recipe.lora_targets))
    copies = (
        [model_parts.encoder]
        if "full" in modes
        else list(model_parts.blocks[len(model_parts.blocks) - recipe.last_blocks() :])
    )
    if recipe.projector:
        inside = tuple(f"{copy}." for copy in copies)
        copies += [name for name in model_parts.projector if not name.startswith(inside or ("\0",))]
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
            # Otherwise every layer's input is converted to float32 and, by autocast, straight back.
            module.cast_input_dtype_enabled = False
    return model


def set_trained(learner: Learner, stage: ResolvedStage) -> None:
    """Make the stage's parameters trainable and no others.

    LoRA layers that have never been trained are switched off: they are zero and would only cost time.
    """
    from peft.tuners.lora import LoraLayer

    trained = set(learner.trained_in(stage))
    for name, module in learner.model.named_modules():
        if isinstance(module, LoraLayer):
            module.enable_adapters(f"{name}.lora_B.default.weight" in trained or _has_learned(module))
    for name, parameter in learner.model.named_parameters():
        if name in learner.parameter_parts:
            parameter.requires_grad_(name in trained)


def _has_learned(layer: Any) -> bool:
    return any(bool(matrix.weight.any()) for matrix in layer.lora_B.values())


def plain_name(name: str) -> str:
    """Name of a parameter or module without PEFT's wrappers."""
    name = name.removeprefix("base_model.model.").replace(".modules_to_save.default", "")
    return name.replace(".base_layer", "").replace(".original_module", "")


def part_of(name: str, model_parts: ModelParts, *, adapter: bool) -> Part | None:
    """The part that a parameter belongs to; None if it can never be trained.

    Args:
        adapter: whether the model is a PEFT model, where only the adapter's parameters can be trained.
    """
    if adapter and ".lora_" not in name and ".modules_to_save." not in name:
        return None
    plain = f"{plain_name(name)}."

    def below(modules: tuple[str, ...]) -> bool:
        return plain.startswith(tuple(f"{module}." for module in modules))

    if below(model_parts.projector):
        return "projector"
    if below(model_parts.unused):
        return None
    return "vision" if below((model_parts.encoder,)) else "decoder"


def load_weights(model: Any, folder: Path) -> None:
    """Load saved weights, of an adapter or of a whole model, into a model of the same shape."""
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
    """A line of the module table.

    Attributes:
        part: decoder, projector, vision tower, output head or other.
        state: 4-bit, 8-bit, frozen, trained or LoRA.
        tensors, parameters: number of tensors, and of numbers in them.
    """

    part: str
    state: str
    tensors: int
    parameters: int


def module_groups(learner: Learner, *, quantization: Quantization = "none") -> list[ModuleGroup]:
    """Tensors and parameters of a model by part and state.

    Frozen originals of trained copies are left out, as the trained model does not use them.

    Args:
        quantization: for a model without weights: how its decoder would be quantised.
    """
    from torch import nn

    inside = f"{learner.model_parts.decoder}."
    linears = {
        f"{name}.weight"
        for name, module in learner.model.named_modules()
        if quantization != "none" and isinstance(module, nn.Linear) and plain_name(name).startswith(inside)
    }
    counts: dict[tuple[str, str], list[int]] = {}
    for name, parameter in learner.model.named_parameters():
        if ".original_module." in name:
            continue
        state = _state(name, parameter, name in learner.parameter_parts)
        if state == "frozen" and name in linears:
            state = "4-bit" if quantization == "nf4" else "8-bit"
        packed = getattr(parameter, "quant_state", None)
        size = parameter.numel() if packed is None else packed.shape.numel()
        entry = counts.setdefault((_part_name(plain_name(name), learner.model_parts), state), [0, 0])
        entry[0] += 1
        entry[1] += size
    return [ModuleGroup(part, state, *numbers) for (part, state), numbers in sorted(counts.items())]


def _state(name: str, parameter: Any, learns: bool) -> str:
    if learns:
        return "LoRA" if ".lora_" in name else "trained"
    if getattr(parameter, "quant_state", None) is not None:
        return "4-bit"
    return "8-bit" if type(parameter).__name__ == "Int8Params" else "frozen"


def _part_name(name: str, model_parts: ModelParts) -> str:
    named: list[tuple[str, Sequence[str | None]]] = [
        ("projector", model_parts.projector),
        ("vision tower", [model_parts.encoder]),
        ("decoder", [model_parts.decoder]),
        ("output head", [model_parts.head]),
    ]
    for part, modules in named:
        if any(module and f"{name}.".startswith(f"{module}.") for module in modules):
            return part
    return "other"


def module_table(title: str, groups: Sequence[ModuleGroup]) -> Table:
    """The groups as a table for the terminal; trained ones are green."""
    table = Table("part", "state", "tensors", "parameters", title=title, title_justify="left")
    for group in groups:
        style = "bold green" if group.state in ("LoRA", "trained") else None
        table.add_row(group.part, group.state, f"{group.tensors:,}", f"{group.parameters:,}", style=style)
    for column in table.columns[2:]:
        column.justify = "right"
    return table
