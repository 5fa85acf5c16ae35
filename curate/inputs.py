"""What a curation is made from: checked before the work begins, and as digests that show if a result is current."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.content import as_text, files_content, folder_content
from curate.kinds import EDITS
from curate.measure.store import Store, is_unchanged, surely_unchanged
from curate.readers import LAYOUTS, layout_of, open_source, other_files
from curate.readers.base import archives_of, folder_of, given_root, links_within
from curate.readers.fetched import here
from curate.readers.ingest import HOW_TO_FETCH
from curate.readers.location import files_of
from curate.recipe import CurateRecipe
from curate.settings.copies import DuplicateSettings, sought
from curate.settings.sources import SourceSettings
from curate.workspace import StoredPaths, Workspace
from winnow.corrections import MEANING, read_corrections
from winnow.digests import Digests
from winnow.errors import UserError
from winnow.files import digest_of, open_regular, sha256_file
from winnow.media.images import UNAVAILABLE
from winnow.media.locate import unavailable_class
from winnow.remote.addresses import StorageError, shown
from winnow.remote.storage import AT_ONCE, Object, find_all, is_denied

_LOSS_COLUMNS = ("sample_id", "stage", "epoch", "loss")
_GAIN_COLUMNS = ("sample_id", "loss", "picture_gain")


def all_sources(recipe: CurateRecipe) -> list[SourceSettings]:
    """Sources and evaluation sets."""
    return [*recipe.sources, *(recipe.contamination.against if recipe.contamination else [])]


def check_inputs(recipe: CurateRecipe) -> None:
    """Find out what is missing or unreadable before hours are spent on measuring.

    Raises:
        UserError: a source or evaluation set does not exist or has no known layout; a linear head, a file
            of losses or a line of corrections cannot be read.
    """
    for source in all_sources(recipe):
        open_source(source)
    if recipe.corrections:
        read_corrections(recipe.corrections)
    for name, head in recipe.signals.heads.items():
        if not head.file.is_file():
            raise UserError(f"{head.file}: no such file; `signals: heads:` names it for {name!r}")
    _check_columns(recipe.losses, _LOSS_COLUMNS, "losses.parquet of a training run")
    _check_columns(gains_of(recipe), _GAIN_COLUMNS, "a file of `finetune score`")


def _check_columns(paths: Sequence[Path], wanted: Sequence[str], what: str) -> None:
    for path in paths:
        try:
            with open_regular(path) as file:
                columns = pq.read_schema(file).names
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{path}: not readable as {what} ({error})") from error
        absent = [name for name in wanted if name not in columns]
        if absent:
            raise UserError(f"{path}: not readable as {what} (no column {absent[0]!r})")


def gains_of(recipe: CurateRecipe) -> list[Path]:
    """The files of ``finetune score`` that the recipe names."""
    return recipe.answers.gains if recipe.answers else []


def resolved(recipe: CurateRecipe) -> dict[str, Any]:
    """The recipe as JSON without what changes no result; rules as a list, because their order matters."""
    whole = recipe.model_dump(mode="json", exclude={"signals": {"workers", "engine"}, "remote": set(HOW_TO_FETCH)})
    return {**whole, "rules": [{"name": name, **rule} for name, rule in whole["rules"].items()]}


def input_digests(recipe: CurateRecipe, digests: Digests) -> dict[str, str]:
    """Hex sha256 of every input by name: sources, evaluation sets, corrections, losses, picture gains, linear heads."""
    return {**source_inputs(recipe, digests), **decision_inputs(recipe)}


def source_inputs(recipe: CurateRecipe, digests: Digests) -> dict[str, str]:
    """Digests of sources and evaluation sets, of what they read beside their locations, and of archives of images."""
    sources = all_sources(recipe)
    beside = (path for source in sources for path in (*other_files(source), *archives_of(source)))
    return {
        **{source.location: source_digest(source, digests, recipe.folder) for source in sources},
        **{shown(as_text(path)): digests.of(path) for path in beside},
    }


def decision_inputs(recipe: CurateRecipe) -> dict[str, str]:
    """Digests of what every decision reads again: corrections, losses, picture gains and linear heads."""
    return {
        **_digests([*recipe.losses, *gains_of(recipe), *(head.file for head in recipe.signals.heads.values())]),
        **correction_inputs(recipe),
    }


def correction_inputs(recipe: CurateRecipe) -> dict[str, str]:
    """Digests of reviewers' corrections and of what they mean."""
    corrections = sorted(recipe.corrections.glob("*.jsonl")) if recipe.corrections else []
    return _digests(corrections) | ({"meaning of corrections": digest_of(MEANING)} if corrections else {})


def _digests(paths: Sequence[Path]) -> dict[str, str]:
    return {str(path): sha256_file(path) for path in paths if path.is_file()}


def measured_from(recipe: CurateRecipe) -> str:
    """Digest of the part of a recipe that measuring depends on; prompt sets and heads only read what it stored."""
    sources, signals = [_read_from(source) for source in recipe.sources], resolved(recipe)["signals"]
    signals = {name: value for name, value in signals.items() if name not in ("prompts", "heads")}
    against = [_read_from(source) for source in all_sources(recipe)[len(sources) :]]
    remote = [resolved(recipe)["remote"]] if recipe.remote else []
    return digest_of([sources, signals, against, *remote])


