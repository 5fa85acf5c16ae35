"""What a finished run has left in its folder: noted at its end, checked before the next, so that damage is made again.

``work/seal.json`` holds size, time, inode and sha256 of every file that Winnow has made there. Size and time are looked
at in every run, bytes only where these differ. While a run lasts there is no seal: what a killed one has left is whole,
because every file is written beside its place and renamed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from curate.inputs import named_by_rows
from curate.measure.store import Store, is_unchanged, surely_unchanged
from curate.workspace import LOOKS, SEAL, Workspace
from winnow.errors import UserError
from winnow.files import digest_of, read_json, sha256_file, write_state
from winnow.parquet.tables import row_count
from winnow.run import MANIFEST, Stages

_NOT_SEALED = frozenset({"lock", "state.json", SEAL, "digests.parquet"})  # of work/: in use, or checked by themselves
_MADE_HERE = ("work", "signals", "against")  # folders that hold nothing else
_LIST = "parts.json"  # of a table in parts
_STORED = "images"  # the store of images, whose files are named by their bytes
# Path in the folder → size, time, inode, sha256, and of signals in parts their rows. Of a store of images: their
# number, and a digest of their times.
Noted = Mapping[str, list[Any]]


def write_seal(workspace: Workspace, before: Noted) -> None:
    """Note every file of a finished run.

    Args:
        before: what was noted before the run; files that have kept their size, time and inode are not read again.
    """
    folder, known = workspace.folder, _outputs(workspace.folder)
    files: dict[str, list[Any]] = {}
    new: dict[str, list[int]] = {}
    for name in {*known, *_made_here(folder)}:
        path = folder / name
        if path.is_file():
            status = path.stat()
            facts = [status.st_size, status.st_mtime_ns, status.st_ino]
            if (noted := before.get(name, []))[:3] == facts:
                files[name] = noted
            else:
                new[name] = facts
    with ThreadPoolExecutor() as threads:
        digests = threads.map(lambda name: known.get(name) or sha256_file(folder / name), new)
        for (name, facts), digest in zip(new.items(), digests, strict=True):
            files[name] = [*facts, digest, *([row_count(folder / name)] if _is_image_part(Path(name)) else [])]
    for images in sorted(folder.glob(f"exports/*/{_STORED}")):
        files[str(images.relative_to(folder))] = [*_times(images)]
    stages = Stages(workspace.work)
    roots = {name: stages.get(f"{_label(name)}root") for name in ("", *_names(workspace))}
    sealed = {"files": files, "roots": roots}
    write_state(workspace.work / SEAL, {**sealed, "digest": digest_of(sealed)})


def sealed_files(workspace: Workspace) -> list[str]:
    """The files that the last finished run has left, by their paths in the folder; empty if that is not known."""
    return list(_sealed(workspace)["files"])


def break_seal(workspace: Workspace) -> Noted:
    """Take the seal away while a run changes files; returns what it noted."""
    noted: Noted = _sealed(workspace)["files"]
    (workspace.work / SEAL).unlink(missing_ok=True)
    return noted


def damaged_files(workspace: Workspace, *, whole: bool = False) -> list[str]:
    """Files that are gone, or are not what the last finished run has left, by their paths in the folder.

    Args:
        whole: read every file, also where size and time are as they were.
    """
    noted = _sealed(workspace)["files"]
    return [name for name, facts in noted.items() if not _is_intact(workspace.folder / name, facts, whole)]


def damaged_measurements(workspace: Workspace) -> list[str]:
    """Those of the damaged files that results are made from."""
    return [name for name in damaged_files(workspace) if name.partition("/")[0] in _MADE_HERE]


def heal(workspace: Workspace) -> list[str]:
    """Remove what is damaged, with what cannot be made again while it is there; returns the damaged files.

    The next run makes it again, and measures no other images than those whose signals are lost.
    """
    sealed, damaged = _sealed(workspace), damaged_files(workspace)
    noted, roots = sealed["files"], {name: Path(root).resolve() for name, root in sealed["roots"].items() if root}
    sets = {name: workspace.against(name) if name else workspace for name in roots}
    for name, each in sets.items():
        damaged += _lost_images(workspace.folder, each, roots[name])
    if not damaged:
        return []
    Stages(workspace.work).set("measured", None)
    break_seal(workspace)
    workspace.manifest.unlink(missing_ok=True)
    for path in [path for name in damaged for path in _falls_with(workspace.folder, Path(name))]:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    for set_name, each in sets.items():
        below = each.signals.relative_to(workspace.folder).as_posix()
        own = {name.removeprefix(f"{below}/"): noted[name] for name in damaged if name.startswith(f"{below}/")}
        _heal_signals(each, own, roots[set_name])
    return damaged


def _sealed(workspace: Workspace) -> dict[str, Any]:
    """``files``, a ``Noted``, and ``roots``: the folder that image paths of each set are relative to."""
    try:
        sealed = read_json(workspace.work / SEAL)
        intact = sealed.pop("digest") == digest_of(sealed)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        intact = False
    return sealed if intact else {"files": {}, "roots": {}}  # none, or damaged itself


def _names(workspace: Workspace) -> list[str]:
    """Names of the evaluation sets that were measured."""
    return sorted(unquote(path.name) for path in (workspace.folder / "against").glob("*"))


def _label(name: str) -> str:
    return f"{name}: " if name else ""


def _outputs(folder: Path) -> dict[str, str]:
    """Digests that manifests hold: of the results and of the exports, and of these manifests themselves."""
    if not (folder / MANIFEST).is_file():  # a comparison of sets, which has no result
        return {}
    made = read_json(folder / MANIFEST)
    found = {MANIFEST: sha256_file(folder / MANIFEST), **made["outputs"]}
    for export in map(Path, made["exports"]):
        if export.is_relative_to(folder):
            below = export.relative_to(folder)
            found[str(below / MANIFEST)] = sha256_file(export / MANIFEST)
            outputs = read_json(export / MANIFEST)["outputs"].items()
            found.update((str(below / name), digest) for name, digest in outputs)
    return found


def _made_here(folder: Path) -> Iterator[str]:
    for top in _MADE_HERE:
        for where, folders, names in os.walk(folder / top):
            below = Path(where).relative_to(folder)
            folders[:] = [name for name in folders if name != _STORED and not (below.name == "work" and name == LOOKS)]
            for name in names:
                if not name.endswith(".tmp") and not (below.name == "work" and name in _NOT_SEALED):
                    yield str(below / name)


def _is_intact(path: Path, noted: list[Any], whole: bool) -> bool:
    if len(noted) == 2:
        there = _times(path)
        as_noted = not whole and there == tuple(noted)
        return as_noted or (there[0] == noted[0] and all(map(_is_named, _below(path))))
    size, time, inode, digest = noted[:4]
    try:
        status = path.stat()
        if status.st_size != size:
            return False
        return (not whole and (status.st_mtime_ns, status.st_ino) == (time, inode)) or sha256_file(path) == digest
    except OSError:
        return False


def _lost_images(folder: Path, of: Workspace, root: Path) -> list[str]:
    """Files of a set's store of images that are gone or changed, by their paths in the curated folder."""
    stored = of.folder.resolve() / _STORED
    if not stored.is_relative_to(root):
        return []
    prefix = f"{stored.relative_to(root).as_posix()}/"
    try:
        if not of.paths.is_file():
            raise FileNotFoundError(of.paths)
        found = set[str]()
        for table in Store(of.signals).measured_paths():
            inside = pc.and_(pc.starts_with(table["path"], prefix), pc.is_valid(table["image_key"]))
            rows = table.filter(inside)
            rows = rows.filter(pa.array(~surely_unchanged(rows, str(root))))
            found.update(row["path"] for row in rows.to_pylist() if not is_unchanged(row, str(root), 1 << 62))
        lost = [path.removeprefix(prefix) for path in sorted(named_by_rows(of, found))]
    except (OSError, ValueError, pa.ArrowException, UserError):  # a table is damaged or gone: every file is looked at
        lost = [str(path.relative_to(of.folder / _STORED)) for path in _below(of.folder / _STORED)]
    return [str((of.folder / _STORED / name).relative_to(folder)) for name in lost if not _is_named(stored / name)]


