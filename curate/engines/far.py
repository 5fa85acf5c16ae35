"""What another machine of a cluster sees of the files of the machine that runs the command, and how it gets the others.

A part task reads and writes files below the folder of the result. Where that folder is shared, workers use it. Where
it is not, they work in a folder of their own: what a task reads comes, and what it writes goes, through Ray to an actor
beside the command. Sources and images must be seen: on a shared file system at the same path, or on object storage.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.engines.worker import Unreachable
from winnow import storage
from winnow.errors import UserError
from winnow.files import atomic_path, write_text

_MARK = ".seen.tmp"  # removed and left out as all unfinished files are


@dataclass(frozen=True, slots=True)
class Sight:
    """Something on the machine that runs the command, by which another one tells whether it sees the same files.

    Attributes:
        path: of a file or folder.
        text: what the file holds; None if its being there suffices.
    """

    path: str
    text: str | None = None

    @classmethod
    def of(cls, folder: Path) -> Sight:
        """A folder, by whatever is in it."""
        with os.scandir(folder) as entries:
            return cls(f"{folder.absolute()}/{next((entry.name for entry in entries), '')}")

    @classmethod
    def marked(cls, folder: Path) -> Sight:
        """A folder that is written to, by a file that no copy of it holds."""
        mark, text = folder.absolute() / _MARK, uuid.uuid4().hex
        write_text(mark, text)
        return cls(str(mark), text)

    @property
    def folder(self) -> str:
        """The folder."""
        return os.path.dirname(self.path)  # noqa: PTH120 (pathlib drops the slash of an empty name)

    def is_seen(self) -> bool:
        """Whether this process sees it."""
        if self.text is None:
            return os.path.lexists(self.path)
        try:
            return Path(self.path).read_text(encoding="utf-8") == self.text
        except (OSError, ValueError):
            return False

    def demand(self) -> None:
        """Refuse to say anything about the files of a folder that is not there.

        Raises:
            Unreachable: it is not seen.
        """
        if not self.is_seen():
            raise Unreachable(
                f"{socket.gethostname()} does not see {self.folder}: every machine of the cluster needs it at the same"
                " path, on a shared file system; or put it on object storage"
            )


class Files:
    """The files of a result's folder, served to workers that do not see it: an actor beside the command."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None if there is none."""
        path = self._path(name)
        return path.read_bytes() if path.is_file() else None

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all.

        Raises:
            UserError: it cannot be written.
        """
        path = self._path(name)
        try:
            with atomic_path(path) as temporary:
                temporary.write_bytes(data)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error

    def _path(self, name: str) -> Path:
        path = self._folder / name
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise ValueError(f"{name}: is not below {self._folder}")
        return path


@dataclass(frozen=True)
class Job:
    """What the tasks of one pool have in common.

    Attributes:
        name: unique; workers that outlive a run ask stores again for the next one.
        cwd: of the command, which relative paths start from.
        needed: what a machine has to see.
        result: the folder that parts are made in; None for tasks that write no files.
        files: the actor that serves it.
    """

    name: str
    cwd: str
    needed: Sequence[Sight] = ()
    result: Sight | None = None
    files: Any = None

    @contextlib.contextmanager
    def at_work(self, batch: list[Any]) -> Iterator[list[Any]]:
        """The items with paths that this machine can read and write; what was written there arrives at the end.

        Raises:
            Unreachable: sources or images are not seen, or the machine that runs the command does not answer.
            UserError: it cannot write.
        """
        _begin(self)
        for sight in self.needed:
            sight.demand()
        if self.result is None or self.result.is_seen():
            yield batch
            return
        with tempfile.TemporaryDirectory(prefix="winnow-") as place:
            there, here = Path(self.result.folder), Path(place)
            brought = self._bring(batch, there, here)
            yield [moved(item, there, here) for item in batch]
            self._send(batch, there, here, brought)

    def _bring(self, batch: Sequence[Any], there: Path, here: Path) -> set[str]:
        brought = set()
        for name in dict.fromkeys(path.relative_to(there).as_posix() for path in paths_in(batch, there)):
            data = self._asked(self.files.read.remote(name))
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            if data is not None:
                (here / name).write_bytes(data)
                brought.add(name)
        return brought

    def _send(self, batch: Sequence[tuple[Path, Any]], there: Path, here: Path, brought: set[str]) -> None:
        """The file of an item goes last: where it is, so is all that belongs to it."""
        last = [path.relative_to(there).as_posix() for path, _ in batch]
        made = {path.relative_to(here).as_posix() for path in here.rglob("*") if path.is_file()}
        for name in sorted(made - brought, key=lambda name: (name in last, name)):
            self._asked(self.files.write.remote(name, (here / name).read_bytes()))

    def _asked(self, answer: Any) -> Any:
        import ray

        try:
            return ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise Unreachable(f"the machine that runs the command does not answer ({type(error).__name__})") from None


_begun: str | None = None  # the job that this process works for


def _begin(job: Job) -> None:
    global _begun
    if _begun != job.name:
        storage.look_again()
        with contextlib.suppress(OSError):
            os.chdir(job.cwd)
        _begun = job.name


def paths_in(value: Any, below: Path) -> Iterator[Path]:
    """The paths below a folder in tuples, lists, dicts and dataclasses."""
    if isinstance(value, Path):
        if value.is_relative_to(below):
            yield value
    else:
        for inner in _inside(value):
            yield from paths_in(inner, below)


def moved(value: Any, there: Path, here: Path) -> Any:
    """The value with paths below ``here`` for those below ``there``, as ``paths_in`` finds them."""
    return _mapped(value, lambda path: here / path.relative_to(there) if path.is_relative_to(there) else path)


def absolute(value: Any) -> Any:
    """The value with absolute paths: workers may have another working folder."""
    return _mapped(value, Path.absolute)


def _mapped(value: Any, change: Callable[[Path], Path]) -> Any:
    if isinstance(value, Path):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(inner, change) for key, inner in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_mapped(inner, change) for inner in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        changed = {name: _mapped(inner, change) for name, inner in fields.items()}
        new = {name: inner for name, inner in changed.items() if inner is not fields[name]}
        return dataclasses.replace(value, **new) if new else value
    return value


def _inside(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return list(value.values())
    if type(value) in (tuple, list):
        return list(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return []
