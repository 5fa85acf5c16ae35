"""What lies below the data folder: curated sets, training runs, evaluations, finished or not."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from dashboards.data.engine import Connection, cached, connect
from dashboards.settings import moved_image_roots
from winnow.errors import UserError
from winnow.files import read_json
from winnow.remote.addresses import local
from winnow.run import MANIFEST, read_manifest

Kind = Literal["curated", "runs", "evals"]
MAKE = {
    "curated": "curate run RECIPE",
    "runs": "finetune train RECIPE",
    "evals": "evalsuite run RECIPE",
}
_NEEDED = {
    "curated": ("samples.parquet", "decisions.parquet"),
    "runs": ("metrics.jsonl",),
    "evals": ("predictions.parquet", "scores.json"),
}


@dataclass(frozen=True)
class Folder:
    """One result folder.

    Attributes:
        name: the folder's own name; the only thing a URL may say about it.
        fingerprint: changes whenever one of its files does; part of every cache key.
        problem: '' for a finished folder, else one sentence that says how to finish it.
    """

    kind: Kind
    name: str
    path: Path
    fingerprint: str
    problem: str = ""

    @property
    def root(self) -> Path:
        """The data folder in which it lies."""
        return self.path.parents[1]

    @property
    def connection(self) -> Connection:
        """The sandboxed connection that reads the data folder."""
        return connect(self.root)

    def file(self, name: str) -> str:
        """Path of a file in the folder as DuckDB takes it: it reads ``*``, ``?`` and ``[`` as wildcards."""
        return glob.escape(str(self.path / name))


@dataclass(frozen=True)
class Catalog:
    """All result folders of the data folder ``root``, newest first within a kind."""

    folders: tuple[Folder, ...]
    root: Path

    def finished(self, kind: Kind) -> list[Folder]:
        """Folders of a kind that can be shown."""
        return [folder for folder in self.folders if folder.kind == kind and not folder.problem]

    def broken(self) -> list[Folder]:
        """Folders that cannot be shown, each with its sentence."""
        return [folder for folder in self.folders if folder.problem]

    def find(self, kind: Kind, name: str) -> Folder | None:
        """The finished folder of that name, or None. Names are compared, never joined to a path."""
        return next((folder for folder in self.finished(kind) if folder.name == name), None)


def scan(root: Path) -> Catalog:
    """List ``root/curated/*``, ``root/runs/*`` and ``root/evals/*``. Reads manifests, no tables."""
    paths = [(kind, path) for kind in get_args(Kind) for path in _subfolders(root / kind)]
    paths.sort(key=lambda item: (-_modified(item[1]), item[1].name))
    return Catalog(tuple(_folder(kind, path) for kind, path in paths), root)


def find_folder(root: Path, kind: Kind, name: str) -> Folder | None:
    """One folder of ``scan``, finished or not, without reading the others."""
    return next((_folder(kind, path) for path in _subfolders(root / kind) if path.name == name), None)


def manifest_of(folder: Folder) -> Mapping[str, Any]:
    """The folder's manifest.

    Raises:
        UserError: it is gone or unreadable.
    """
    return _json_object(folder.path / MANIFEST, folder.fingerprint)


def scores_of(folder: Folder) -> Mapping[str, Any]:
    """``scores.json`` of an evaluation; raises like ``manifest_of``."""
    return _json_object(folder.path / "scores.json", folder.fingerprint)


def image_root(folder: Folder, task: str) -> Path | None:
    """The folder below which the images of a curated set or of an evaluation's task lie; None if there is none."""
    return next((place for place in image_places(folder, task) if place.is_dir()), None)


def image_places(folder: Folder, task: str) -> tuple[Path, ...]:
    """Where that folder may be, the first choice first; empty if none is recorded.

    A run that was told a relative path recorded it as it stood in the working directory of the run, which is nearly
    always the parent of the data folder.
    """
    recorded = manifest_of(folder).get("image_root")
    if isinstance(recorded, Mapping):
        recorded = recorded.get(task)
    if not isinstance(recorded, str) or not recorded:
        return ()
    root = local(recorded)
    for old, new in moved_image_roots():
        if root.is_relative_to(old):
            return (new / root.relative_to(old),)
    # A path that is absolute stays what it is in all three.
    return tuple(dict.fromkeys((root.absolute(), folder.root / root, folder.root.parent / root)))


def lost_images(folder: Folder, task: str) -> str:
    """One sentence where the images of a curated set or of an evaluation's task are not to be found; '' if they are."""
    places = image_places(folder, task)
    if not places or any(place.is_dir() for place in places):
        return ""
    return (
        f"images of {folder.name} are looked for in {', '.join(map(str, places))};"
        f" {'it does not exist' if len(places) == 1 else 'none exists'}; start with --image-root OLD=NEW"
    )


def _subfolders(parent: Path) -> list[Path]:
    try:
        return [path for path in parent.iterdir() if path.is_dir() and not path.name.startswith(".")]
    except OSError:  # not there, or not ours to read
        return []


def _folder(kind: Kind, path: Path) -> Folder:
    fingerprint = _fingerprint(path, (*_NEEDED[kind], MANIFEST))
    return Folder(kind, path.name, path, fingerprint, _problem(kind, path, fingerprint))


@cached(256)
def _problem(kind: Kind, path: Path, fingerprint: str) -> str:
    try:
        loaded = read_manifest(path, finish_with=MAKE[kind])
    except (UserError, OSError) as error:
        return str(error)
    if not isinstance(loaded, dict):
        return f"{path / MANIFEST}: is not a JSON object; remake it with `{MAKE[kind]}`"
    missing = [name for name in _NEEDED[kind] if not (path / name).is_file()]
    return f"{path}: {missing[0]} is missing; remake it with `{MAKE[kind]}`" if missing else ""


def _fingerprint(path: Path, names: tuple[str, ...]) -> str:
    digest = hashlib.sha256(str(path).encode())
    for name in names:
        try:
            stat = (path / name).stat()
        except OSError:
            digest.update(f"{name} missing".encode())
        else:
            digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _modified(path: Path) -> float:
    try:
        return (path / MANIFEST).stat().st_mtime
    except OSError:
        return 0.0


@cached(256)
def _json_object(path: Path, fingerprint: str) -> Mapping[str, Any]:
    """Read once per ``fingerprint``, which is only part of the cache key."""
    try:
        loaded = read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); remake the folder") from error
    if not isinstance(loaded, dict):
        raise UserError(f"{path}: is not a JSON object; remake the folder")
    return loaded
