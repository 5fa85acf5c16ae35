"""How the model libraries are brought in: quietly, and without fetching anything that nobody asked for."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def prepare_libraries() -> None:
    """Call before anything imports bitsandbytes.

    Silences what libraries say about themselves: weight-loading bars, and deprecations of calls that
    they make to each other. And blocks the package ``kernels``: where it is installed, importing
    bitsandbytes on some CPUs downloads compiled code from the hub and runs it.
    """
    import logging
    import warnings

    modules: dict[str, Any] = sys.modules
    modules["kernels"] = None  # an import of it now fails, which every user of it expects
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")

    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


def offline_if_local(model: str) -> None:
    """A model in a folder needs no hub; unset, libraries would ask it all the same."""
    if Path(model).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


def first_line(error: Exception) -> str:
    """What a library's error says in its first line, or its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
