"""What objects on ``s3://``, ``gs://``, ``az://`` and ``hdfs://`` are called, and their places in the mirror."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from winnow.errors import UserError

# Scheme → the extra that reads it; hdfs is read by pyarrow, and needs Hadoop's libhdfs.
SCHEMES = {
    **dict.fromkeys(("s3", "s3a", "s3n"), "s3"), **dict.fromkeys(("gs", "gcs"), "gs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "az"), "hdfs": "",
}  # fmt: skip

_ADDRESS = re.compile(rf"({'|'.join(SCHEMES)}):/(?:/|(?=[^/]))", re.IGNORECASE)  # a `Path` has swallowed the second /
_BUCKET = re.compile(r"[A-Za-z0-9][\w.@:-]*", re.ASCII)  # of HDFS and Azure also host and port, or container and host
_FOLDER = "winnow-objects"
_MIRRORED = re.compile(rf"^(?P<mirror>.*?/{_FOLDER}/(?P<scheme>[a-z0-9]+)(@[^/]*)?)(/(?P<rest>.*))?$", re.DOTALL)
_LONGEST_KEY = 1024  # bytes, of every store
SIGN_IN = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
    "": "get a ticket with `kinit`",
}


class StorageError(UserError):
    """An object that could not be had.

    Attributes:
        kind: ``missing``, ``remote_404``, ``remote_denied`` and ``remote_unavailable`` of ``winnow.media.images``, or
            ``credentials``: those of the environment are missing, wrong or expired, which says nothing of the object.
    """

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


def is_remote(location: str | os.PathLike[str]) -> bool:
    """Whether a location is an address on object storage, also one that has gone through a ``Path``."""
    return _ADDRESS.match(os.fspath(location)) is not None


def address(location: str | os.PathLike[str]) -> str:
    """The address in its one form: ``s3://bucket/key`` without a slash at its end.

    Raises:
        UserError: it holds credentials, or a name that no file can have.
    """
    text = os.fspath(location)
    found = _ADDRESS.match(text)
    if found is None:
        raise UserError(f"{redacted(text)}: is no address on object storage ({', '.join(sorted(SCHEMES))})")
    scheme, rest = found[1].lower(), text[found.end() :].rstrip("/")
    bucket, _, key = rest.partition("/")
    if ":" in (bucket.rpartition("@")[0] if scheme == "hdfs" else bucket):  # a secret may hold a slash
        raise UserError(f"{redacted(text)}: holds a password; take it out, and {SIGN_IN[SCHEMES[scheme]]}")
    if not (_BUCKET.fullmatch(bucket) or (scheme == "hdfs" and not bucket)) or (key and not plain_key(key)):
        raise UserError(f"{redacted(text)}: needs a bucket, and no empty, '.' or '..' part between slashes")
    return f"{scheme}://{rest}"


def plain_key(key: str) -> bool:
    """Whether a key is a path that stays below its folder; ``a//b`` and ``a/b`` would be one file."""
    odd = "\0" in key or "\\" in key or {"", ".", ".."} & set(key.split("/"))
    return not odd and len(key.encode("utf-8", "replace")) <= _LONGEST_KEY and key.isprintable()


def redacted(text: str) -> str:
    """A text without passwords and signatures of the addresses in it."""
    text = re.sub(r"(:/{1,2})[^/\s@:]+:\S*@", r"\1…@", text)
    return re.sub(r"(?i)([?&](?:x-amz-[\w-]+|x-goog-[\w-]+|sig|signature|token|awsaccesskeyid)=)[^&\s]+", r"\1…", text)


def is_below(url: str, folder: str) -> bool:
    """Whether a row's address is that of an object in ``folder``, which ``address`` gave."""
    try:
        return address(url).startswith(f"{folder}/")
    except UserError:
        return False


def parent(url: str) -> str:
    """The folder that an address lies in; of a bucket itself."""
    scheme, rest = url.split("://", 1)
    return f"{scheme}://{rest.rpartition('/')[0] or rest}"


def cache_folder() -> Path:
    """Where files of this machine lie that can be had again: ``WINNOW_CACHE``, or ``winnow`` in the user's cache."""
    given = os.environ.get("WINNOW_CACHE")
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "winnow"
    return base.expanduser().resolve()


def mirror(location: str | os.PathLike[str]) -> Path:
    """Where an object or a folder of them lies on this machine; need not exist.

    Raises:
        UserError: see ``address``.
    """
    url = address(location)
    scheme, rest = url.split("://", 1)
    bucket, _, key = rest.partition("/")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    at = f"@{urlsplit(endpoint).netloc.rpartition('@')[2]}" if endpoint and SCHEMES[scheme] == "s3" else ""
    return cache_folder() / _FOLDER / f"{scheme}{at}" / (bucket or "-") / key


def url_of(path: str | os.PathLike[str]) -> str | None:
    """The address of a file or folder of a mirror, of this machine or another one; None for any other path."""
    text = os.fspath(path)
    if f"/{_FOLDER}/" not in text:
        return None
    found = _MIRRORED.match(text)
    if found is None or not found["rest"] or found["scheme"] not in SCHEMES:
        return None
    bucket, _, key = found["rest"].rstrip("/").partition("/")
    if (key and not plain_key(key)) or not (bucket == "-" or _BUCKET.fullmatch(bucket)):
        return None
    return f"{found['scheme']}://{'' if bucket == '-' else bucket}{'/' if key else ''}{key}"


def in_own_mirror(path: str) -> str:
    """The place in this machine's mirror for one in the mirror of another machine; any other path as it is."""
    _, there, rest = path.partition(f"/{_FOLDER}/")
    return f"{cache_folder()}/{_FOLDER}/{rest}" if there else path


def is_mirrored(folder: str) -> bool:
    """Whether a folder is part of a mirror."""
    return f"/{_FOLDER}/" in folder


def shown(text: str | os.PathLike[str]) -> str:
    """A path, or a text with paths, as people and manifests see it: what lies in this machine's mirror by address."""
    text = os.fspath(text)
    if f"/{_FOLDER}/" not in text:
        return text
    return re.sub(rf"{re.escape(str(cache_folder()))}/{_FOLDER}/([a-z0-9]+)(?:@[^/\s]*)?/(?:-(?=/))?", r"\1://", text)


def local(location: str | os.PathLike[str]) -> Path:
    """The folder or file of this machine for a path of a recipe or manifest; one of a mirror is made, and is empty."""
    if not is_remote(location):
        return Path(location)
    folder = mirror(location)
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the file system on the way to a mirror file become one sentence."""
    try:
        yield
    except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        both = "the store has an object and a folder of one name, which no file system has"
        raise UserError(f"{shown(path)}: {both}; rename one of them") from error
    except OSError as error:
        if error.errno in (36, 63):  # Linux, macOS
            why = f"{shown(path)}: its name is too long for a file of this machine; rename it"
            raise StorageError("missing", why) from error
        raise
