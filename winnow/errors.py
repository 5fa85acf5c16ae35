"""Errors that reach the user as one sentence: ``UserError``, and the failed write of a full or read-only disk.

``is_unreachable`` tells a storage that fails from a file that is not there.
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable
from typing import TypeVar

Name = TypeVar("Name", bound=str)


class UserError(Exception):
    """Bad input from the user: one sentence that says what, where and what to do.

    Console scripts print it without a traceback and exit with code 2.
    """


def did_you_mean(name: str, known: Iterable[str], *, most: int = 3) -> str:
    """A hint for a misspelt name: "did you mean …?" with the nearest known names, or the list of all of them."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=most, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"


def chosen(option: str, given: str, known: Iterable[Name]) -> Name:
    """The known name that an option was given.

    Raises:
        UserError: there is none of that name.
    """
    names = list(known)
    for name in names:
        if given == name:
            return name
    raise UserError(f"{option} {given}: {did_you_mean(given, names)}")


_HINTS = {
    errno.ENOSPC: "free some space and run it again",
    errno.EDQUOT: "free some space and run it again",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f) and run it again",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EISDIR: "a folder stands where a file belongs: move it away and run it again",
    errno.ENOTDIR: "a file stands where a folder belongs: move it away and run it again",
    errno.EMFILE: "raise the limit on open files (ulimit -n) and run it again",
}


def disk_problem(error: OSError, path: object = None) -> str | None:
    """A sentence about a failed write: the file, the reason, what to do; None for any other error.

    Args:
        path: the file, for errors that do not name it (those of pyarrow and of a flush).
    """
    if error.errno not in _HINTS:
        return None
    where = error.filename2 or error.filename or path  # of a file that is put in place: its place
    return f"{f'{where}: ' if where else ''}{os.strerror(error.errno)}; {_HINTS[error.errno]}, finished parts are kept"


# What a disk, a network share or a busy machine says, and not what a file is like.
_UNREACHABLE = frozenset(
    getattr(errno, name)
    for name in (
        "EIO", "ESTALE", "ETIMEDOUT", "ENOTCONN", "ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "EHOSTDOWN",
        "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET", "EPIPE", "EREMOTEIO", "ENOLINK", "EUCLEAN", "EBADMSG",
        "ENODEV", "ENOMEDIUM", "EAGAIN", "EINTR", "EBUSY", "ENOMEM", "ENOBUFS", "EMFILE", "ENFILE", "ENOLCK",
    )
    if hasattr(errno, name)
)  # fmt: skip


def is_unreachable(error: OSError) -> bool:
    """Whether a failed read says that a storage or this machine failed, and nothing about the file.

    So does an error without a number, which object stores' clients raise; a file that is not there has one.
    """
    return error.errno in _UNREACHABLE or (error.errno is None and not isinstance(error, FileNotFoundError))
