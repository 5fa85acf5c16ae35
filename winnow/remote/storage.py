"""Objects on ``s3://``, ``gs://``, ``az://`` and ``hdfs://``: how they are found, written and removed.

``winnow.remote.mirror_files`` fetches them. Credentials and endpoints come from the environment, as every client of
that store reads them.

fsspec and its clients, not ``pyarrow.fs``: listings have ETags, and an object can be written only where there is none.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from winnow.errors import UserError
from winnow.hash_index import HashIndex
from winnow.remote.addresses import (
    SCHEMES,
    SIGN_IN,
    StorageError,
    parent,
    plain_key,
    redacted,
)

AT_ONCE = 32  # requests; what a client needs to fill a line, and a store takes from everyone
_LISTED = 50  # names of one folder that are worth listing it

_REACH = {
    "s3": "check AWS_ENDPOINT_URL and the network",
    "gs": "check the network",
    "az": "check AZURE_STORAGE_ACCOUNT_NAME and the network",
    "": "check the name node and the network",
}
_BAD_SIGN_IN = re.compile(
    r"credentials?|ExpiredToken|InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|TokenRefresh|SSOToken"
    r"|RefreshError|ClientAuthentication|token (has|is) expired|AuthenticationFailed",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Object:
    """An object of a store.

    Attributes:
        time_ns: its time in whole seconds, and below them a digest of its version: another one for other bytes.
    """

    url: str
    size: int
    time_ns: int


def opened(url: str) -> tuple[Any, str]:
    """The client of an address, and the path in its own form."""
    import fsspec

    extra = SCHEMES[url.partition(":")[0]]
    try:
        client, path = fsspec.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        how = f"pip install 'winnow-vlm[{extra}]'" if extra else "a Python with pyarrow, and Hadoop's libhdfs"
        raise UserError(f"{url}: {url.partition(':')[0]}:// needs another package; {how}") from error
    except Exception as error:
        raise _problem(url, error) from error
    return client, str(path)


def _problem(url: str, error: BaseException) -> UserError:
    """The one sentence, and the class, of whatever a client has raised."""
    if isinstance(error, UserError):
        return error
    extra, seen = SCHEMES[url.partition(":")[0]], error
    words, statuses = [], set[int]()
    while seen is not None:
        words.append(f"{type(seen).__name__} {seen}")
        statuses.add(_status(seen))
        seen = seen.__cause__ or seen.__context__  # type: ignore[assignment]
    detail = redacted(" ".join(str(error).split())[:200] or type(error).__name__)
    if isinstance(error, FileNotFoundError) or 404 in statuses:
        return StorageError("remote_404", f"{url}: no such object, folder or bucket; check the address")
    if _BAD_SIGN_IN.search(" ".join(words)):
        return StorageError("credentials", f"{url}: the credentials are missing, wrong or expired; {SIGN_IN[extra]}")
    if isinstance(error, PermissionError) or statuses & {401, 403}:
        return StorageError("remote_denied", f"{url}: access is denied ({detail}); ask its owner, or {SIGN_IN[extra]}")
    return StorageError("remote_unavailable", f"{url}: cannot be reached ({detail}); {_REACH[extra]}, and run it again")


def _status(error: BaseException) -> int:
    """The HTTP status behind an error of any client; 0 if there is none."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    found = getattr(error, "status_code", None) or getattr(error, "code", None) or getattr(error, "status", None)
    return found if isinstance(found, int) else 0


