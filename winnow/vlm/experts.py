"""Fused expert weights in 4-bit: quantised while they load, adapted with LoRA, given back in full precision.

Mixture-of-experts models keep the matrices of all experts of a layer in one three-dimensional parameter, which
bitsandbytes' linear layers do not cover. Import this module only where such a model is loaded or adapted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn.modules import Params4bit
from bitsandbytes.nn.parametrize import replace_parameter_4bit_prequantized
from peft import LoraConfig, PeftConfig, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import layer
from safetensors import safe_open
from torch import nn
from torch.nn.utils import parametrize
from transformers import BitsAndBytesConfig
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.quantizer_bnb_4bit import Bnb4BitHfQuantizer
from transformers.utils.quantization_config import QuantizationMethod

from winnow.errors import UserError

_METHOD = "bitsandbytes_4bit_with_experts"


@register_quantization_config(_METHOD)
class ExpertsConfig(BitsAndBytesConfig):
    """``BitsAndBytesConfig`` for 4-bit with ``experts``: names of further parameters to quantise."""

    def __init__(self, *, experts: Sequence[str] = (), **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self.experts = list(experts)
        self.quant_method: Any = _METHOD


@register_quantizer(_METHOD)
class ExpertsQuantizer(Bnb4BitHfQuantizer):
    """Quantises linear layers as bitsandbytes does, and the parameters that the configuration names."""

    quantization_config: ExpertsConfig

    def param_needs_quantization(self, model: Any, param_name: str, **kwargs: Any) -> bool:
        named = param_name in self.quantization_config.experts
        return named or super().param_needs_quantization(model, param_name, **kwargs)

    def get_quantize_ops(self) -> Any:
        linear = super().get_quantize_ops()  # type: ignore[no-untyped-call]
        config = self.quantization_config

        class Quantize(type(linear)):  # type: ignore[misc]
            def convert(self, input_dict: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
                done: dict[str, Any] = {}
                for name in [name for name in input_dict if name in config.experts]:
                    value = input_dict.pop(name)
                    value = value[0] if isinstance(value, list) else value
                    made: Any = Params4bit(
                        value.contiguous(), requires_grad=False, compress_statistics=True,
                        quant_type=config.bnb_4bit_quant_type,
                    )  # fmt: skip
                    done[name] = made.to(value.device)
                done.update(super().convert(input_dict, **kwargs))
                return done

        return Quantize(self)

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        model = super()._process_model_after_weight_loading(model, **kwargs)
        for name in self.quantization_config.experts:
            module, short = _owner(model, name)
            packed = getattr(module, short)
            setattr(module, short, nn.Parameter(packed.data, requires_grad=False))
            replace_parameter_4bit_prequantized(
                module, short, packed.quant_state.as_dict(packed=True), packed.data.device
            )
        # Trainer, accelerate and PEFT treat it as what it is.
        model.quantization_method = QuantizationMethod.BITS_AND_BYTES
        return model

    def _dequantize(self, model: Any, dtype: Any = None) -> Any:
        for name in self.quantization_config.experts:
            module, short = _owner(model, name)
            with torch.no_grad():
                value = getattr(module, short)
            parametrize.remove_parametrizations(module, short, leave_parametrized=False)
            setattr(module, short, nn.Parameter(value if dtype is None else value.to(dtype), requires_grad=False))
        return super()._dequantize(model, dtype)  # type: ignore[no-untyped-call]


def _owner(model: Any, name: str) -> tuple[Any, str]:
    path, _, short = name.rpartition(".")
    return model.get_submodule(path), short


class ParamWrapper(layer.ParamWrapper):
    """LoRA on a parameter that is 4-bit: weight and update are added up for one forward pass of the layer.

    PEFT's own class dequantises the weight to read its type, and leaves its update behind after each pass. It
    knows such classes by their name.
    """

    def get_param(self) -> torch.Tensor:
        """Shape, type and device of the parameter, without its values where it is 4-bit."""
        base: Any = self.get_base_layer()
        if not parametrize.is_parametrized(base, self.parameter_name):
            found: torch.Tensor = super().get_param()  # type: ignore[no-untyped-call]
            return found
        return _stand_in(base.parametrizations[self.parameter_name])

    @contextmanager
    def _activate_lora(self, active_adapters: list[str]) -> Iterator[None]:
        base: Any = self.get_base_layer()
        name = self.parameter_name
        adapters = [adapter for adapter in active_adapters if adapter in self.lora_A]
        if not adapters or not parametrize.is_parametrized(base, name):
            with super()._activate_lora(active_adapters):
                yield
            return
        (adapter,) = adapters
        parametrize.register_parametrization(base, name, _Update(*self.get_delta_factors(adapter)), unsafe=True)  # type: ignore[no-untyped-call]
        try:
            with parametrize.cached():
                yield
        finally:
            del base.parametrizations[name][-1]


class _Update(nn.Module):
    def __init__(self, left: torch.Tensor, right: torch.Tensor, scaling: float) -> None:
        super().__init__()
        self.factors = left, right, scaling

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        left, right, scaling = self.factors
        # A parametrisation must keep the type of its parameter, which autocast would change.
        with torch.autocast(weight.device.type, enabled=False):
            return torch.baddbmm(weight, left, right, alpha=scaling)


def add_lora(base: Any, config: LoraConfig) -> Any:
    """``get_peft_model``, also for a base whose experts are 4-bit."""
    with _as_if_plain(base, config):
        return get_peft_model(base, config)


def load_adapter(base: Any, folder: Path | str) -> Any:
    """The base with the adapter in ``folder``, for inference, also if the base's experts are 4-bit.

    Raises:
        UserError: the adapter has no weights in safetensors, or they and the base do not fit each other.
    """
    config = PeftConfig.from_pretrained(str(folder))
    config.inference_mode = True
    return put_adapter(base, config, folder)


def put_adapter(base: Any, config: Any, folder: Path | str) -> Any:
    """The base with LoRA layers and trained copies as ``config`` wants them, with the weights in ``folder``.

    PEFT itself only warns of weights that are missing, and is silent about trained copies and weights without a place.

    Raises:
        UserError: see ``load_adapter``.
    """
    weights = Path(folder) / "adapter_model.safetensors"
    if not weights.is_file():
        raise UserError(f"adapter {folder}: has no adapter_model.safetensors; pickles are not loaded")
    with safe_open(weights, "pt") as file:
        held = set(file.keys())
    try:
        model = add_lora(base, config)
        wanted = get_peft_model_state_dict(model, save_embedding_layers=False).keys()
        if len(held) < len(wanted):
            lost = min(wanted - held)
            raise UserError(f"adapter {folder}: holds {len(held)} of the {len(wanted)} tensors that its "
                            f"adapter_config.json means for the model; one of the others is {lost}")  # fmt: skip
        loaded = model.load_adapter(str(folder), "default", is_trainable=not config.inference_mode)
    except (KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"adapter {folder}: does not fit the model ({' '.join(str(error).split()):.200})") from error
    if lost_names := [*loaded.missing_keys, *loaded.unexpected_keys]:
        raise UserError(f"adapter {folder}: does not fit the model: {len(lost_names)} of its tensors have no "
                        f"counterpart, such as {lost_names[0]}")  # fmt: skip
    return model


@contextmanager
def _as_if_plain(base: Any, config: Any) -> Iterator[None]:
    """Show PEFT plain parameters in place of 4-bit ones while it wraps their modules.

    It nests several wrappers of a module in another order if they are parametrised, and so would give
    their weights other names in the file than for the same model in full precision.
    """
    held = {}
    for module in base.modules():
        if not parametrize.is_parametrized(module) or not isinstance(config, LoraConfig):
            continue
        quantised = module._modules.pop("parametrizations")
        held[module] = type(module), quantised
        module.__class__ = type(module).__bases__[0]
        for short, found in quantised.items():
            module.register_parameter(short, nn.Parameter(_stand_in(found), requires_grad=False))
    if held:
        config._register_custom_module({type(module): ParamWrapper for module in held})
    try:
        yield
    finally:
        for module, (kind, quantised) in held.items():
            for short in quantised:
                delattr(module, short)
            module.__class__ = kind
            module._modules["parametrizations"] = quantised


def _stand_in(quantised: Any) -> torch.Tensor:
    """A tensor of the parameter's shape, type and device that takes no memory."""
    state = quantised[0].quant_state
    return state.absmax.new_empty(1, dtype=state.dtype).expand(state.shape)  # type: ignore[no-any-return]
