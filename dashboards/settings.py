"""What the launcher tells the server and the app through environment variables."""

from __future__ import annotations

import json
import os
from pathlib import Path

DATA_VARIABLE = "WINNOW_DASHBOARDS_DATA"
HOSTS_VARIABLE = "WINNOW_DASHBOARDS_HOSTS"
BASE_VARIABLE = "WINNOW_DASHBOARDS_BASE"
FRAMING_VARIABLE = "WINNOW_DASHBOARDS_FRAMING"
IMAGE_ROOTS_VARIABLE = "WINNOW_DASHBOARDS_IMAGE_ROOTS"
USER_HEADER_VARIABLE = "WINNOW_DASHBOARDS_USER_HEADER"
SHARED_VARIABLE = "WINNOW_DASHBOARDS_SHARED"
RUNS_VARIABLE = "WINNOW_DASHBOARDS_RUNS"
LOCAL_HOSTS = ("127.0.0.1", "localhost")


def data_root() -> Path:
    """The data folder, absolute; ``data`` below the current directory unless the launcher names another folder."""
    return Path(os.environ.get(DATA_VARIABLE, "data")).resolve()


def corrections_folder() -> Path:
    """Where reviewers' decisions are appended."""
    return data_root() / "corrections"


def allowed_hosts() -> list[str]:
    """Host names that requests may carry; this machine's own names unless the launcher names more."""
    named = os.environ.get(HOSTS_VARIABLE, "")
    return [host for host in named.split(",") if host] or list(LOCAL_HOSTS)


def address(path: str) -> str:
    """The path under which a browser finds what this server has at ``path`` (``/…``): below ``--base-path``."""
    return os.environ.get(BASE_VARIABLE, "") + path


def framing_origins() -> list[str]:
    """Origins whose pages may show these pages in a frame; none unless the launcher names some."""
    return os.environ.get(FRAMING_VARIABLE, "").split()


def moved_image_roots() -> list[tuple[Path, Path]]:
    """Folders under which result folders recorded images, and where these are now (``--image-root OLD=NEW``)."""
    return [(Path(old), Path(new)) for old, new in json.loads(os.environ.get(IMAGE_ROOTS_VARIABLE, "") or "[]")]


def user_header() -> str:
    """The header in which a trusted proxy names the visitor, '' if none is trusted."""
    return os.environ.get(USER_HEADER_VARIABLE, "")


def is_shared() -> bool:
    """Whether other machines can reach the server itself."""
    return os.environ.get(SHARED_VARIABLE, "") == "1"


def runs_allowed() -> bool:
    """Whether visitors may start runs at all; which of them may is for ``dashboards.jobs.access`` to say."""
    return os.environ.get(RUNS_VARIABLE, "") == "1"
