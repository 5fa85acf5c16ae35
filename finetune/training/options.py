"""Checks, before anything is loaded, that what a recipe asks of transformers' Trainer is known and works here."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_type_hints

from finetune.recipe import TrainRecipe
from winnow.errors import UserError, did_you_mean
from winnow.vlm.models import empty_model, first_line

# Arguments of the Trainer that a key of the recipe decides.
KEY_OF = {
    "output_dir": "out", "run_name": "name", "seed": "seed", "data_seed": "seed",
    "per_device_train_batch_size": "batch_size", "per_device_eval_batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation", "learning_rate": "learning_rate",
    "lr_scheduler_type": "scheduler", "warmup_steps": "warmup", "num_train_epochs": "epochs", "max_steps": "max_steps",
    "optim": "optim", "bf16": "compute_dtype", "fp16": "compute_dtype",
    "gradient_checkpointing": "gradient_checkpointing", "activation_checkpointing": "gradient_checkpointing",
    "dataloader_num_workers": "num_workers", "save_steps": "save_steps", "report_to": "report_to",
}  # fmt: skip
# Arguments that would break what a run promises, or do nothing here, and why.
REFUSED = {
    "label_smoothing_factor": "the loss is Winnow's own, which does not smooth labels",
    "deepspeed": "use `--config_file finetune/accelerate/zero3.yaml` of accelerate",
    "fsdp": "use `--config_file finetune/accelerate/fsdp2.yaml` of accelerate",
    "fsdp_config": "use `--config_file finetune/accelerate/fsdp2.yaml` of accelerate",
    "resume_from_checkpoint": "the same command resumes by itself",
    **dict.fromkeys(
        ("auto_find_batch_size", "dataloader_drop_last", "ignore_data_skip", "train_sampling_strategy",
         "length_column_name", "accelerator_config"),
        "the recipe decides which rows share a step, so that a run can be repeated and resumed",
    ),
    **dict.fromkeys(
        ("remove_unused_columns", "label_names", "include_num_input_tokens_seen", "disable_tqdm", "do_train",
         "do_eval", "do_predict", "use_cpu", "save_strategy", "save_only_model", "use_cache", "logging_nan_inf_filter",
         "average_tokens_across_devices", "activation_checkpointing_kwargs", "gradient_checkpointing_kwargs",
         "dataloader_pin_memory", "enable_jit_checkpoint", "parallelism_config", "local_rank",
         "restore_callback_states_from_checkpoint", "optim_target_modules"),
        "Winnow decides it",
    ),
}  # fmt: skip
_NO_LIGER_LOSS = {"fused_linear_cross_entropy": False, "cross_entropy": False}
_EVALUATION = ("eval", "metric_for_best", "greater_is", "load_best", "prediction_loss", "bf16_full", "fp16_full",
               "include_for", "batch_eval")  # fmt: skip


def check_options(recipe: TrainRecipe) -> None:
    """Check ``attention``, ``optim``, ``trainer`` and ``report_to``.

    Raises:
        UserError: a name is unknown, another key decides it, or its package or device is not here.
    """
    _check_attention(recipe)
    trainer_arguments(recipe.trainer)
    if recipe.trainer.get("use_liger_kernel"):
        check_liger(empty_model(recipe.model))
    check_reporters(recipe.report_to)


def _check_attention(recipe: TrainRecipe) -> None:
    import torch

    wanted = recipe.attention
    if wanted is None or not wanted.startswith("fl"):
        return
    if not torch.cuda.is_available():
        raise UserError(f"attention: {wanted} trains on GPUs only, and there is none here; use eager or sdpa")
    from transformers.utils.import_utils import is_flash_attn_2_available, is_flash_attn_3_available

    here = {"flash_attention_2": is_flash_attn_2_available, "flash_attention_3": is_flash_attn_3_available}
    if wanted in here and not here[wanted]():
        package = "flash-attn" if wanted == "flash_attention_2" else "flash-attn-3"
        raise UserError(f"attention: {wanted} needs the package {package} and a GPU that it supports; use sdpa")


def trainer_arguments(given: dict[str, Any]) -> dict[str, Any]:
    """The recipe's ``trainer``, checked, with texts such as ``1e-5`` as the numbers that they mean.

    Raises:
        UserError: see ``check_options``.
    """
    if not given:
        return {}
    import torch
    from pydantic import TypeAdapter, ValidationError
    from transformers import TrainingArguments
    from transformers.utils.import_utils import is_liger_kernel_available

    known = {field.name for field in fields(TrainingArguments) if field.init}
    for name in given:
        if name in KEY_OF:
            raise UserError(f"trainer: {name}: is decided by the recipe's own key; set `{KEY_OF[name]}`")
        if name in REFUSED:
            raise UserError(f"trainer: {name}: cannot be set: {REFUSED[name]}")
        if name.startswith(_EVALUATION):
            raise UserError(f"trainer: {name}: cannot be set: the sets of `evaluate` are measured by Winnow")
        if name not in known:
            near = did_you_mean(name, sorted(known))
            raise UserError(f"trainer: {name}: transformers' TrainingArguments has no such argument; {near}")
    if given.get("use_liger_kernel"):
        if not is_liger_kernel_available():
            raise UserError("trainer: use_liger_kernel needs the package liger-kernel; install winnow-vlm[liger]")
        if not torch.cuda.is_available():
            raise UserError("trainer: use_liger_kernel: its Triton kernels need a GPU, and there is none here")
    hints, values = get_type_hints(TrainingArguments), dict[str, Any]()
    for name, value in given.items():
        try:
            values[name] = TypeAdapter(hints[name]).validate_python(value)
        except ValidationError as error:
            raise UserError(f"trainer: {name}: {error.errors()[0]['msg']}, not {value!r}") from error
    try:
        TrainingArguments(output_dir="unused", report_to=[], **values)
    except (TypeError, ValueError, ImportError, RuntimeError) as error:
        raise UserError(f"trainer: {first_line(error)}") from error
    if values.get("use_liger_kernel"):
        # Liger's own loss would replace the model's forward, and ours passes it no labels.
        values["liger_kernel_config"] = {**_NO_LIGER_LOSS, **(values.get("liger_kernel_config") or {})}
    return values


def check_liger(model: Any) -> None:
    """Check that liger-kernel has kernels for a model, and fits the installed transformers; replaces the model's parts.

    Args:
        model: without weights, as nothing is computed.

    Raises:
        UserError: it has none, or does not fit.
    """
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN
    from transformers.integrations.liger import apply_liger_kernel

    kind = model.config.model_type
    if kind not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise UserError(f"trainer: use_liger_kernel: liger-kernel has no kernels for {kind} models; leave it out")
    try:
        apply_liger_kernel(model, _NO_LIGER_LOSS)
    except (ImportError, AttributeError, TypeError) as error:
        raise UserError(
            f"trainer: use_liger_kernel: this liger-kernel does not fit transformers for {kind} models "
            f"({first_line(error)}); leave it out, or upgrade liger-kernel"
        ) from error


def check_reporters(names: list[str]) -> None:
    """Check that every name of ``report_to`` is a reporter that works here.

    Raises:
        UserError: transformers does not know the reporter, or its package is not installed.
    """
    if not names:
        return
    from transformers.integrations import integration_utils

    callbacks_of: Any = integration_utils.get_reporting_integration_callbacks
    for name in names:
        try:
            for callback in callbacks_of([name]):
                callback()
        except (ValueError, RuntimeError, ImportError) as error:
            raise UserError(f"report_to: {name}: {' '.join(str(error).split())}") from error
