"""Loads a checkpoint for training: its processor, and its weights with the decoder in 4-bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune.processes import sharded
from finetune.recipe import Quantization
from winnow import models
from winnow.errors import UserError
from winnow.models import empty_model, load_failed, nf4_config, offline_if_local, outside_decoder, prepare_libraries


def load_processor(model: str, chat_template: Path | None = None, max_pixels: int | None = None) -> Any:
    """The processor of a checkpoint folder or hub id.

    Args:
        chat_template: Jinja file that replaces its chat template.
        max_pixels: cap on an image's area; set on processors that have such a cap (Qwen), so that
            programs that load the adapter's processor apply it too.

    Raises:
        UserError: the processor does not load, or there is no such template file.
    """
    processor = models.load_processor(model)
    if max_pixels is not None and getattr(processor.image_processor, "max_pixels", None) is not None:
        processor = models.load_processor(model, max_pixels=max_pixels)
    if chat_template is not None:
        if not chat_template.is_file():
            raise UserError(f"chat_template: {chat_template}: no such file")
        processor.chat_template = chat_template.read_text(encoding="utf-8")
    return processor


def fastest_attention(max_length: int) -> str | None:
    """``attn_implementation`` for training; None leaves the choice to transformers.

    On CPUs the backward pass of torch's fused kernel takes twice the time of plain matrix products.
    Their memory grows with the square of the length, so they are used for short conversations only.
    """
    import torch

    return "eager" if not torch.cuda.is_available() and max_length <= 1024 else None


def load_base(model: str, *, quantization: Quantization, compute_dtype: str, attention: str | None = None) -> Any:
    """Load a checkpoint with its decoder in 4-bit NF4 (double quantisation), 8-bit or ``compute_dtype``.

    Args:
        compute_dtype: name of a torch dtype, of all other weights and of the matrix products.
        attention: ``attn_implementation`` of transformers; None is its default.

    Raises:
        UserError: the checkpoint does not load or is not a vision-language model.
    """
    offline_if_local(model)
    import torch
    from transformers import AutoModelForImageTextToText, BitsAndBytesConfig

    prepare_libraries()
    dtype = getattr(torch, compute_dtype)
    config = None
    if quantization == "int8":
        skipped = outside_decoder(empty_model(model))
        config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
    elif quantization == "nf4":
        # FSDP and ZeRO-3 shard parameters of a single dtype, so 4-bit weights are stored in that dtype.
        storage = {"bnb_4bit_quant_storage": dtype} if sharded() else {}
        config = nf4_config(empty_model(model), dtype, **storage)
    try:
        loaded = AutoModelForImageTextToText.from_pretrained(
            model, dtype=dtype, quantization_config=config, attn_implementation=attention, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise load_failed(model, "does not load", error) from error
    keep_trainable(loaded)
    return loaded


def keep_trainable(model: Any) -> None:
    """Keep bitsandbytes from repacking 4-bit weights for inference on CPUs with AVX512-BF16.

    A repacked layer uses a kernel without autograd: after a single forward pass in eval mode,
    training would continue with almost no gradients and without an error.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
