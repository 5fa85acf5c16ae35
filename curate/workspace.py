"""The map of a curated folder: where each file of one curation lies, who may write there, and its rows as streams."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import filelock

from winnow.errors import UserError, disk_problem
from winnow.files import file_name, locked
from winnow.parquet.table_parts import Parts
from winnow.parquet.tables import remove_spilled
from winnow.run import MANIFEST
from winnow.selections import PROOFS

ASSIGNED_SPLIT = "assigned_split"  # column of samples.parquet
STORED_IMAGES = "images"  # embedded and downloaded images (`curate.readers.images.store`)
UNFINISHED_IMAGES = f"{STORED_IMAGES}/.unfinished"  # where the store of images writes before it renames
_LOCK = "lock"
# What belongs to one result only: its manifest, its lock, and what people have made from it.
_RECIPE = "recipe.yaml"
LOOKS = "looks"  # of work/: what the search for edited copies reads, made again where it is not there
SEAL = "seal.json"  # of work/: what the last finished run has left (`curate.seal`)
_OWN = {MANIFEST, _LOCK, _RECIPE, SEAL, "plots", "exports", PROOFS}


class _Path:
    """A file or folder of a workspace, by its path in the curated folder."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __get__(self, workspace: Workspace, _: object) -> Path:
        return workspace.folder / self._path


class _Table(_Path):
    """A table in parts, by the path of its folder."""

    def __get__(self, workspace: Workspace, _: object) -> Parts:  # type: ignore[override]
        return Parts(workspace.folder / self._path)


@dataclass(frozen=True)
class Workspace:
    """A curated folder: results at the top, intermediate tables under ``work/``."""

    folder: Path

    recipe = _Path(_RECIPE)  # of `curate run LOCATION`, which has none of its user's
    work = _Path("work")  # intermediate tables; safe to delete, the next run makes them again
    digests = _Path("work/digests.parquet")  # of the sources' files, by size and times: those are not read again
    read = _Path("work/read")  # what was made of each source, or range of a file, that was read
    rows = _Table("work/rows")  # every input row as it was read
    corrected = _Table("work/corrected")  # every input row after corrections, with its image keys
    row_keys = _Table("work/row_keys")  # the corrected rows as numbers, which joins and comparisons read
    shown_keys = _Table("work/shown_keys")  # the images of each part of these, and their paths
    row_hashes = _Table("work/row_hashes")  # what rows are compared by, as hashes
    judged = _Path("work/judged")  # by stage (``curate.rules.order``) the rules that fired on each row
    images = _Path(STORED_IMAGES)
    signals = _Path("signals")  # the folder of image and text signals
    paths = _Path("signals/paths.parquet")  # image path → image key, or what is wrong with the file
    text = _Table("signals/text")  # text signals by sample_id
    itm = _Path("signals/itm.parquet")  # score of images with their texts by sample_id, if the recipe names a model
    scores = _Path("signals/scores.parquet")  # scores of prompt sets and heads by image_key, if the recipe has any
    duplicate_images = _Path("duplicates.parquet")  # near-identical images: member, representative, distances
    comparable_rows = _Path("work/comparable_rows.arrow")  # rows that may repeat or contradict another one, as numbers
    kept = _Path("work/kept.arrow")  # what was found among them (``curate.duplicates.kept``)
    edited_links = _Path("work/edited_links.parquet")  # rows about edited copies → rows about what they copy
    duplicate_rows = _Table("work/duplicate_rows")  # rows that repeat or contradict another one, by ``row`` of a part
    text_keys = _Path("work/text_keys")  # by field the texts of each row as digests, with shingles and signatures
    text_pairs = _Path("work/text_pairs")  # by field the texts that are nearly the same
    similar_texts = _Path("work/similar_texts.parquet")  # rows whose text is nearly that of another row
    text_leaks = _Path("work/text_leaks.parquet")  # rows with a question and answer of an evaluation set
    neighbours = _Path("work/neighbours.parquet")  # what the answers about similar pictures say about each row's
    read_answers = _Path("work/read_answers.parquet")  # what the text in the pictures says of each row's answer
    answers = _Path("answers.parquet")  # signals of wrong answers, and `suspect`, by position, if the recipe has any
    semantic_images = _Path("semantic.parquet")  # clusters of images by embedding, if the recipe asks for them
    splits = _Path("work/splits.parquet")  # the split of every row, if the recipe asks for splits
    contaminated = _Path("work/contaminated")  # by evaluation set, what was found in each part of the rows
    # Rows that also occur in an evaluation set, before anything is decided.
    contamination_rows = _Path("work/contamination_rows.parquet")
    # Per evaluation set: how large it is, and how many of its images were found.
    contamination_counts = _Path("work/contamination_counts.json")
    # Rows that also occur in an evaluation set, how they match, and what was decided about them.
    contamination = _Path("contamination.parquet")
    contamination_report = _Path("contamination.json")  # the same, counted per evaluation set
    corrections = _Path("corrections.json")  # what became of each reviewer's line
    decisions = _Path("decisions.parquet")  # one decision per row
    samples_table = _Path("samples.parquet")  # every input row with its decision
    samples = _Path("samples.jsonl")  # the curated set: kept and flagged rows as JSONL
    ledger = _Path("ledger.jsonl")  # dropped and flagged rows with their rules, as JSONL
    card = _Path("README.md")  # the dataset card
    manifest = _Path(MANIFEST)  # written last; without it there is no result

    def samples_of(self, split: str) -> Path:
        """The rows of the curated set that are in one split, as JSONL."""
        return self.folder / f"samples-{split}.jsonl"

    def against(self, name: str) -> Workspace:
        """The evaluation set ``name``, read and measured."""
        return Workspace(self.folder / "against" / file_name(name))

    def model_folder(self, name: str) -> Path:
        """Where the table of a slow image model lies (``curate.measure.image_models``)."""
        return self.signals / name

    def model_failures(self, name: str) -> Path:
        """What a slow image model could not read in the last run; absent if it read everything."""
        return self.model_folder(name) / "failed.json"

    def model_parts(self) -> list[Path]:
        """Parquet parts of all slow image models."""
        return sorted(self.signals.glob("*/part-*.parquet"))

    def image_parts(self) -> list[Path]:
        """Parquet parts of the image signals, in order."""
        return sorted(self.signals.glob("part-*.parquet"))


