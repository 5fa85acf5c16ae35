"""What the launcher tells the server and the app through environment variables."""

from __future__ import annotations

import os
from pathlib import Path

DATA_VARIABLE = "WINNOW_DASHBOARDS_DATA"
HOSTS_VARIABLE = "WINNOW_DASHBOARDS_HOSTS"
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
