"""What another machine of a cluster sees of the files of the machine that runs the command, and how it gets the others.

A part task reads and writes files below the folder of the result. Where that folder is shared, workers use it. Where
it is not, they work in a folder of their own: what a task reads comes with it, and what it writes goes back with its
results, through Ray's object store. Sources and images must be seen: on a shared file system at the same path, or on
object storage.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.engines.worker import Unreachable
from winnow.errors import UserError
from winnow.files import atomic_path, write_text
from winnow.remote import storage


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
        mark, text = folder.absolute() / ".seen.tmp", uuid.uuid4().hex
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


@dataclass(frozen=True)
class Job:
    """What the tasks of one pool have in common.

    Attributes:
        name: unique; workers that outlive a run ask stores again for the next one.
        cwd: of the command, which relative paths start from.
        needed: what a machine has to see.
        result: the folder that parts are made in; None for tasks that write no files.
    """

    name: str
    cwd: str
    needed: Sequence[Sight] = ()
    result: Sight | None = None

    def begin(self) -> None:
        """Make this process ready for a task.

        Raises:
            Unreachable: sources or images are not seen.
        """
        global _begun
        if _begun != self.name:
            storage.look_again()
            with contextlib.suppress(OSError):
                os.chdir(self.cwd)
            _begun = self.name
        for sight in self.needed:
            sight.demand()

    def done(self, work: Work, batch: list[Any], brought: Mapping[str, bytes] | None) -> Done | None:
        """Do the work on a batch, where the files of the result are or in a folder of this machine.

        Args:
            brought: what ``contents`` gives; None if the machine that asks does not know that it is needed.

        Returns:
            None if it is.

        Raises:
            Unreachable: as of ``begin``.
        """
        self.begin()
        if self.result is None or self.result.is_seen():
            return work(batch), {}
        if brought is None:
            return None
        with tempfile.TemporaryDirectory(prefix="winnow-") as place:
            there, here = Path(self.result.folder), Path(place)
            for name, data in brought.items():
                (here / name).parent.mkdir(parents=True, exist_ok=True)
                (here / name).write_bytes(data)
            for path in paths_in(batch, there):
                (here / path.relative_to(there)).parent.mkdir(parents=True, exist_ok=True)
            results = work([moved(item, there, here) for item in batch])
            made = {path.relative_to(here).as_posix(): path for path in here.rglob("*") if path.is_file()}
            return results, {name: path.read_bytes() for name, path in made.items() if name not in brought}


Work = Callable[[list[Any]], list[Any]]
Done = tuple[list[Any], dict[str, bytes]]  # results, and what was written elsewhere: file below the folder → bytes


def keep(result: Sight, batch: Sequence[Any], made: Mapping[str, bytes]) -> None:
    """Write what another machine has made; the file of an item last: where it is, so is all that belongs to it.

    Raises:
        UserError: it cannot be written.
    """
    folder = Path(result.folder)
    last = {path.relative_to(folder).as_posix() for path, *_ in batch} if made else set()
    for name in sorted(made, key=lambda name: (name in last, name)):
        try:
            with atomic_path(folder / name) as temporary:
                temporary.write_bytes(made[name])
        except OSError as error:
            raise UserError(f"{folder / name}: cannot be written ({error.strerror or error})") from error


_begun: str | None = None  # the job that this process works for


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