@contextlib.contextmanager
def of_this_version(workspace: Workspace) -> Iterator[None]:
    """Run queries on stored signals that an earlier Winnow may have written.

    Raises:
        UserError: they lack a column that this version reads.
    """
    try:
        yield
    except duckdb.BinderException as error:
        raise UserError(
            f"{workspace.folder}: was measured by another version of Winnow;"
            " bring it up to date with `curate run RECIPE`"
        ) from error


@contextlib.contextmanager
def sole_use(workspace: Workspace) -> Iterator[None]:
    """Hold the folder's lock, and remove what a killed run has half-written.

    Raises:
        UserError: another process is at work there, or the folder cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            workspace.work.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(workspace.work / _LOCK, wait=False))
        except filelock.Timeout:
            raise UserError(f"{workspace.folder}: another curate is at work there; wait for it, or end it") from None
        except OSError as error:
            problem = disk_problem(error, workspace.folder) or f"{workspace.folder}: cannot be written ({error})"
            raise UserError(problem) from error
        for leftover in _unfinished(workspace.folder):
            leftover.unlink()
        remove_spilled(workspace.work)
        yield


def _unfinished(folder: Path) -> Iterator[Path]:
    """Temporary files below a folder; does not walk through a store of images, which has its own place for them."""
    store_place = Path(UNFINISHED_IMAGES).name
    for where, folders, files in os.walk(folder):
        folders[:] = [store_place] if store_place in folders else folders
        yield from (Path(where, name) for name in files if name.startswith(".") and name.endswith(".tmp"))


def copy_measurements(source: Workspace, target: Workspace) -> None:
    """Give ``target`` what was measured in ``source``, so that it can be decided there too.

    Files are linked, not copied, where the disk allows: they are replaced whole, or opened by ``open_to_append``.

    Raises:
        UserError: nothing was measured in ``source``, or ``target`` is part of it or holds something else.
    """
    into = target.folder
    if not source.paths.is_file():
        raise UserError(f"{source.folder}: nothing is measured there yet; make it with `curate run` first")
    if into.resolve().is_relative_to(source.folder.resolve()):
        raise UserError(f"{into}: is the recipe's own folder, or in it; leave out --into, or give another folder")
    if into.exists() and any(into.iterdir()) and not target.paths.is_file():
        raise UserError(f"{into}: exists already and is not a curated folder; choose another one")
    with sole_use(source), sole_use(target):
        target.manifest.unlink(missing_ok=True)
        shutil.copytree(source.folder, into, copy_function=_link, dirs_exist_ok=True, ignore=_left_behind)


def _left_behind(_: str, names: list[str]) -> set[str]:
    """What belongs to the result alone, and what is only used while a run lasts."""
    return {name for name in names if name in _OWN or name.endswith((".tmp", ".partial"))}


def _link(source: str, target: str) -> str:
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copy2(source, target)
    return target


class StoredPaths:
    """The image paths of stored rows in the order in which they first occur; those of far rows may come again."""

    def __init__(self, rows: Parts) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[str]:
        for batch in self._rows.batches(["images"]):
            yield from batch.column("images").flatten().unique().to_pylist()

    def __len__(self) -> int:
        return sum(len(batch.column("images").flatten().unique()) for batch in self._rows.batches(["images"]))
