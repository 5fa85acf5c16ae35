"""Merges an adapter into its base tensor by tensor, so that a model larger than the memory can be merged.

Every tensor of the base's safetensors files is read, quantised and dequantised if asked for, merged by PEFT's own
code with the LoRA matrices of its layer, and written under the name that it had, or the published one if only
transformers knows the name that it had. In memory are the adapter, a tensor and what is waiting to be written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from finetune.model.quantised import quantised_names
from finetune.model.shards import SHARD_BYTES, read_tensors, tensor_keys, write_tensors
from finetune.processes import device
from finetune.recipe import TrainRecipe
from winnow.vlm.anatomy import find_parts
from winnow.vlm.inputs import apply_to_model
from winnow.vlm.models import checkpoint, empty_model, prepare_libraries
from winnow.vlm.tensor_names import unpublished

Into = Literal["dequantized", "original"]


class NotStreamable(Exception):
    """The checkpoint has to be merged in memory; the message says why."""


def stream_merge(recipe: TrainRecipe, run: Path, into: Into, out: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Write the merged weights and configuration of a finished run to ``out``.

    Args:
        shard_bytes: size of the files that are written; one is collected in memory at a time.

    Raises:
        NotStreamable: tensors of the files are no parameters of the model one by one (experts that are stored singly
            and computed fused, weights that are quantised already), or the base has no safetensors files.
    """
    import torch
    from transformers import GenerationConfig

    folder, dtype = base_folder(recipe.model), getattr(torch, recipe.compute_dtype)
    empty = empty_model(recipe.model)
    names = parameter_names(empty, folder)
    written = {key: key for key in names} | unpublished(names, empty)
    merging = _Merging(recipe, run, into, empty, dtype)
    merged = (
        (written[key], merging.merged(names[key], tensor)) for key, tensor in read_tensors(folder) if key in names
    )  # fmt: skip
    write_tensors(merged, out, shard_bytes)
    apply_to_model(empty, recipe.input_settings)
    config = empty.config
    config.architectures = [type(empty).__name__]
    for part in (config, *(getattr(config, name) for name in config.sub_configs)):
        part.dtype = dtype
    config.save_pretrained(out)
    if empty.can_generate():
        try:
            GenerationConfig.from_pretrained(folder).save_pretrained(out)
        except OSError:  # the checkpoint has none
            GenerationConfig.from_model_config(config).save_pretrained(out)


def base_folder(model: str) -> Path:
    """Folder with the files of a checkpoint; of a hub model, in the cache.

    Raises:
        NotStreamable: it holds no safetensors files.
    """
    folder = Path(checkpoint(model))
    if not any(folder.glob("model*.safetensors")):
        raise NotStreamable("the base has no safetensors files")
    return folder


def parameter_names(empty: Any, folder: Path) -> dict[str, str]:
    """Key in the files → name of the parameter or buffer; keys that the model does not use are left out.

    Raises:
        NotStreamable: see ``stream_merge``.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    if getattr(empty.config, "quantization_config", None) is not None:
        raise NotStreamable("the base is quantised already")
    if empty._keep_in_fp32_modules_strict:
        raise NotStreamable("parts of the model are kept in float32")
    conversions = get_model_conversion_mapping(empty)
    renamings = [entry for entry in conversions if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in conversions if isinstance(entry, WeightConverter)]
    known = empty.state_dict()
    names = {}
    for key in tensor_keys(folder):
        name, converter = rename_source_key(key, renamings, converters, empty.base_model_prefix, known)
        if converter is not None:
            raise NotStreamable(f"{key} is stored in another form than it is computed in")
        if name in known:
            names[key] = name
    tied = set(empty.all_tied_weights_keys) | set(empty.all_tied_weights_keys.values())
    if missing := known.keys() - set(names.values()) - tied:
        raise NotStreamable(f"the files lack {min(missing)}")
    return names


class _Merging:
    """Merges single tensors of a base with an adapter."""

    def __init__(self, recipe: TrainRecipe, run: Path, into: Into, empty: Any, dtype: Any) -> None:
        from peft import LoraConfig
        from safetensors.torch import load_file

        prepare_libraries()
        quantization = recipe.quantization if into == "dequantized" else "none"
        self.quantised = quantised_names(empty, find_parts(empty), quantization)
        if any(not name.endswith(".weight") for name in self.quantised):
            raise NotStreamable("experts are quantised")
        self.quantization, self.dtype = quantization, dtype
        trained = LoraConfig.from_pretrained(str(run / "adapter"))
        if trained.target_parameters:
            raise NotStreamable("experts have LoRA")
        self.config = LoraConfig(
            target_modules=["layer"], r=trained.r, lora_alpha=trained.lora_alpha, use_rslora=trained.use_rslora,
            use_dora=trained.use_dora,
        )  # fmt: skip
        state = load_file(run / "adapter" / "adapter_model.safetensors")
        self.adapter = {key.removeprefix("base_model.model."): tensor for key, tensor in state.items()}

    def merged(self, name: str, tensor: Any) -> Any:
        """The tensor of the merged model."""
        if name in self.adapter:  # of a trained copy
            return self.adapter[name].to(self.dtype)
        if not tensor.is_floating_point():
            return tensor
        tensor = tensor.to(self.dtype)
        if name in self.quantised:
            tensor = self._rounded(tensor)
        path = name.removesuffix(".weight")
        return self._with_lora(path, tensor) if f"{path}.lora_A.weight" in self.adapter else tensor

    def _with_lora(self, path: str, weight: Any) -> Any:
        """PEFT's own merge, in a model of this one layer."""
        import torch
        from peft import inject_adapter_in_model
        from torch import nn

        with torch.device("meta"):
            linear: Any = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        linear.weight = nn.Parameter(weight, requires_grad=False)
        holder: Any = inject_adapter_in_model(self.config, nn.ModuleDict({"layer": linear}))
        layer = holder["layer"]
        layer.lora_A["default"].weight.data = self.adapter[f"{path}.lora_A.weight"]
        layer.lora_B["default"].weight.data = self.adapter[f"{path}.lora_B.weight"]
        if self.config.use_dora:
            layer.lora_magnitude_vector["default"].weight.data = self.adapter[f"{path}.lora_magnitude_vector"]
        layer.merge(safe_merge=True)
        merged = linear.weight.data
        linear.weight = None  # PEFT's modules refer to each other and would hold it until garbage is collected
        return merged

    def _rounded(self, tensor: Any) -> Any:
        """What is left of a weight after quantising it on the device that trains, and dequantising it."""
        from types import SimpleNamespace

        from bitsandbytes.nn.modules import Int8Params, Params4bit
        from transformers.integrations.bitsandbytes import dequantize_bnb_weight

        packed: Any
        if self.quantization == "nf4":
            packed = Params4bit(tensor, requires_grad=False, compress_statistics=True, quant_type="nf4")
        else:
            packed = Int8Params(tensor, requires_grad=False, has_fp16_weights=False)
        packed = packed.to(device())
        return dequantize_bnb_weight(packed, SimpleNamespace(SCB=None)).to("cpu", self.dtype)
