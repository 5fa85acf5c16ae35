"""How much of the decoder is quantised: what bitsandbytes does not cover stays in 16 bit without a word from it."""

from __future__ import annotations

from typing import Any

from finetune.model.parts import plain_name
from finetune.recipe import Quantization
from winnow.errors import UserError
from winnow.vlm.anatomy import ModelParts


def quantised_names(model: Any, parts: ModelParts, quantization: Quantization) -> set[str]:
    """Plain names of parameters that loading would quantise: the decoder's linear layers, in 4-bit its experts too.

    Args:
        model: the architecture without weights.
    """
    from torch import nn

    if quantization == "none":
        return set()
    linears = {
        f"{plain_name(name)}.weight" for name, module in model.named_modules()
        if type(module) is nn.Linear and parts.part_of(plain_name(name)) == "decoder"
    }  # fmt: skip
    return linears | set(parts.experts) if quantization == "nf4" else linears


def true_size(model: Any, name: str, parameter: Any) -> int:
    """Numbers in a parameter, also if it is packed."""
    state = getattr(parameter, "quant_state", None)
    if name.endswith(".original"):  # quantised experts
        state = model.get_submodule(name.removesuffix(".original"))[0].quant_state
    return int(parameter.numel() if state is None else state.shape.numel())


def is_quantised(name: str, parameter: Any) -> bool:
    """Whether a loaded parameter is 4-bit or 8-bit."""
    kind = type(parameter).__name__
    return kind == "Int8Params" or getattr(parameter, "quant_state", None) is not None or name.endswith(".original")


def quantised_share(model: Any, parts: ModelParts, quantization: Quantization) -> float:
    """Share of the decoder's weights, embeddings not counted, that are quantised or, without weights, would be."""
    from torch import nn

    names = quantised_names(model, parts, quantization)
    embeddings = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    counts = {True: 0, False: 0}
    for name, parameter in model.named_parameters():
        if parts.part_of(name) == "decoder" and name not in embeddings:
            counts[name in names or is_quantised(name, parameter)] += true_size(model, name, parameter)
    return counts[True] / max(1, sum(counts.values()))


def check_quantised(share: float, quantization: Quantization, most: float) -> None:
    """Refuse a run whose decoder would stay in 16 bit for the larger part.

    Args:
        share: see ``quantised_share``.
        most: largest share that may stay in 16 bit.

    Raises:
        UserError: more would.
    """
    if quantization == "none" or 1 - share <= most:
        return
    way = "quantization: nf4 covers experts too; " if quantization == "int8" else ""
    raise UserError(
        f"quantization: {quantization} would leave {1 - share:.0%} of the decoder's weights in 16 bit "
        f"(max_unquantized: {most}); {way}set quantization: none, or max_unquantized: 1 if there is memory for it"
    )