def _is_named(file: Path) -> bool:
    """Whether a file of a store of images has the bytes that it is named by."""
    return file.is_file() and file.name.startswith(sha256_file(file))


def _below(folder: Path) -> Iterator[Path]:
    return (Path(where, name) for where, _, names in os.walk(folder) for name in names)


def _times(folder: Path) -> tuple[int, str]:
    """Number of files of a store of images, and a digest of their names, sizes and times."""
    found = sorted([path.name, (status := path.stat()).st_size, status.st_mtime_ns] for path in _below(folder))
    return len(found), digest_of(found)


def _falls_with(folder: Path, damaged: Path) -> Iterator[Path]:
    """What has to be removed with a damaged file: itself, and what is of no use, or never made again, without it."""
    parts = damaged.parts
    at = 2 if parts[0] == "against" else 0
    own, inner = folder.joinpath(*parts[:at]), parts[at:]
    listed = folder / damaged.parent / _LIST
    yield folder / damaged
    if inner[0] == "exports":
        yield own.joinpath(*inner[:2])
    elif inner[0] == _STORED:
        yield from (*own.glob("work/rows*"), own / "work/read")
    elif inner == ("signals", "paths.parquet"):
        signals = own / "signals"  # which images its parts are of is not known any more
        yield from (*signals.glob("part-*.parquet"), signals / ".cache", signals / "journal")
        yield from (*own.glob("work/rows*"), own / "work/read")  # nor which stored images there were
    elif damaged.name != _LIST and listed.is_file():
        yield listed
    elif damaged.name != _LIST and inner[0] == "work" and len(inner) > 2:
        yield own.joinpath(*inner[:2])


def _is_image_part(name: Path) -> bool:
    return name.parent.name == "signals" and name.name.startswith("part-")


def _heal_signals(of: Workspace, damaged: Noted, root: Path) -> None:
    """Note again what is lost of a set's signals: the times of its files, and which images a lost part was of."""
    if not of.paths.is_file():
        return
    store = Store(of.signals)
    if ".cache/stat.parquet" in damaged:
        store.note_times(root)
    lost = [(name, facts[4]) for name, facts in sorted(damaged.items()) if name.startswith("part-")]
    if lost:
        store.note_lost(lost)
