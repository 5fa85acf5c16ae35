"""ModelScope, or a mirror that ``MODELSCOPE_ENDPOINT`` names, through its client ``modelscope-hub``.

The client continues broken downloads, tries them again and compares their sha256.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from winnow.errors import UserError
from winnow.remote.hub import Kind, RemoteFile


def _library() -> Any:
    # Otherwise every start asks Alibaba's cloud which of its regions this machine is in.
    os.environ.setdefault("MODELSCOPE_DOWNLOAD_INTRA_CLOUD", "false")
    try:
        import modelscope_hub
    except ImportError as error:
        raise UserError("modelscope: needs its client: pip install 'winnow-vlm[modelscope]'") from error
    return modelscope_hub


def endpoint() -> str:
    """The address of ModelScope."""
    return os.environ.get("MODELSCOPE_ENDPOINT", "https://modelscope.cn")


def list_files(name: str, kind: Kind, revision: str) -> list[RemoteFile]:
    """All files of a repository."""
    files = _library().HubApi(endpoint=endpoint()).list_repo_files(name, kind, revision=revision)
    return [RemoteFile(file.path, file.size, file.sha256 or "") for file in files if not file.is_dir]


def snapshot_of(name: str, kind: Kind, revision: str) -> Path:
    """Folder of the files of a revision in the client's cache, whether they are there or not."""
    cache = Path(_library().HubConfig().cache_dir)
    return cache / f"{kind}s" / name.replace("/", "--") / "snapshots" / revision


def download(name: str, kind: Kind, revision: str, wanted: Sequence[str] | None, unwanted: Sequence[str]) -> None:
    """Download the files that are missing or damaged.

    Args:
        wanted, unwanted: patterns of paths; None wants all.
    """
    _library().HubApi(endpoint=endpoint()).download_repo(
        name, kind, revision=revision, local_dir=snapshot_of(name, kind, revision),
        allow_patterns=None if wanted is None else list(wanted), ignore_patterns=list(unwanted),
    )  # fmt: skip
