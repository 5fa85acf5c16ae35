"""Loading a checkpoint for training: its processor, and its weights with the decoder in 4-bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune.model.parts import ModelParts, find_parts
from finetune.processes import sharded
from finetune.recipe import Quantization
from winnow.errors import UserError
from winnow.models import first_line, offline_if_local, prepare_libraries


def load_processor(model: str, chat_template: Path | None = None, max_pixels: int | None = None) -> Any:
    """The processor of a checkpoint folder or hub id.

    Args:
        chat_template: Jinja file that replaces its chat template.
        max_pixels: cap on an image's area, told to processors that have such a cap themselves (Qwen),
            so that whoever loads the adapter's processor keeps to it.

    Raises:
        UserError: nothing loadable there, or no such template file.
    """
    offline_if_local(model)
    from transformers import AutoProcessor

    if not Path(model).is_dir() and (model.count("/") > 1 or model.startswith((".", "/", "~"))):
        raise UserError(f"model {model}: no such folder (a model of the hub is named owner/name)")
    try:
        processor = AutoProcessor.from_pretrained(model, trust_remote_code=False)
        if max_pixels is not None and getattr(processor.image_processor, "max_pixels", None) is not None:
            processor = AutoProcessor.from_pretrained(model, trust_remote_code=False, max_pixels=max_pixels)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"model {model}: its processor does not load ({first_line(error)})") from error
    if chat_template is not None:
        if not chat_template.is_file():
            raise UserError(f"chat_template: {chat_template}: no such file")
        processor.chat_template = chat_template.read_text(encoding="utf-8")
    return processor


def fastest_attention(max_length: int) -> str | None:
    """Attention kernel for training; None is the library's choice.

    On CPUs the backward of torch's fused kernel takes twice the time of plain matrix products,
    whose memory grows with the square of the length, so they are for short conversations.
    """
    import torch

    return "eager" if not torch.cuda.is_available() and max_length <= 1024 else None


def load_base(model: str, *, quantization: Quantization, compute_dtype: str, attention: str | None = None) -> Any:
    """Load a checkpoint with its decoder in 4-bit NF4 (double quantisation), 8-bit or full precision.

    Args:
        attention: ``attn_implementation`` of transformers; None is its default.

    Raises:
        UserError: nothing loadable there, or no vision-language model.
    """
    offline_if_local(model)
    import torch
    from transformers import AutoModelForImageTextToText, BitsAndBytesConfig

    prepare_libraries()
    dtype = getattr(torch, compute_dtype)
    config = None
    if quantization != "none":
        # Names are matched from the start: full paths, or the tower would go 4-bit silently.
        skipped = parts_of_checkpoint(model).unquantized
        config = BitsAndBytesConfig(llm_int8_skip_modules=skipped, **_precision(quantization, dtype))
    try:
        loaded = AutoModelForImageTextToText.from_pretrained(
            model, dtype=dtype, quantization_config=config, attn_implementation=attention, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise UserError(f"model {model}: does not load ({first_line(error)})") from error
    keep_trainable(loaded)
    return loaded


def _precision(quantization: Quantization, dtype: Any) -> dict[str, Any]:
    if quantization == "int8":
        return {"load_in_8bit": True}
    options = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    # FSDP and ZeRO-3 shard parameters of one dtype only, so 4-bit weights are stored as if they were of it.
    storage = {"bnb_4bit_quant_storage": dtype} if sharded() else {}
    return {**options, "bnb_4bit_compute_dtype": dtype, **storage}


def parts_of_checkpoint(model: str) -> ModelParts:
    """The parts of a checkpoint, from its configuration alone: no weight is read."""
    return find_parts(empty_model(model))


def empty_model(model: str) -> Any:
    """A checkpoint's architecture on the meta device: shapes without weights.

    Raises:
        UserError: nothing loadable there, or no vision-language model.
    """
    offline_if_local(model)
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
        with torch.device("meta"):
            return AutoModelForImageTextToText.from_config(config)
    except (OSError, ValueError) as error:
        raise UserError(f"model {model}: does not load ({first_line(error)})") from error


def keep_trainable(model: Any) -> None:
    """Forbid bitsandbytes to repack 4-bit weights for inference on CPUs with AVX512-BF16.

    A repacked layer takes a kernel without autograd: after one forward in eval mode,
    training would go on with almost no gradients and without an error.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
