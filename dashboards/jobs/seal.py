"""Seals: a job waits for the worker only if this user put it in the queue on this machine.

A data folder may come from elsewhere, or be shared, and its queue with it: without a seal a recipe in it would be run
as soon as a server starts. The key is kept outside of data folders.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import tempfile
from pathlib import Path

from winnow.files import read_regular

_BYTES = 32


def seal_of(*parts: bytes) -> str:
    """The seal of what these bytes say.

    Raises:
        OSError: there is no place for the key.
    """
    digest = hmac.new(_key(), digestmod=hashlib.sha256)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def is_seal_of(seal: str, *parts: bytes) -> bool:
    """Whether a seal is this user's, and of these bytes; false where there is no key."""
    try:
        return hmac.compare_digest(seal.encode(), seal_of(*parts).encode())
    except OSError:
        return False


def _key() -> bytes:
    path = _folder() / "jobs.key"
    if not path.exists():
        made = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(_BYTES))
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # another process was faster
                path.hardlink_to(made)
        finally:
            made.unlink(missing_ok=True)
    key = read_regular(path)
    if len(key) != _BYTES:
        raise OSError(f"{path}: is broken; remove it")
    return key


def _folder() -> Path:
    """A folder that only this user can write: of their state, or of the machine's temporary files without a home."""
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    with contextlib.suppress(OSError, RuntimeError):
        folder = Path(home).expanduser() / "winnow"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    folder = Path(tempfile.gettempdir()) / f"winnow-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o022 or folder.is_symlink():
        raise PermissionError(f"{folder}: is not yours alone; remove it")
    return folder
