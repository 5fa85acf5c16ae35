"""Text files as UTF-8, whatever they are encoded in and whether gzip packed them.

UTF-16 is known by its byte order mark or its zeros. A file whose letters beyond ASCII are mostly not UTF-8 is read in
the encoding that charset-normalizer finds likeliest; ``encoding_of`` names it, so that the user can be told.
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from functools import lru_cache
from pathlib import Path
from typing import IO

from winnow.errors import UserError

_GZIP = b"\x1f\x8b"
_START = 4096
_CHUNK = 1 << 16
_ZEROS, _STRAY = 0.01, 4  # a larger share, and a larger number, of zeros among the first bytes: no text
_SCANNED = 256 << 20  # bytes in which letters beyond ASCII are looked for
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")
_RUNS = 1000  # of these are judged
_SAMPLE, _BEFORE = 1 << 16, 200  # bytes that are shown to charset-normalizer
_BOMS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_USUAL = "cp1252"  # Western Windows, which holds Latin-1's letters
_ALIKE, _SAME_CHAOS = ("cp1250", "cp1254"), 0.05
_LEGACY = (_USUAL, "cp1250", "cp1251", "cp1254", "cp932", "gb18030", "big5", "cp949", "euc_jp", "koi8_r")


def open_utf8(path: Path) -> io.BufferedReader:
    """The bytes of a text file, unpacked and as UTF-8; a byte order mark stays.

    What is no letter in the file's encoding gives bytes that are not UTF-8.

    Raises:
        OSError: the file cannot be opened.
        UserError: a gzip file is damaged; also while reading.
    """
    encoding = encoding_of(path)
    handle = _unpacked(path)
    return handle if encoding in ("utf-8", "") else io.BufferedReader(_Recoded(handle, encoding), _CHUNK)


def encoding_of(path: Path) -> str:
    """The encoding of a text file as Python names it; '' for a file that is no text.

    Raises:
        OSError: the file cannot be read.
        UserError: a gzip file is damaged.
    """
    stat = path.stat()
    return _encoding(path, stat.st_size, stat.st_mtime_ns)


def is_gzip(path: Path) -> bool:
    """Whether gzip packed the file, whatever its name.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as handle:
        return handle.read(len(_GZIP)) == _GZIP


def _as_surrogate(error: UnicodeError) -> tuple[str, int]:
    """What is no letter of the encoding as half a surrogate pair, which UTF-8 cannot hold: its row is a bad one."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\udcff", error.end


_NO_LETTER = "winnow.no_letter"
codecs.register_error(_NO_LETTER, _as_surrogate)


class _Recoded(io.RawIOBase):
    """The text of another encoding as bytes of UTF-8."""

    def __init__(self, handle: IO[bytes], encoding: str) -> None:
        self._handle = handle
        self._decoder = codecs.getincrementaldecoder(encoding)(_NO_LETTER)
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            raw = self._handle.read(_CHUNK)
            if not raw:
                # Bytes that wait for the rest of their letter.
                rest, _ = self._decoder.getstate()
                self._ready = b"\xff" if rest else b""
                self._decoder.reset()
                break
            self._ready = self._decoder.decode(raw).encode("utf-8", "surrogatepass")
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def close(self) -> None:
        self._handle.close()
        super().close()


class _Unpacked(io.RawIOBase):
    """What a gzip file holds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = gzip.GzipFile(path)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        try:
            return self._handle.readinto(buffer)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{self._path}: the gzip file is damaged ({error}); fetch it again") from None

    def close(self) -> None:
        self._handle.close()
        super().close()


def _unpacked(path: Path) -> io.BufferedReader:
    return io.BufferedReader(_Unpacked(path), _CHUNK) if is_gzip(path) else path.open("rb")


@lru_cache(maxsize=1024)
def _encoding(path: Path, size: int, modified: int) -> str:
    """Cached by size and time, because probing, locating images and reading all need it."""
    with _unpacked(path) as handle:
        start = handle.read(_START)
        marked = next((name for mark, name in _BOMS.items() if start.startswith(mark)), "")
        marked = marked or _unmarked_utf16(start)
        if marked or start.count(0) > max(_STRAY, len(start) * _ZEROS):
            return marked
        return _judged(start + handle.readline(_CHUNK), handle)


def _unmarked_utf16(start: bytes) -> str:
    """UTF-16 without its mark, of mostly Western letters: of every two bytes one is zero."""
    for name, zeros, letters in (("utf-16-le", 1, 0), ("utf-16-be", 0, 1)):
        if start[zeros::2].count(0) > max(len(start) * 0.4, 20 * start[letters::2].count(0)):
            return name
    return ""


def _judged(chunk: bytes, handle: IO[bytes]) -> str:
    """UTF-8, unless most of the runs of bytes beyond ASCII are not."""
    valid, others, sample, read = 0, 0, b"", 0
    while chunk and read < _SCANNED and valid + others < _RUNS:
        read += len(chunk)
        for line in [] if chunk.isascii() else chunk.splitlines():
            runs = list(_BEYOND_ASCII.finditer(line))
            bad = [run.start() for run in runs if not _is_utf8(run[0])]
            valid, others = valid + len(runs) - len(bad), others + len(bad)
            if bad and len(sample) < _SAMPLE:
                begin = max(0, bad[0] - _BEFORE)
                sample += line[begin : begin + _SAMPLE] + b"\n" if len(line) > _SAMPLE else line + b"\n"
        chunk = handle.read(_CHUNK)
        chunk += handle.readline(_CHUNK) if chunk else b""
    return _likeliest(sample) if others > valid else "utf-8"


def _is_utf8(run: bytes) -> bool:
    try:
        run.decode()
    except UnicodeDecodeError:
        return False
    return True


def _likeliest(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    matches = from_bytes(sample, cp_isolation=list(_LEGACY), threshold=0.3)
    best = matches.best()
    if best is None or _USUAL in best.could_be_from_charset:
        return _USUAL
    usual = next((match for match in matches if match.encoding == _USUAL), None)
    # Of two that fit alike, or where no language is recognised, the commoner one.
    alike = usual is not None and (not best.coherence or usual.chaos - best.chaos <= _SAME_CHAOS)
    return _USUAL if alike and best.encoding in _ALIKE else str(best.encoding)
