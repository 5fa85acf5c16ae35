"""A real S3 server on this machine for tests: moto's, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}  # fmt: skip
_STARTED = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")
_REQUEST = re.compile(r'"(GET|PUT|HEAD|POST|DELETE) (\S+) HTTP')


@dataclass(frozen=True)
class ObjectStore:
    """The server.

    Attributes:
        client: boto3's, of it.
        log: one line a request.
    """

    endpoint: str
    client: Any
    log: Path

    def upload(self, folder: Path, bucket: str, prefix: str) -> None:
        """Put every file below a folder."""
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.client.upload_file(str(path), bucket, f"{prefix}/{path.relative_to(folder).as_posix()}")

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Names of the objects below a prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", [])]

    def body(self, bucket: str, key: str) -> bytes:
        """The bytes of an object."""
        return bytes(self.client.get_object(Bucket=bucket, Key=key)["Body"].read())

    def remove(self, bucket: str, prefix: str) -> None:
        """Remove the objects below a prefix."""
        for key in self.keys(bucket, prefix):
            self.client.delete_object(Bucket=bucket, Key=key)

    @contextlib.contextmanager
    def requests(self) -> Iterator[list[tuple[str, str]]]:
        """Collect method and path of the requests that arrive during the block."""
        start, found = self.log.stat().st_size, list[tuple[str, str]]()
        yield found
        time.sleep(0.1)  # the server's last lines
        with self.log.open("rb") as log:
            log.seek(start)
            found += _REQUEST.findall(log.read().decode("utf-8", "replace"))


@contextlib.contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """Start a server, and name it in the environment, until the block ends; the cache lies below ``folder``."""
    import boto3
    import s3fs

    log, before = folder / "requests.log", dict(os.environ)
    with log.open("wb") as lines:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"], stdout=lines, stderr=lines
        )
    try:
        endpoint = _endpoint(log, server)
        os.environ.update(_ENVIRONMENT, AWS_ENDPOINT_URL=endpoint, WINNOW_CACHE=str(folder / "cache"))
        s3fs.S3FileSystem.clear_instance_cache()
        yield ObjectStore(endpoint, boto3.client("s3"), log)
    finally:
        os.environ.clear()
        os.environ.update(before)
        s3fs.S3FileSystem.clear_instance_cache()
        server.terminate()
        server.wait()


def _endpoint(log: Path, server: subprocess.Popen[bytes]) -> str:
    """The address that the server listens at, which it chooses and prints."""
    for _ in range(600):
        found = _STARTED.search(log.read_text(errors="replace"))
        if found is not None:
            with contextlib.suppress(urllib.error.URLError):
                urllib.request.urlopen(f"{found[1]}/moto-api/", timeout=5).close()
                return found[1]
        if server.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(f"the S3 server did not start:\n{log.read_text(errors='replace')}")
