"""The Hugging Face hub, or a mirror that ``HF_ENDPOINT`` names: whether it answers, its file lists, its downloads."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_SECONDS = 5
Kind = Literal["model", "dataset"]


@functools.cache
def why_offline() -> str | None:
    """Why nothing can be downloaded from the hub, as a clause; None if it answers.

    If it does not answer, the libraries are told to use their cache only, in this process and in those that it starts.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    if reason := unreachable(constants.ENDPOINT):
        go_offline()
    return reason


@functools.cache
def unreachable(address: str) -> str | None:
    """Why a site does not answer, as a clause; None if it does, whatever it says."""
    from huggingface_hub import get_session

    try:
        get_session().head(address, timeout=_SECONDS)
    except Exception as error:  # noqa: BLE001 (which HTTP library raises it depends on the version of huggingface_hub)
        return f"{address} cannot be reached ({' '.join(str(error).split()) or type(error).__name__})"
    return None


def go_offline() -> None:
    """Use what is on this machine only, in this process and in those that it starts."""
    import sys

    os.environ["HF_HUB_OFFLINE"] = "1"
    if "huggingface_hub" in sys.modules:  # which has read the variable
        from huggingface_hub import constants

        constants.HF_HUB_OFFLINE = True


def cache_folder() -> str:
    """Where downloads of the hub are kept; ``HF_HOME`` or ``HF_HUB_CACHE`` names another folder."""
    from huggingface_hub import constants

    return constants.HF_HUB_CACHE


def endpoint() -> str:
    """The address of the hub."""
    from huggingface_hub import constants

    return constants.ENDPOINT


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository.

    Attributes:
        path: in the repository.
        size: in bytes.
        digest: hex sha256, or of small files git's sha1; "" if the site gives none.
    """

    path: str
    size: int
    digest: str


def commit_of(name: str, kind: Kind, revision: str | None) -> str:
    """The commit that a branch or tag of a repository stands for now."""
    import huggingface_hub

    return str(huggingface_hub.HfApi().repo_info(name, revision=revision, repo_type=kind).sha)


def list_files(name: str, kind: Kind, commit: str) -> list[RemoteFile]:
    """All files of a repository."""
    import huggingface_hub

    tree = huggingface_hub.HfApi().list_repo_tree(name, recursive=True, revision=commit, repo_type=kind)
    files = [entry for entry in tree if isinstance(entry, huggingface_hub.hf_api.RepoFile)]
    return [RemoteFile(file.path, file.size, file.lfs.sha256 if file.lfs else file.blob_id) for file in files]


def place_of(name: str, kind: Kind) -> Path:
    """Folder of a repository in the cache.

    Models lie where every tool looks for them. Data sets lie apart: the cache has links for files, and an image
    behind a link out of the image root is refused.
    """
    folder = f"{kind}s--{name.replace('/', '--')}"
    return Path(cache_folder(), folder) if kind == "model" else Path(cache_folder()).parent / "winnow" / folder


def snapshot_of(name: str, kind: Kind, commit: str) -> Path:
    """Folder of the files of a commit, whether they are there or not."""
    return place_of(name, kind) / "snapshots" / commit


def download(name: str, kind: Kind, commit: str, wanted: Sequence[str] | None, unwanted: Sequence[str]) -> None:
    """Download the files that are missing; what an earlier attempt left of them is continued.

    Args:
        wanted, unwanted: patterns of paths; None wants all.
    """
    import huggingface_hub

    huggingface_hub.snapshot_download(
        name, repo_type=kind, revision=commit, allow_patterns=None if wanted is None else list(wanted),
        ignore_patterns=list(unwanted), local_dir=None if kind == "model" else snapshot_of(name, kind, commit),
    )  # fmt: skip


def remember(name: str, kind: Kind, revision: str, commit: str) -> None:
    """Note which commit a branch or tag stands for, as the libraries look it up offline."""
    ref = place_of(name, kind) / "refs" / revision
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(commit, encoding="utf-8")


def remembered(name: str, kind: Kind, revision: str) -> str | None:
    """The commit that a branch or tag stood for when it was last downloaded."""
    ref = place_of(name, kind) / "refs" / revision
    return ref.read_text(encoding="utf-8").strip() if ref.is_file() else None
