"""The log of decisions in memory: of files that grew only the new lines are read, for all sessions of the server.

A log is a folder of append-only JSONL files, one a reviewer; see ``winnow.corrections``.
"""

from __future__ import annotations

import errno
import functools
import os
import stat
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from winnow.corrections import (
    Correction,
    is_torn,
    is_undone,
    parse_line,
    place_in_time,
    resolve_row,
    same_person,
    undone,
    unreadable_log,
)
from winnow.errors import UserError

State = Literal["active", "conflict", "settled", "superseded", "undone"]
_LOGS = 8  # folders that are remembered
_TAIL = 256  # bytes before the place up to which a file was read; others there mean that it was rewritten


@dataclass(frozen=True)
class Decision:
    """A line of the log and whether it counts now; a ``settled`` one was overruled by a later line of another."""

    line: Correction
    state: State


@dataclass(frozen=True, eq=False)
class Log:
    """A log as it stood at one moment: the same object until something is added. Nobody may change it.

    Attributes:
        decisions: all lines but undos, the newest first.
    """

    decisions: Sequence[Decision]


def decisions_on(folder: Path, sample_id: str) -> list[Decision]:
    """The decisions about one sample, the newest first, without looking at others. Raises like ``log_of``."""
    return _reader(folder).about(sample_id)


def decisions_of(lines: Iterable[Correction]) -> list[Decision]:
    """Lines with their states, as if they were the whole log; undos are left out, the newest comes first."""
    found = _Lines()
    found.add(lines)
    return list(reversed(found.decisions.values()))


def log_files(folder: Path) -> list[Path]:
    """The logs of all reviewers, by name."""
    return sorted(folder.glob("*.jsonl"))


def log_of(folder: Path) -> Log:
    """The log of a folder, empty if that does not exist.

    A last line that is not whole is left out: it is being written, or its writer was killed and confirmed nothing.

    Raises:
        UserError: a file cannot be read, a line is not a correction, or a correction_id occurs twice with different
            content.
    """
    return _reader(folder).log()


@dataclass(frozen=True)
class Known:
    """What a writer has to know of a log.

    Attributes:
        by_id: correction_id → its line, undos too.
        last: person → the latest of their lines, undos too.
    """

    by_id: Mapping[str, Correction]
    last: Mapping[str, Correction]


def known_of(folder: Path) -> Known:
    """All lines that the folder holds now; later calls change the same mappings. Raises like ``log_of``."""
    return _reader(folder).known()


@functools.lru_cache(maxsize=_LOGS)
def _reader(folder: Path) -> _Reader:
    return _Reader(folder)


@dataclass(frozen=True)
class _Place:
    """Up to where a file was read, and how it looked then."""

    inode: int
    size: int
    modified: int
    offset: int
    lines: int
    tail: bytes


