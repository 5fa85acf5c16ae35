"""Uploads a run's adapter, or a merged checkpoint, to the Hugging Face hub."""

from __future__ import annotations

import json
from pathlib import Path

from winnow.errors import UserError
from winnow.remote.downloads import parse
from winnow.remote.hub import endpoint, why_offline


def push(run: Path, name: str, *, private: bool) -> str:
    """Upload the adapter of a run, or a folder of weights; gives the address of the repository.

    The token is that of ``HF_TOKEN`` or of `hf auth login`. The repository is made if there is none.

    Args:
        run: a run folder, an adapter folder or a checkpoint folder.
        name: ``owner/name``.

    Raises:
        UserError: nothing to upload there, no such name, no token, or the hub cannot be reached or refuses.
    """
    folder = run / "adapter" if (run / "adapter").is_dir() else run
    if not any((folder / file).is_file() for file in ("adapter_config.json", "config.json")):
        raise UserError(f"{run}: neither a finished run nor a folder with an adapter or a checkpoint")
    repository = parse(name, "model")
    if repository.site != "hub" or "/" not in repository.name or repository.revision:
        raise UserError(f"{name}: give owner/name of the Hugging Face hub")
    if offline := why_offline():
        raise UserError(f"{folder}: cannot be uploaded, {offline}")
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    if huggingface_hub.get_token() is None:
        raise UserError("no token: set HF_TOKEN to one that may write, or log in with `hf auth login`")
    api = huggingface_hub.HfApi(library_name="winnow-vlm")
    try:
        api.create_repo(repository.name, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository.name, folder_path=folder, commit_message=f"Upload {run.name} with Winnow")
    except HfHubHTTPError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{name}: {endpoint()} refuses (HTTP {error.response.status_code}: {reason})") from error
    return f"{endpoint()}/{repository.name}"


def local_base(folder: Path) -> str | None:
    """The base of an adapter if it is a folder of this machine, which nobody else has."""
    config = folder / "adapter_config.json"
    base = json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"] if config.is_file() else None
    return base if base and Path(base).exists() else None
