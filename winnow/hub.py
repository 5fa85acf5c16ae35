"""The Hugging Face hub: asked once whether it answers, before a library asks it again and again with longer pauses."""

from __future__ import annotations

import functools
import os

_SECONDS = 5


@functools.cache
def why_offline() -> str | None:
    """Why nothing can be downloaded from the hub, as a clause; None if it answers.

    If it does not answer, the libraries are told to use their cache only, in this process and in those that it starts.
    """
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=_SECONDS)
    except Exception as error:  # noqa: BLE001 (which HTTP library raises it depends on the version of huggingface_hub)
        constants.HF_HUB_OFFLINE = True
        os.environ["HF_HUB_OFFLINE"] = "1"
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"{constants.ENDPOINT} cannot be reached ({reason})"
    return None


def cache_folder() -> str:
    """Where downloads of the hub are kept; ``HF_HOME`` or ``HF_HUB_CACHE`` names another folder."""
    from huggingface_hub import constants

    return constants.HF_HUB_CACHE
