"""The model to train: 4-bit decoder, LoRA on it, projector trained, everything else frozen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import UserError
from finetune.recipe import Part, TrainRecipe
from finetune.towers import Anatomy, find_parts, lora_targets


def _offline_if_local(model: str) -> None:
    if Path(model).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


def quieten() -> None:
    """Silence what libraries say about themselves: weight-loading bars, deprecations of calls that
    they make to each other, and an optional CPU kernel of bitsandbytes that would come from the network."""
    import logging
    import warnings

    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def load_processor(model: str) -> Any:
    """The processor of a checkpoint folder or hub id.

    Raises:
        UserError: nothing loadable there.
    """
    _offline_if_local(model)
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(model, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"model {model}: its processor does not load ({_first_line(error)})") from error


def fastest_attention(max_length: int) -> str | None:
    """Attention kernel for training; None is the library's choice.

    On CPUs the backward of torch's fused kernel takes twice the time of plain matrix products,
    whose memory grows with the square of the length, so they are for short conversations.
    """
    import torch

    return "eager" if not torch.cuda.is_available() and max_length <= 1024 else None


def load_base(model: str, *, quantization: str, compute_dtype: str, attention: str | None = None) -> Any:
    """Load a checkpoint with its decoder in 4-bit NF4 (double quantisation) or in full precision.

    Args:
        attention: ``attn_implementation`` of transformers; None is its default.

    Raises:
        UserError: nothing loadable there, or no vision-language model.
    """
    _offline_if_local(model)
    import torch
    from transformers import AutoModelForImageTextToText, BitsAndBytesConfig

    quieten()
    dtype = getattr(torch, compute_dtype)
    config = None
    if quantization == "nf4":
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            # Names are matched from the start: full paths, or the tower would go 4-bit silently.
            llm_int8_skip_modules=anatomy_of(model).unquantized,
        )
    try:
        loaded = AutoModelForImageTextToText.from_pretrained(
            model, dtype=dtype, quantization_config=config, attn_implementation=attention, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise UserError(f"model {model}: does not load ({_first_line(error)})") from error
    keep_trainable(loaded)
    return loaded


def anatomy_of(model: str) -> Anatomy:
    """The parts of a checkpoint, from its configuration alone: no weight is read."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
        with torch.device("meta"):
            return find_parts(AutoModelForImageTextToText.from_config(config))
    except (OSError, ValueError) as error:
        raise UserError(f"model {model}: does not load ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def keep_trainable(model: Any) -> None:
    """Forbid bitsandbytes to repack 4-bit weights for inference on CPUs with AVX512-BF16.

    A repacked layer takes a kernel without autograd: after one forward in eval mode,
    training would go on with almost no gradients and without an error.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


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


@dataclass(frozen=True, slots=True)
class Group:
    """One line of the module table: a part, what happens to it, its parameters."""

    part: str
    state: str
    modules: int
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
