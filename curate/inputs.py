"""What a curation is made from, as digests: tells whether a finished one is still current."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.readers import open_source, other_files
from curate.reading.rows import HOW_TO_FETCH
from curate.recipe import CurateRecipe
from curate.settings import SourceSettings
from curate.sources.files import files_of
from curate.steps import stamp
from curate.workspace import Workspace, read_batches
from winnow.corrections import read_corrections
from winnow.errors import UserError
from winnow.files import digest_of, sha256_file
from winnow.run import package_versions

_LOSS_COLUMNS = ("sample_id", "stage", "epoch", "loss")


def check_inputs(recipe: CurateRecipe) -> None:
    """Find out what is missing or unreadable before hours are spent on measuring.

    Raises:
        UserError: a source or evaluation set is not there or of no known layout, a file of losses or a
            line of corrections cannot be read.
    """
    for source in all_sources(recipe):
        open_source(source)
    if recipe.corrections:
        read_corrections(recipe.corrections)
    for name, path in recipe.signals.heads.items():
        if not path.is_file():
            raise UserError(f"{path}: no such file; `signals: heads:` names it for {name!r}")
    for path in recipe.losses:
        try:
            columns = pq.read_schema(path).names
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{path}: not readable as losses.parquet of a training run ({error})") from error
        absent = [name for name in _LOSS_COLUMNS if name not in columns]
        if absent:
            raise UserError(f"{path}: not readable as losses.parquet of a training run (no column {absent[0]!r})")


def input_digests(recipe: CurateRecipe) -> dict[str, str]:
    """Hex sha256 of every input by name: sources, evaluation sets, corrections, losses."""
    found = {source.location: _digest(source) for source in all_sources(recipe)}
    beside = {str(path): sha256_file(path) for source in all_sources(recipe) for path in other_files(source)}
    return {**found, **beside, **side_inputs(recipe)}


def side_inputs(recipe: CurateRecipe) -> dict[str, str]:
    """Digests of what is read anew by every decision: corrections, losses and linear heads."""
    corrections = sorted(recipe.corrections.glob("*.jsonl")) if recipe.corrections else []
    paths = [*corrections, *recipe.losses, *recipe.signals.heads.values()]
    return {str(path): sha256_file(path) for path in paths if path.is_file()}


def all_sources(recipe: CurateRecipe) -> list[SourceSettings]:
    """Sources and evaluation sets."""
    return [*recipe.sources, *(recipe.contamination.against if recipe.contamination else [])]


def resolved(recipe: CurateRecipe) -> dict[str, Any]:
    """The recipe as JSON without what changes no result; rules as a list, because their order matters."""
    whole = recipe.model_dump(mode="json", exclude={"signals": {"workers", "engine"}, "remote": set(HOW_TO_FETCH)})
    return {**whole, "rules": [{"name": name, **rule} for name, rule in whole["rules"].items()]}


def measured_from(recipe: CurateRecipe) -> str:
    """Digest of the part of a recipe that measuring depends on; prompt sets and heads only read what it stored."""
    sources, signals = [_read_from(one) for one in recipe.sources], resolved(recipe)["signals"]
    signals = {name: value for name, value in signals.items() if name not in ("prompts", "heads")}
    against = [_read_from(one) for one in all_sources(recipe)[len(sources) :]]
    remote = [resolved(recipe)["remote"]] if recipe.remote else []
    return digest_of([sources, signals, against, *remote])


def _read_from(source: SourceSettings) -> dict[str, Any]:
    return source.model_dump(mode="json", exclude={"license"})


def image_stamp(space: Workspace, root: Path) -> str:
    """Digest of name, size and time of every image file of a set."""
    seen = hashlib.sha256()
    for batch in read_batches(space.paths, ["path"]):
        for path in batch.column("path").to_pylist():
            seen.update(repr(stamp(root / path)).encode("utf-8", "surrogatepass"))
    return seen.hexdigest()


def _digest(source: SourceSettings) -> str:
    """Of a file its bytes; of a folder or pattern names and sizes; of the hub its commit; of a package its version."""
    if source.location.startswith("hub:"):
        from curate.readers.layouts.hub import local_folder, revision

        folder = local_folder(source.location)
        return digest_of([source.location, _names_and_sizes(folder) if folder else revision(source.location)])
    path = Path(source.location)
    if path.is_file():
        return sha256_file(path)
    if path.is_dir():
        return digest_of(_names_and_sizes(path))
    if matching := files_of(source.location, ()):
        return digest_of([[str(file), file.stat().st_size] for file in matching])
    return digest_of([source.location, package_versions()])


def _names_and_sizes(folder: Path) -> list[list[Any]]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [[str(file.relative_to(folder)), file.stat().st_size] for file in files]
