"""What loading a vision-language model takes: quiet imports, its processor, its architecture without weights, NF4.

Nothing is downloaded but the checkpoint that was asked for, and no code of a checkpoint is run.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from winnow.errors import UserError
from winnow.remote.downloads import local_model, parse
from winnow.vlm.anatomy import below, find_parts


def prepare_libraries() -> None:
    """Silence the model libraries; call it before anything imports bitsandbytes.

    Silenced are bars of loading weights and deprecation warnings that the libraries cause each other. The
    package ``kernels`` is blocked: where it is installed, importing bitsandbytes on some CPUs downloads
    compiled code from the hub and runs it.
    """
    import logging
    import warnings

    modules: dict[str, Any] = sys.modules
    modules["kernels"] = None  # importing it now fails, which every user of it expects
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")

    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


def check_model_name(model: str) -> None:
    """Check that ``model`` is a folder or may be a name of a hub; imports no model library.

    Raises:
        UserError: it is neither.
    """
    if not Path(model).is_dir():
        parse(model, "model")


def checkpoint(model: str, *, revision: str | None = None, weights: bool = True) -> str:
    """The folder of a checkpoint; that of a hub is downloaded first.

    The libraries are kept from asking the hub about a local folder.

    Args:
        revision: of a hub's model, in place of the one in its name.
        weights: without, only configuration, tokenizer and processor are needed.

    Raises:
        UserError: there is no such model, or it cannot be downloaded.
    """
    if Path(model).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    return str(local_model(model, revision=revision, weights=weights))


def load_failed(model: str, what: str, error: Exception) -> UserError:
    """The error about a model that does not load.

    Args:
        what: which part of it, as a clause, e.g. ``does not load``.
    """
    reason = first_line(error)
    if reason.endswith(":"):  # what is wrong stands below it
        reason = f"{' '.join(str(error).split()):.300}"
    if "custom code" in reason:
        reason = "it needs code of its own repository, which is never run; give a model that transformers has itself"
    elif "for this kind of AutoModel" in reason:
        reason = "it is no vision-language model of transformers"
    return UserError(f"model {model}: {what} ({reason})")


def first_line(error: Exception) -> str:
    """The first line of a library's error message, or the error's type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def load_processor(model: str, *, revision: str | None = None) -> Any:
    """The processor of a checkpoint folder or a hub's model.

    Raises:
        UserError: there is no such folder, or the processor does not load.
    """
    folder = checkpoint(model, revision=revision, weights=False)
    prepare_libraries()
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, ImportError, StrictDataclassError) as error:
        raise load_failed(model, "its processor does not load", error) from error


def has_processor(folder: Path) -> bool:
    """Whether a folder holds a processor."""
    return any((folder / name).is_file() for name in ("processor_config.json", "preprocessor_config.json"))


def load_config(model: str, *, revision: str | None = None) -> Any:
    """The configuration of a checkpoint folder or a hub's model.

    Raises:
        UserError: it does not load.
    """
    folder = checkpoint(model, revision=revision, weights=False)
    prepare_libraries()
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, StrictDataclassError) as error:
        raise load_failed(model, "does not load", error) from error


def empty_model(model: str, *, revision: str | None = None) -> Any:
    """The architecture of a checkpoint on the meta device: shapes without weights.

    Raises:
        UserError: it does not load, is no vision-language model, or its weights are quantised already.
    """
    config = load_config(model, revision=revision)
    if stored := getattr(config, "quantization_config", None):
        method = stored.get("quant_method") if isinstance(stored, dict) else None
        raise UserError(f"model {model}: its weights are quantised already ({method or 'unknown method'}); give the "
                        "checkpoint in 16 bit, which is quantised while it loads")  # fmt: skip
    import torch
    from transformers import AutoModelForImageTextToText

    try:
        with torch.device("meta"):
            return AutoModelForImageTextToText.from_config(config)
    except (OSError, ValueError) as error:
        raise load_failed(model, "does not load", error) from error


def outside_decoder(model: Any) -> list[str]:
    """Full names of the largest modules that do not belong to the language model: tower, projector, output layer …"""
    parts = find_parts(model)
    named = {name for name in (parts.encoder, parts.head, *parts.projector, *parts.other) if name}
    return [
        name for name, _ in model.named_modules()
        if name in named and not below(name, [other for other in named if other != name])
    ]  # fmt: skip


def nf4_config(empty: Any, compute_dtype: Any, **options: Any) -> Any:
    """4-bit NF4 with double quantisation for the decoder with its experts; other parts keep their precision.

    Args:
        empty: the model's architecture, see ``empty_model``.
        compute_dtype: ``torch.dtype`` in which the decoder computes.
        options: further ones of ``BitsAndBytesConfig``.
    """
    from transformers import BitsAndBytesConfig

    make: Any = BitsAndBytesConfig
    if experts := find_parts(empty).experts:
        from winnow.vlm.experts import ExpertsConfig

        make, options = ExpertsConfig, {**options, "experts": experts}
    return make(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
        # Names are matched from their start: with short ones the vision tower would go 4-bit in silence.
        llm_int8_skip_modules=outside_decoder(empty),
        **options,
    )
