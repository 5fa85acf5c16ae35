"""What loading a vision-language model takes: quiet imports, its processor, its architecture without weights, NF4.

Nothing is downloaded but the checkpoint that was asked for, and no code of a checkpoint is run.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from winnow.errors import UserError
from winnow.hub import why_offline


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
    """Check that ``model`` is a folder or may be an id of the hub; imports no model library.

    Raises:
        UserError: it is written like a path, and there is no such folder.
    """
    if not Path(model).is_dir() and (model.count("/") > 1 or model.startswith((".", "/", "~"))):
        raise UserError(f"model {model}: no such folder (a model of the hub is named owner/name)")


def offline_if_local(model: str) -> None:
    """Keep the libraries from asking the hub about a model that is a folder, or a hub that does not answer."""
    if Path(model).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    else:
        why_offline()


def load_failed(model: str, what: str, error: Exception) -> UserError:
    """The error about a model that does not load, with the ways out if that is for want of the hub.

    Args:
        what: which part of it, as a clause, e.g. ``does not load``.
    """
    offline = None if Path(model).is_dir() else why_offline()
    ways = "give a local folder, set HF_ENDPOINT to a mirror, or copy another machine's cache and set HF_HUB_OFFLINE=1"
    return UserError(f"model {model}: {what} ({first_line(error)})" + (f"; {offline}: {ways}" if offline else ""))


def first_line(error: Exception) -> str:
    """The first line of a library's error message, or the error's type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def load_processor(model: str, *, revision: str | None = None, **options: Any) -> Any:
    """The processor of a checkpoint folder or hub id.

    Args:
        options: passed on to the processor, e.g. ``max_pixels``.

    Raises:
        UserError: there is no such folder, or the processor does not load.
    """
    check_model_name(model)
    offline_if_local(model)
    prepare_libraries()
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(model, revision=revision, trust_remote_code=False, **options)
    except (OSError, ValueError, ImportError) as error:
        raise load_failed(model, "its processor does not load", error) from error


def empty_model(model: str, *, revision: str | None = None) -> Any:
    """The architecture of a checkpoint on the meta device: shapes without weights.

    Raises:
        UserError: it does not load, or is no vision-language model.
    """
    offline_if_local(model)
    prepare_libraries()
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    try:
        config = AutoConfig.from_pretrained(model, revision=revision, trust_remote_code=False)
        with torch.device("meta"):
            return AutoModelForImageTextToText.from_config(config)
    except (OSError, ValueError) as error:
        raise load_failed(model, "does not load", error) from error


def outside_decoder(model: Any) -> list[str]:
    """Full names of the largest modules outside the language model: vision tower, projector, output layer."""
    decoder = model.get_decoder()
    inside = {id(module) for module in decoder.modules()}
    names: list[str] = []

    def walk(module: Any, prefix: str) -> None:
        for name, child in module.named_children():
            if child is decoder:
                continue
            if any(id(part) in inside for part in child.modules()):
                walk(child, f"{prefix}{name}.")
            else:
                names.append(prefix + name)

    walk(model, "")
    return names


def nf4_config(empty: Any, compute_dtype: Any, **options: Any) -> Any:
    """4-bit NF4 with double quantisation for the decoder; every other part keeps its precision.

    Args:
        empty: the model's architecture, see ``empty_model``.
        compute_dtype: ``torch.dtype`` in which the decoder computes.
        options: further ones of ``BitsAndBytesConfig``.
    """
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
        # Names are matched from their start: with short ones the vision tower would go 4-bit in silence.
        llm_int8_skip_modules=outside_decoder(empty),
        **options,
    )