class _Reader:
    """Reads a folder again and again, each line once, for several threads at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._places: dict[Path, _Place] = {}
        self._lines = _Lines()
        self._log: Log | None = None  # a copy for readers, made when asked for

    def log(self) -> Log:
        with self._lock:
            self._refresh()
            if self._log is None:
                self._log = Log(list(reversed(self._lines.decisions.values())))
            return self._log

    def about(self, sample_id: str) -> list[Decision]:
        with self._lock:
            self._refresh()
            of_row = self._lines.of_sample.get(sample_id, [])
            return [self._lines.decisions[line.correction_id] for line in reversed(of_row)]

    def known(self) -> Known:
        with self._lock:
            self._refresh()
            return Known(self._lines.by_id, self._lines.last)

    def _forget(self) -> None:
        self._places, self._lines, self._log = {}, _Lines(), None

    def _refresh(self) -> None:
        try:
            self._read_new(log_files(self._folder))
        except OSError as error:
            raise unreadable_log(self._folder, error) from error

    def _read_new(self, paths: Sequence[Path]) -> None:
        if self._places.keys() - set(paths) or any(self._was_rewritten(path) for path in paths):
            self._forget()
        new: dict[str, tuple[Correction, str]] = {}
        places = dict(self._places)
        for path in paths:
            places[path] = self._read(path, new)
        if new:
            self._lines.add(line for line, _ in new.values())
            self._log = None
        self._places = places

    def _was_rewritten(self, path: Path) -> bool:
        """Whether what was read of a file is not what it begins with now."""
        if (place := self._places.get(path)) is None or _looks(path) == (place.inode, place.size, place.modified):
            return False
        with path.open("rb") as file:
            file.seek(place.offset - len(place.tail))
            return os.fstat(file.fileno()).st_ino != place.inode or file.read(len(place.tail)) != place.tail

    def _read(self, path: Path, new: dict[str, tuple[Correction, str]]) -> _Place:
        """Put the lines that a file has got since into ``new``; returns up to where it is read then."""
        place = self._places.get(path) or _Place(0, 0, 0, 0, 0, b"")
        looks = _looks(path)
        if looks == (place.inode, place.size, place.modified):
            return place
        with path.open("rb") as file:
            file.seek(place.offset)
            read = file.read()
        whole, _, last = read.rpartition(b"\n")
        if last and not is_torn(last):
            whole, last = read, b""
        listed = whole.split(b"\n") if whole else []
        for number, text in enumerate(listed, start=place.lines + 1):
            if text.strip():
                self._take(parse_line(text, f"{path}:{number}"), f"{path}:{number}", new)
        taken = read[: len(read) - len(last)]
        tail = (place.tail + taken)[-_TAIL:]
        return _Place(*looks, place.offset + len(taken), place.lines + taken.count(b"\n"), tail)

    def _take(self, line: Correction, where: str, new: dict[str, tuple[Correction, str]]) -> None:
        known = self._lines.by_id.get(line.correction_id)
        if known is None:
            known, _ = new.setdefault(line.correction_id, (line, where))
        if known != line:
            raise UserError(f"{where}: correction_id {line.correction_id!r} was already used for another decision")


def _looks(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # a named pipe would keep us waiting for ever
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return status.st_ino, status.st_size, status.st_mtime_ns


@dataclass
class _Lines:
    """The lines that were read, and what follows from them.

    Attributes:
        of_sample: sample_id → the lines about it but undos, in order of time.
        decisions: correction_id → each line but undos, in order of time.
    """

    by_id: dict[str, Correction] = field(default_factory=dict)
    last: dict[str, Correction] = field(default_factory=dict)
    of_sample: dict[str, list[Correction]] = field(default_factory=dict)
    taken_back: set[tuple[str, str]] = field(default_factory=set)
    decisions: dict[str, Decision] = field(default_factory=dict)

    def add(self, lines: Iterable[Correction]) -> None:
        """Take in lines whose ids are new, and bring the rows that they are about up to date."""
        lines = sorted(lines, key=place_in_time)
        newest = next(reversed(self.decisions.values()), None)
        is_later = newest is None or all(place_in_time(newest.line) < place_in_time(line) for line in lines[:1])
        self.by_id |= {line.correction_id: line for line in lines}
        self.taken_back |= undone(lines)
        changed: dict[str, None] = {}
        for line in lines:
            person = same_person(line.reviewer)
            self.last[person] = max(line, self.last.get(person, line), key=place_in_time)
            if line.action != "undo":
                self.of_sample.setdefault(line.sample_id, []).append(line)
                self.decisions[line.correction_id] = Decision(line, "active")
                changed[line.sample_id] = None
            elif (target := self.by_id.get(line.undoes or "")) and target.action != "undo":
                changed[target.sample_id] = None
        if not is_later:
            self.decisions = dict(sorted(self.decisions.items(), key=lambda item: place_in_time(item[1].line)))
        for sample_id in changed:
            self._resolve(sample_id)

    def _resolve(self, sample_id: str) -> None:
        """Set the states of the lines about a sample."""
        of_row = self.of_sample[sample_id]
        of_row.sort(key=place_in_time)
        resolved = resolve_row(line for line in of_row if not is_undone(line, self.taken_back))
        for line in of_row:
            state: State = "undone" if is_undone(line, self.taken_back) else "superseded"
            self.decisions[line.correction_id] = Decision(line, state)
        counting: tuple[tuple[State, tuple[Correction, ...]], ...] = (
            ("active", resolved.agreed), ("conflict", resolved.conflicts), ("settled", resolved.settled),
        )  # fmt: skip
        for state, lines in counting:
            for line in lines:
                self.decisions[line.correction_id] = Decision(line, state)
