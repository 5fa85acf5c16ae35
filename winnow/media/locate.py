"""Where the image that a row names is: a file below the image root, an object, or why there is none.

An image that a row names but that cannot be fetched is written in place of its path as ``<class>:<what>``
(``unavailable``). The row keeps its id, question and answers, and ``locate`` gives its class, so that rules, ledger and
card treat it like a missing file.
"""

from __future__ import annotations

import functools
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from winnow.errors import UserError, is_unreachable
from winnow.media.images import IMAGE_SUFFIXES, LINKED_OUT, NOT_MEASURED, UNAVAILABLE
from winnow.remote import addresses, mirror_files, storage

_PROTOCOLS = ("http://", "https://")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+")


def is_url(path: str) -> bool:
    """Whether an image field holds a web address."""
    return path[:8].lower().startswith(_PROTOCOLS)


def is_text(path: str) -> bool:
    """Whether a file's name is UTF-8; no record, table or page can hold another."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def unavailable(kind: str, what: str) -> str:
    """The notation for an image of class ``kind``; ``what`` is its URL or name."""
    return f"{kind}:{what}"


def unavailable_class(path: str) -> tuple[str, str] | None:
    """Class and detail if ``path`` is in the notation of ``unavailable`` or an address not fetched, else None."""
    kind, colon, what = path.partition(":")
    if not colon:
        return None
    if kind in UNAVAILABLE:
        return kind, what
    if is_url(path):
        return "remote_off", UNAVAILABLE["remote_off"]
    if addresses.is_remote(path):
        return "remote_bucket", f"to fetch it, name the place in the recipe, as in {_named(path)}"
    if what.startswith("//") and _SCHEME.fullmatch(kind) and kind.lower() != "file":
        return "remote_scheme", f"on {kind}://, which is not read here; download it first"
    return None


def _named(path: str) -> str:
    """The key of a recipe that allows an address on object storage."""
    scheme, _, rest = path.partition("://")
    bucket = rest.partition("/")[0].rpartition("@")[2][:_LONGEST_BUCKET]
    return f"`remote: {{buckets: [{scheme.lower()}://{bucket}]}}`"


_LONGEST_BUCKET = 63  # characters of a name
_SAME = ({"JPEG", "MPO"}, {"BMP", "DIB"}, {"ICO", "CUR"}, {"HEIF", "AVIF"})


@dataclass(frozen=True, slots=True)
class Located:
    """The result of ``locate``.

    Attributes:
        file: path to read, or None if ``error`` says why it must not be read.
        size: in bytes.
        mtime_ns, ctime_ns: times of the last change, by which an unchanged file is recognised. Copying and unpacking
            can set the first to that of another file, nothing sets the second.
        error, detail: one of ``CLASSES`` with an explanation, or None.
    """

    file: str | None
    size: int = 0
    mtime_ns: int = 0
    error: str | None = None
    detail: str | None = None
    ctime_ns: int = 0


def locate(path: str, root: str, *, max_bytes: int, links_within: str | None = None) -> Located:
    """Find an image file without reading it, and without following a path or a link out of ``root``.

    Classes given here: outside_root, missing, not_an_image (folders, devices), too_large_bytes, not_measured, and those
    of ``UNAVAILABLE``.

    Args:
        path: relative to ``root``, or in the notation of ``unavailable``.
        root: a resolved folder.
        links_within: a resolved folder that links below ``root`` may lead into; None is ``root`` itself.
    """
    gone = unavailable_class(path)
    if gone is not None:
        return Located(None, error=gone[0], detail=gone[1])
    if path.startswith("/") or "\0" in path or ".." in Path(path).parts or Path(path).is_absolute():
        return Located(None, error="outside_root", detail="not a plain path below the image root")
    file = f"{root}/{path}"
    if addresses.is_mirrored(root) and not os.path.lexists(file):
        found = _fetched(file, max_bytes)
        if found is not None:
            return found
    try:
        status = os.lstat(file)
        linked = stat.S_ISLNK(status.st_mode)
        real = os.path.realpath(file) if linked else f"{_real_folder(os.path.dirname(file))}/"  # noqa: PTH120 (speed)
        if os.path.commonpath([real, root]) != root and (
            links_within is None or os.path.commonpath([real, links_within]) != links_within
        ):
            return Located(None, error="outside_root", detail=LINKED_OUT)
        if linked:
            status = Path(file).stat()
    except (OSError, ValueError) as error:
        kind = NOT_MEASURED if isinstance(error, OSError) and is_unreachable(error) else "missing"
        return Located(None, error=kind, detail=getattr(error, "strerror", None) or str(error))
    if not stat.S_ISREG(status.st_mode):
        return Located(None, error="not_an_image", detail="a folder or device, not a file")
    if status.st_size > max_bytes:
        return Located(
            None,
            status.st_size,
            status.st_mtime_ns,
            "too_large_bytes",
            f"{status.st_size} bytes, the cap is {max_bytes}",
        )
    return Located(file, status.st_size, status.st_mtime_ns, ctime_ns=status.st_ctime_ns)


def _fetched(file: str, max_bytes: int) -> Located | None:
    """Bring a file of a mirror, for a machine that has not seen it yet; why it cannot be had, or None."""
    try:
        url = addresses.url_of(file)
        found = storage.find(url) if url is not None else None
        if found is not None and found.size > max_bytes:
            too_large = f"{found.size} bytes, the cap is {max_bytes}"
            return Located(None, found.size, found.time_ns, "too_large_bytes", too_large)
        if found is not None:
            mirror_files.fetch(found, Path(file))
    except addresses.StorageError as error:
        # Without credentials, or an answer, nothing is known of the image.
        kind = NOT_MEASURED if error.kind in ("credentials", "remote_unavailable") else error.kind
        return Located(None, error="missing" if kind == "remote_404" else kind, detail=str(error))
    except UserError as error:
        return Located(None, error=NOT_MEASURED, detail=str(error))
    return None


@functools.lru_cache(maxsize=1024)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def wrong_extension(path: str, content_format: str) -> str | None:
    """What is wrong with the file's suffix, or None. Names without a known image suffix are accepted."""
    suffix = Path(path).suffix.lower()
    named = IMAGE_SUFFIXES.get(suffix)
    if named is None or named == content_format or any({named, content_format} <= same for same in _SAME):
        return None
    return f"named {suffix}, but the content is {content_format}"
