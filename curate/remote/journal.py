"""What became of each URL, one JSON line each, appended as it happens: a killed run goes on where it stopped."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from winnow.errors import UserError
from winnow.seen import SeenTexts


class Journal:
    """Lines ``{"url", "path"}`` or ``{"url", "error", "detail"}`` and where each stands (24 bytes a URL).

    Lines of an earlier run with ``"again": true`` do not count: those URLs are tried again. Usable from
    several threads.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._index = SeenTexts()
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
        self._end = self._load()

    def _load(self) -> int:
        end = 0
        with self._path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):  # torn by a kill
                    os.truncate(self._path, end)
                    break
                entry = _parsed(line)
                if entry is not None and not entry.get("again"):
                    self._index.put(entry["url"], end)
                end += len(line)
        return end

    def find(self, url: str) -> dict[str, Any] | None:
        """The line of a URL, or None."""
        with self._lock:
            offset = self._index.get(url)
            if offset is None:
                return None
            line = b""
            while not line.endswith(b"\n") and (more := os.pread(self._file, 4096, offset + len(line))):
                line += more
                line = line[: line.index(b"\n") + 1] if b"\n" in line else line
        entry = _parsed(line)
        return entry if entry is not None and entry["url"] == url else None

    def add(self, entry: dict[str, Any]) -> None:
        """Append a line.

        Raises:
            UserError: it cannot be written.
        """
        line = json.dumps(entry, ensure_ascii=True).encode() + b"\n"
        with self._lock:
            try:
                os.write(self._file, line)
            except OSError as error:
                raise UserError(f"{self._path}: cannot be written ({error.strerror or error})") from error
            self._index.put(entry["url"], self._end)
            self._end += len(line)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("url"), str) else None
