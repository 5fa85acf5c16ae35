"""Loads a checkpoint for training: its processor, and its weights with the decoder in 4-bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune.processes import device, sharded
from finetune.recipe import Quantization, TrainRecipe
from winnow.errors import UserError
from winnow.remote.downloads import local_model
from winnow.vlm import models
from winnow.vlm.anatomy import find_parts
from winnow.vlm.inputs import InputSettings, apply_to_model, apply_to_processor
from winnow.vlm.models import checkpoint, empty_model, load_failed, nf4_config, outside_decoder, prepare_libraries


def load_processor(model: str, chat_template: Path | None = None, settings: InputSettings | None = None) -> Any:
    """The processor of a checkpoint folder or hub id.

    Args:
        chat_template: Jinja file that replaces its chat template.
        settings: are given to the processor and saved with it.

    Raises:
        UserError: the processor does not load or does not take the settings, or there is no such template file.
    """
    processor = models.load_processor(model)
    apply_to_processor(processor, settings or InputSettings())
    if chat_template is not None:
        if not chat_template.is_file():
            raise UserError(f"chat_template: {chat_template}: no such file")
        processor.chat_template = chat_template.read_text(encoding="utf-8")
    return processor


def processor_place(recipe: TrainRecipe) -> str:
    """Where a recipe's processor lies: in the adapter that is trained further if it has one, else in the base."""
    if recipe.adapter is not None:
        folder = local_model(recipe.adapter)
        if models.has_processor(folder):
            return str(folder)
    return recipe.model


def fastest_attention(max_length: int) -> str | None:
    """``attn_implementation`` for training; None leaves the choice to transformers.

    On CPUs the backward pass of torch's fused kernel takes twice the time of plain matrix products.
    Their memory grows with the square of the length, so they are used for short conversations only.
    """
    return "eager" if device().type == "cpu" and max_length <= 1024 else None


def load_base(
    model: str, *, quantization: Quantization, compute_dtype: str, attention: str | None = None,
    settings: InputSettings | None = None, place: Any = None,
) -> Any:  # fmt: skip
    """Load a checkpoint with its decoder in 4-bit NF4 (double quantisation), 8-bit or ``compute_dtype``.

    Args:
        compute_dtype: name of a torch dtype, of all other weights and of the matrix products.
        attention: ``attn_implementation`` of transformers; None is its default.
        settings: those of the processor that the model has too are changed in its configuration.
        place: ``torch.device`` of all weights; None: quantised ones go to the GPU if there is one, others to the CPU.

    Raises:
        UserError: the checkpoint does not load or is not a vision-language model.
    """
    folder = checkpoint(model)
    import torch
    from transformers import AutoModelForImageTextToText, BitsAndBytesConfig

    prepare_libraries()
    dtype = getattr(torch, compute_dtype)
    config = None
    if quantization == "int8":
        skipped = outside_decoder(empty_model(model))
        config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
    elif quantization == "nf4":
        empty = empty_model(model)
        if sharded() and find_parts(empty).experts:
            raise UserError(
                "FSDP and ZeRO-3 cannot share out 4-bit weights of experts; use --launch ddp, or set quantization: none"
            )
        # FSDP and ZeRO-3 shard parameters of a single dtype, so 4-bit weights are stored in that dtype.
        storage = {"bnb_4bit_quant_storage": dtype} if sharded() else {}
        config = nf4_config(empty, dtype, **storage)
    try:
        loaded = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype, quantization_config=config, attn_implementation=attention, use_safetensors=True,
            trust_remote_code=False, device_map=None if place is None else {"": place},
        )  # fmt: skip
    except (OSError, ValueError, ImportError) as error:  # ImportError: of an attention's package
        raise load_failed(model, "does not load", error) from error
    apply_to_model(loaded, settings or InputSettings())
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