def edits_sought(recipe: CurateRecipe) -> tuple[bool, bool]:
    """Whether edited copies are sought at all, and in evaluation sets: only then are keypoints measured."""
    among = (recipe.duplicates or DuplicateSettings()).kinds if recipe.duplicates or recipe.splits else {}
    leaks = recipe.contamination.kinds if recipe.contamination else among
    own, other = (not set(EDITS).isdisjoint(sought(kinds)) for kinds in (among, leaks))
    return own or other, other


def _read_from(source: SourceSettings) -> dict[str, Any]:
    return source.model_dump(mode="json", exclude={"license"})


def changed_images(
    workspace: Workspace, root: Path, max_bytes: int, stored: Callable[[str], str | None], *, whole: bool = False
) -> tuple[set[str], bool]:
    """Paths of a set's images that are not as they were when they were measured.

    What stands in place of a path (``winnow.media.locate.unavailable``) is not looked at.

    Args:
        stored: address of an image on object storage, which is asked of the store: its file need not be here.
        whole: read every file, also where size and times are as they were.

    Returns:
        The paths, and whether ``Store.note_times`` would save the next look the reading of files.
    """
    folder, found, only_files, read = str(root.resolve()), set[str](), True, False
    for table in Store(workspace.signals).measured_paths():
        rows = table.filter(pa.array(~_without_path(table)))
        addresses = list(map(stored, rows["path"].to_pylist()))
        is_file = pa.array([url is None for url in addresses], pa.bool_())
        objects = find_all([url for url in addresses if url is not None])
        kept = rows.filter(pc.invert(is_file)).to_pylist()
        found.update(row["path"] for row, seen in zip(kept, objects, strict=True) if not _is_same_object(row, seen))
        denied = [row["path"] for row in kept if row["error"] == "remote_denied"]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            still = threads.map(is_denied, filter(None, map(stored, denied)))
            found.update(path for path, as_it_was in zip(denied, still, strict=True) if not as_it_was)
        rows = rows.filter(is_file)
        only_files &= not objects
        files = (rows if whole else rows.filter(pa.array(~surely_unchanged(rows, folder)))).to_pylist()
        with ThreadPoolExecutor() if whole else contextlib.nullcontext() as threads:
            check = functools.partial(is_unchanged, root=folder, max_bytes=max_bytes, whole=whole)
            same = threads.map(check, files) if threads else map(check, files)
            found.update(row["path"] for row, as_it_was in zip(files, same, strict=True) if not as_it_was)
        read |= any(row["image_key"] is not None for row in files)
    return named_by_rows(workspace, found), read and only_files


def named_by_rows(workspace: Workspace, paths: set[str]) -> set[str]:
    """Those of some paths of images that a row names; what no row names any more may change or go."""
    return {path for path in StoredPaths(workspace.rows) if path in paths} if paths else set()


def _without_path(rows: pa.Table) -> NDArray[np.bool_]:
    """Which rows of ``Store.measured_paths`` name no file, but what stands in place of one."""
    found: NDArray[np.bool_] = pc.is_in(rows["error"], pa.array([*UNAVAILABLE])).to_numpy()
    for at in np.flatnonzero(found).tolist():
        found[at] = unavailable_class(rows["path"][at].as_py()) is not None
    return found


def _is_same_object(row: Mapping[str, Any], found: Object | StorageError | None) -> bool:
    """Whether an object is that of a row of ``Store.measured_paths``."""
    if row["error"] == "remote_denied":
        return True  # only asking for it again tells
    if isinstance(found, StorageError):
        if found.kind == "remote_denied":
            return False
        raise found
    if found is None:
        return row["image_key"] is None
    return (found.size, found.time_ns) == (row["size"], row["mtime_ns"])


def source_digest(source: SourceSettings, digests: Digests, curated: Path) -> str:
    """Of files and folders what they hold (``curate.content``); of the hub its commit.

    Args:
        curated: the folder of the result, which is no part of a source that it lies in.
    """
    if source.location.startswith("hub:"):
        from curate.readers.layouts.hub import local_folder, revision

        folder = local_folder(source.location)
        held = _held_in(folder, source, digests, curated) if folder else revision(source.location)
        return digest_of([source.location, held])
    source = here(source)
    path, root = Path(source.location), given_root(source)
    held = _held(path, source, digests, curated)
    if root in (None, path) or layout_of(source) != "image_folder":
        return held
    return digest_of([held, _held_in(root, source, digests, curated)])  # its tables and images are read from there


def _held_in(folder: Path, source: SourceSettings, digests: Digests, curated: Path) -> str:
    return folder_content(folder, links_within(folder, source), digests, leave_out=curated)


def _held(path: Path, source: SourceSettings, digests: Digests, curated: Path) -> str:
    if path.is_file():
        return digests.of(path)
    if path.is_dir():
        return _held_in(path, source, digests, curated)
    if matching := files_of(source.location, ()):
        return files_content(matching, digests)
    of_package = LAYOUTS[layout_of(source)].image_root
    folder = of_package(source) if of_package is not None else folder_of(source)
    return _held_in(folder, source, digests, curated)