@contextlib.contextmanager
def asking(url: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _problem(url, error) from error


def _object(url: str, info: dict[str, Any]) -> Object:
    size = int(info.get("size") or 0)
    version = next((info[key] for key in ("ETag", "etag", "generation", "md5Hash") if info.get(key)), "")
    extra = SCHEMES[url.partition(":")[0]]
    if extra and not version:  # the page of a hotel's network, or another server at that address
        reason = "what answers there is no object storage: it names no ETag"
        raise StorageError("remote_unavailable", f"{url}: {reason}; {_REACH[extra]}, and run it again")
    times = (info.get(key) for key in ("LastModified", "last_modified", "mtime", "updated"))
    time = next((each for each in times if each), None)
    if isinstance(time, str):
        time = datetime.fromisoformat(time)
    seconds = int(time.timestamp() if isinstance(time, datetime) else time or 0)
    digest = int(hashlib.sha256(f"{str(version).strip(chr(34))} {size}".encode()).hexdigest()[:12], 16)
    return Object(url, size, seconds * 10**9 + digest % 10**9)


class _Looks:
    """What was seen of stores since ``look_again``: one run sees one state of its sources, and asks once.

    In memory there are 40 bytes an address.

    Attributes:
        fetched: folders and patterns of the mirror that are in line.
        folders: addresses that objects lie below.
    """

    def __init__(self) -> None:
        self._index = HashIndex()
        self._sizes, self._times = array("q"), array("q")
        self._lock = threading.Lock()
        self.fetched: set[str] = set()
        self.folders: set[str] = set()

    def knows(self, url: str) -> bool:
        """Whether it was asked for before."""
        return self._index.get(url) is not None

    def get(self, url: str) -> Object | None:
        """The object that ``put`` kept, or None."""
        number = self._index.get(url)
        if number is None or self._sizes[number] < 0:
            return None
        return Object(url, self._sizes[number], self._times[number])

    def put(self, url: str, found: Object | None) -> Object | None:
        """Keep an object, or that there is none."""
        with self._lock:
            self._index.put(url, len(self._sizes))
            self._sizes.append(found.size if found is not None else -1)
            self._times.append(found.time_ns if found is not None else 0)
        return found


_looks = _Looks()


def look_again() -> None:
    """Forget what was seen: the next question asks the store."""
    global _looks
    _looks = _Looks()


def is_in_line(place: str) -> bool:
    """Whether ``set_in_line`` was called for a folder or pattern since the last ``look_again``."""
    return place in _looks.fetched


def set_in_line(place: str) -> None:
    """Note that the mirror has what the store has there."""
    _looks.fetched.add(place)


def find(url: str) -> Object | None:
    """The object of an address; None if there is none, or if it is a folder.

    Raises:
        UserError: the store cannot be asked.
    """
    looks = _looks
    if looks.knows(url):
        return looks.get(url)
    info = _info(url)
    return looks.put(url, _object(url, info) if info["type"] == "file" else None)


def is_folder(url: str) -> bool:
    """Whether objects lie below an address.

    Raises:
        UserError: the store cannot be asked.
    """
    looks = _looks
    if url not in looks.folders and _info(url)["type"] == "directory":
        looks.folders.add(url)
    return url in looks.folders


def _info(url: str) -> dict[str, Any]:
    client, path = opened(url)
    with asking(url):
        try:
            return dict(client.info(path))
        except FileNotFoundError:
            return {"type": "none"}
        except PermissionError:
            client.cat_file(path, start=0, end=1)  # whose answer says why, which that to a HEAD cannot
            raise


def find_all(urls: Sequence[str]) -> list[Object | StorageError | None]:
    """``find`` of many, at once, or why one could not be asked for; folders of which many are sought are listed.

    Raises:
        UserError: the store cannot be asked for any: see ``StorageError``.
    """
    looks = _looks
    by_folder: defaultdict[str, list[str]] = defaultdict(list)
    for url in dict.fromkeys(urls):
        if not looks.knows(url):
            by_folder[parent(url)].append(url)

    def list_one(folder: str) -> None:
        try:
            for each in (found := objects_in(folder)):
                looks.put(each.url, each)
            if not found:
                find(
                    by_folder[folder][0]
                )  # what is no object storage lists nothing, but is known by its answer to this
        except StorageError as error:
            if error.kind != "remote_denied":  # one may be allowed to read objects and not to list them
                raise
        else:
            for url in by_folder[folder]:
                if not looks.knows(url):
                    looks.put(url, None)

    def find_one(url: str) -> Object | StorageError | None:
        try:
            return find(url)
        except StorageError as error:
            if error.kind == "credentials":
                raise
            return error

    with ThreadPoolExecutor(AT_ONCE) as threads:
        for _ in threads.map(list_one, [folder for folder, inside in by_folder.items() if len(inside) >= _LISTED]):
            pass
        return list(threads.map(find_one, urls))


def objects_below(url: str) -> list[Object]:
    """All objects in a folder and below it, by name; those whose names no file can have are left out.

    Raises:
        UserError: the store cannot be asked, or there is no such bucket.
    """
    client, path = opened(url)
    with asking(url):
        found = client.find(path, detail=True, withdirs=False)
    return sorted(_objects(client, url, path, found.values()), key=lambda each: each.url)


def objects_in(folder: str) -> list[Object]:
    client, path = opened(folder)
    with asking(folder):
        try:
            return list(_objects(client, folder, path, client.ls(path, detail=True)))
        except FileNotFoundError:
            return []


def _objects(client: Any, url: str, path: str, infos: Iterable[dict[str, Any]]) -> Iterator[Object]:
    base = client._strip_protocol(path).rstrip("/")
    for info in infos:
        key = client._strip_protocol(info["name"]).removeprefix(base).removeprefix("/")
        marks_folder = info["name"].endswith("/")
        if info["type"] == "file" and not marks_folder and key and plain_key(key):
            yield _object(f"{url}/{key}", info)


def read(url: str, most: int) -> bytes:
    """The first ``most`` bytes of an object, in one request.

    Raises:
        StorageError: it cannot be had.
    """
    client, path = opened(url)
    with asking(url):
        try:
            return bytes(client.cat_file(path, start=0, end=most))
        except OSError as error:
            if "range" in str(error).lower() and _size(client, path) == 0:  # of nothing there is no range
                return b""
            raise


def is_denied(url: str) -> bool:
    """Whether an object may not be read with these credentials.

    Raises:
        StorageError: the store cannot be asked.
    """
    try:
        read(url, 1)
    except StorageError as error:
        if error.kind not in ("remote_denied", "remote_404"):
            raise
        return error.kind == "remote_denied"
    return False


def _size(client: Any, path: str) -> int:
    return int(client.info(path)["size"])


def put(file: Path, url: str) -> None:
    """Write an object, whole or not at all.

    Raises:
        UserError: the store does not take it.
    """
    client, path = opened(url)
    with asking(url):
        client.put_file(str(file), path)


def put_bytes(data: bytes, url: str) -> None:
    """Write an object of these bytes.

    Raises:
        UserError: the store does not take it.
    """
    client, path = opened(url)
    with asking(url):
        client.pipe_file(path, data)


def put_if_absent(url: str, data: bytes) -> bool:
    """Write an object where there is none; False if there is one. On HDFS two writers at once may both be told True.

    Raises:
        UserError: the store does not take it.
    """
    client, path = opened(url)
    with asking(url):
        try:
            client.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            if "PreconditionFailed" in str(error) or "At least one of the pre-conditions" in str(error):
                return False
            raise
    return True


def remove(urls: Sequence[str]) -> None:
    """Remove objects; those that are not there are left out.

    Raises:
        UserError: the store refuses.
    """
    for url in urls:
        client, path = opened(url)
        with asking(url), contextlib.suppress(FileNotFoundError):
            client.rm_file(path)
