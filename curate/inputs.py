"""What a curation is made from: checked before the work begins, and as digests that show if a result is current."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.readers import open_source, other_files
from curate.readers.base import archives_of
from curate.readers.fetched import location_here
from curate.readers.ingest import HOW_TO_FETCH
from curate.readers.location import files_of
from curate.recipe import CurateRecipe, SourceSettings
from curate.workspace import Workspace
from winnow.corrections import MEANING, read_corrections
from winnow.errors import UserError
from winnow.files import digest_of, sha256_file
from winnow.images import UNAVAILABLE
from winnow.run import file_stats, package_versions
from winnow.storage import Object, StorageError, find_all, shown
from winnow.tables import read_batches

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
            columns = pq.read_schema(path).names
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


def input_digests(recipe: CurateRecipe) -> dict[str, str]:
    """Hex sha256 of every input by name: sources, evaluation sets, corrections, losses, picture gains, linear heads.

    Archives of images, like files of images, count by name, size and time.
    """
    sources = {source.location: source_digest(source) for source in all_sources(recipe)}
    beside = {shown(path): sha256_file(path) for source in all_sources(recipe) for path in other_files(source)}
    packed = {shown(path): digest_of(_stats(path)) for source in all_sources(recipe) for path in archives_of(source)}
    return {**sources, **beside, **packed, **decision_inputs(recipe)}


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


def _read_from(source: SourceSettings) -> dict[str, Any]:
    return source.model_dump(mode="json", exclude={"license"})


def image_files_digest(workspace: Workspace, root: Path, stored: Callable[[str], str | None]) -> str:
    """Digest of name, size and time of every image file of a set: changes when one of them does.

    Paths that preflight has refused, which lead out of the root or are no paths, are not looked at.

    Args:
        stored: address of an image on object storage, which is asked of the store: its file need not be here.
    """
    digest = hashlib.sha256()
    for batch in read_batches(workspace.paths, ["path", "error"]):
        refused = pc.is_in(batch.column("error"), pa.array(["outside_root", *UNAVAILABLE]))
        paths = batch.filter(pc.invert(refused)).column("path").to_pylist()
        addresses = [stored(path) for path in paths]
        objects = iter(find_all([url for url in addresses if url is not None]))
        for path, url in zip(paths, addresses, strict=True):
            stats: Any = _stats(root / path) if url is None else [url, _seen(next(objects))]
            digest.update(repr(stats).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _stats(path: Path) -> list[Any]:
    """``file_stats`` with a name that is the same on every machine if the file is in a mirror."""
    ((_, size, time),) = file_stats(path)
    return [[shown(path), size, time]]


def _seen(found: Object | StorageError | None) -> Any:
    if isinstance(found, StorageError):
        raise found
    return found and [found.size, found.time_ns]


def source_digest(source: SourceSettings) -> str:
    """Of a file its bytes; of a folder or pattern names and sizes; of the hub its commit; of a package its version."""
    if source.location.startswith("hub:"):
        from curate.readers.layouts.hub import local_folder, revision

        folder = local_folder(source.location)
        return digest_of([source.location, _names_and_sizes(folder) if folder else revision(source.location)])
    location = location_here(source.location)
    path = Path(location)
    if path.is_file():
        return sha256_file(path)
    if path.is_dir():
        return digest_of(_names_and_sizes(path))
    if matching := files_of(location, ()):
        return digest_of([[shown(file), file.stat().st_size] for file in matching])
    return digest_of([source.location, package_versions()])


def _names_and_sizes(folder: Path) -> list[list[Any]]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [[str(file.relative_to(folder)), file.stat().st_size] for file in files]
