"""Makes a base model trainable: LoRA, trained copies of the projector and of vision blocks, everything else frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from finetune.model.continued import continued_model
from finetune.model.parts import lora_targets, plain_name, vision_targets
from finetune.model.quantised import check_quantised, is_quantised, quantised_names, quantised_share, true_size
from finetune.recipe import LastBlocks, Part, Quantization, ResolvedStage, TrainRecipe
from winnow.errors import UserError
from winnow.vlm.anatomy import ModelParts, below, find_parts


@dataclass(frozen=True)
class Learner:
    """A model that is ready to train.

    Attributes:
        model: a PEFT model; with ``decoder: full`` the plain model.
        model_parts: its parts, with module names of the plain model.
        parameter_parts: parameter name → part, for every parameter that some stage may train.
        quantised: share of the decoder's weights that are 4-bit or 8-bit, embeddings not counted.
    """

    model: Any
    model_parts: ModelParts
    parameter_parts: Mapping[str, Part]
    quantised: float = 0.0

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
    from transformers import GenerationMixin

    model_parts = find_parts(base)
    if not issubclass(type(base), GenerationMixin):
        raise UserError(f"model {recipe.model}: {type(base).__name__} does not write token by token, as this trains it")
    if model_parts.encoder is None and recipe.vision_modes():
        raise UserError(f"model {recipe.model}: has no vision tower that can be trained; set vision: frozen")
    if recipe.projector and not model_parts.projector:
        raise UserError(f"model {recipe.model}: found no projector; set projector: false")
    if recipe.last_blocks() > len(model_parts.blocks):
        raise UserError(
            f"vision: last_n is {recipe.last_blocks()}, the vision tower of {recipe.model} has "
            f"{len(model_parts.blocks)} blocks that feed the projector"
        )
    share = quantised_share(base, model_parts, recipe.quantization)
    check_quantised(share, recipe.quantization, recipe.max_unquantized)
    model = base if recipe.decoder == "full" else _peft_model(base, model_parts, recipe)
    found = ((name, part_of(name, model_parts, adapter=model is not base)) for name, _ in model.named_parameters())
    offered = recipe.parts()
    learner = Learner(model, model_parts, {name: part for name, part in found if part in offered}, share)
    if recipe.adapter is not None:
        _check_holds_parts(learner, recipe)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in learner.parameter_parts)
        # Untrained parameters of a copy too: kernels refuse weights and inputs of different dtypes.
        if name in learner.parameter_parts or ".modules_to_save." in name:
            parameter.data = parameter.data.float()
    return learner


def _check_holds_parts(learner: Learner, recipe: TrainRecipe) -> None:
    """Raise if the adapter that is trained further lacks what the recipe trains."""
    names = [plain_name(name) for name, part in learner.parameter_parts.items() if part == "vision"]
    blocks = [block for block in learner.model_parts.blocks if any(name.startswith(f"{block}.") for name in names)]
    lacking: list[str] = [part for part in recipe.parts() if part not in learner.parameter_parts.values()]
    if not lacking and recipe.last_blocks() > len(blocks):
        lacking = [f"vision tower's last {recipe.last_blocks()} blocks"]
    if lacking:
        raise UserError(
            f"adapter {recipe.adapter}: holds nothing of the {lacking[0]}, which the recipe trains; leave it out "
            "(decoder: frozen, projector: false or vision: frozen), or merge the adapter first and train a new one"
        )


def _peft_model(base: Any, model_parts: ModelParts, recipe: TrainRecipe) -> Any:
    from peft.tuners.lora import LoraLayer

    model = _new_adapter(base, model_parts, recipe) if recipe.adapter is None else continued_model(base, recipe)
    for module in model.modules():
        if isinstance(module, LoraLayer):
            # Otherwise every layer's input is converted to float32 and, by autocast, straight back.
            module.cast_input_dtype_enabled = False
    return model


def _new_adapter(base: Any, model_parts: ModelParts, recipe: TrainRecipe) -> Any:
    from peft import LoraConfig
    from peft.utils.constants import DUMMY_TARGET_MODULES

    from winnow.vlm.experts import add_lora

    modes = recipe.vision_modes()
    targets: list[str] = []
    experts: list[str] = []
    if recipe.decoder == "lora":
        layers, experts = lora_targets(base, model_parts, recipe.lora_targets)
        targets += [layers] if layers else []
    if experts and (recipe.lora_dropout or recipe.lora_variant == "dora"):
        setting = "lora_variant: dora" if recipe.lora_variant == "dora" else f"lora_dropout: {recipe.lora_dropout}"
        names = sorted({name.rsplit(".", 1)[-1] for name in experts})
        raise UserError(
            f"{setting} cannot be had on the experts' weights ({', '.join(names)}); set lora_dropout: 0 and another "
            "lora_variant, or list lora_targets without them"
        )
    if "lora" in modes:
        targets.append(vision_targets(base, model_parts, recipe.lora_targets))
    copies = (
        [model_parts.encoder]
        if "full" in modes and model_parts.encoder
        else list(model_parts.blocks[len(model_parts.blocks) - recipe.last_blocks() :])
    )
    if recipe.projector:
        inside = tuple(f"{copy}." for copy in copies)
        copies += [name for name in model_parts.projector if not name.startswith(inside or ("\0",))]
    config = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules="|".join(targets) if targets else DUMMY_TARGET_MODULES,
        target_parameters=experts or None,
        modules_to_save=copies or None,
        use_rslora=recipe.lora_variant == "rslora",
        use_dora=recipe.lora_variant == "dora",
        task_type="CAUSAL_LM",
    )
    return add_lora(base, config)


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


def part_of(name: str, model_parts: ModelParts, *, adapter: bool) -> Part | None:
    """The part that a parameter belongs to; None if it can never be trained.

    Args:
        adapter: whether the model is a PEFT model, where only the adapter's parameters can be trained.
    """
    if adapter and ".lora_" not in name and ".modules_to_save." not in name:
        return None
    plain = plain_name(name)
    if below(plain, model_parts.unused):
        return None
    part = model_parts.part_of(plain)
    if part == "other":
        return None
    return {"projector": "projector", "vision tower": "vision"}.get(part, "decoder")  # type: ignore[return-value]


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
    quantised = quantised_names(learner.model, learner.model_parts, quantization)
    counts: dict[tuple[str, str], list[int]] = {}
    for name, parameter in learner.model.named_parameters():
        if ".original_module." in name:
            continue
        state = _state(name, parameter, name in learner.parameter_parts)
        if state == "frozen" and plain_name(name) in quantised:
            state = "4-bit" if quantization == "nf4" else "8-bit"
        entry = counts.setdefault((learner.model_parts.part_of(plain_name(name)), state), [0, 0])
        entry[0] += 1
        entry[1] += true_size(learner.model, name, parameter)
    return [ModuleGroup(part, state, *numbers) for (part, state), numbers in sorted(counts.items())]


def _state(name: str, parameter: Any, learns: bool) -> str:
    if learns:
        return "LoRA" if ".lora_" in name else "trained"
    if not is_quantised(name, parameter):
        return "frozen"
    return "8-bit" if type(parameter).__name__ == "Int8Params" else "4-bit"


def module_table(title: str, groups: Sequence[ModuleGroup], quantised: float = 0.0) -> Table:
    """The groups as a table for the terminal; trained ones are green.

    Args:
        quantised: share of the decoder's weights, embeddings not counted, that is quantised; shown if it is not 0.
    """
    table = Table("part", "state", "tensors", "parameters", title=title, title_justify="left")
    for group in groups:
        style = "bold green" if group.state in ("LoRA", "trained") else None
        table.add_row(group.part, group.state, f"{group.tensors:,}", f"{group.parameters:,}", style=style)
    if quantised:
        table.add_section()
        table.add_row("decoder, quantised share", "", "", f"{quantised:.1%}")
    for column in table.columns[2:]:
        column.justify = "right"
    return table
