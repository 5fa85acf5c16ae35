"""Check a finished curation byte by byte against its manifest, and make again what is damaged."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from curate.inputs import all_sources, changed_images, decision_inputs, resolved, source_inputs
from curate.pipeline import run
from curate.readers.images.objects import is_stored
from curate.readers.ingest import image_root, image_roots
from curate.recipe import CurateRecipe, read_finished, read_recipe
from curate.seal import damaged_files, sealed_files
from curate.settings.sources import benchmark_name
from curate.workspace import Workspace
from winnow.digests import Digests
from winnow.errors import UserError
from winnow.files import digest_of, sha256_file
from winnow.remote.addresses import shown
from winnow.run import MANIFEST, Stages
from winnow.text import counted, visible

MISSING, CHANGED, DAMAGED = "missing", "changed", "damaged"
_SHOWN = 40


@dataclass(frozen=True)
class Wrong:
    """A file that is not as the manifest says.

    Attributes:
        what: its path, or the name of an input.
        state: ``missing``; ``changed``, of an input; ``damaged``, of what Winnow has made.
        is_input: whether the set was made from it.
    """

    what: str
    state: str
    is_input: bool


@dataclass(frozen=True)
class Verified:
    """What a check has found.

    Attributes:
        inputs, outputs: how many were checked.
        wrong: those that are not as they were.
        recipe: what the set is made with, by the file if that is still the same.
        recipe_file: how to call it in a command; empty if it is only in the manifest.
        is_selection: ``curate select`` has made the set.
    """

    inputs: int
    outputs: int
    wrong: tuple[Wrong, ...]
    recipe: CurateRecipe
    recipe_file: str
    is_selection: bool

    @property
    def can_be_made_again(self) -> bool:
        """Whether a run of the same recipe would end with the same bytes."""
        return not self.is_selection and not any(each.is_input for each in self.wrong)


def verify(folder: Path) -> Verified:
    """Read every input and output of a set again, whatever their times say. Changes nothing.

    Raises:
        UserError: there is no finished set, or it was made elsewhere.
    """
    recipe, manifest = read_finished(folder)
    if recipe.folder.resolve() != folder.resolve():
        raise UserError(
            f"{folder}: was made as {recipe.folder}, seen from another folder; go to the folder where `curate run` was"
            " called, and call `curate verify` there"
        )
    recipe, recipe_file = _from_file(recipe, manifest)
    workspace, digests = Workspace(folder), Digests(None)
    there = _inputs(recipe, digests)
    wrong = [
        Wrong(name, CHANGED if there.get(name) else MISSING, is_input=True)
        for name, digest in manifest["inputs"].items()
        if there.get(name) != digest
    ]
    damaged = damaged_files(workspace, whole=True)
    unsealed = manifest["outputs"].keys() - set(sealed_files(workspace))
    damaged += [name for name in sorted(unsealed) if not _holds(folder / name, manifest["outputs"][name])]
    wrong += [Wrong(name, DAMAGED if (folder / name).exists() else MISSING, is_input=False) for name in damaged]
    images = [] if damaged else _changed_images(recipe, workspace)
    wrong += [_wrong_image(path, folder) for path in images]
    outputs = len(unsealed) + len(sealed_files(workspace))
    return Verified(len(manifest["inputs"]), outputs, tuple(wrong), recipe, recipe_file, "selection" in manifest)


def _wrong_image(path: Path, folder: Path) -> Wrong:
    """An image of the dataset is an input; one of the set's own store is made from its source."""
    if path.resolve().is_relative_to(folder.resolve()):
        own = str(path.resolve().relative_to(folder.resolve()))
        return Wrong(own, DAMAGED if path.exists() else MISSING, is_input=False)
    return Wrong(str(path), CHANGED if path.exists() else MISSING, is_input=True)


def show(found: Verified) -> None:
    """Print what is not as it was, and what to do about it."""
    folder = shown(found.recipe.folder)
    checked = f"{counted(found.inputs, 'input')} and {counted(found.outputs, 'file')} of the set"
    if not found.wrong:
        print(f"{folder}: all is as it was made: {checked}")
        return
    table = Table("state", "what", box=None, pad_edge=False, header_style="dim")
    for each in found.wrong[:_SHOWN]:
        table.add_row(f"{each.state}{' input' if each.is_input else ''}", escape(visible(shown(each.what))))
    Console().print(table)
    if len(found.wrong) > _SHOWN:
        print(f"and {len(found.wrong) - _SHOWN:,} more")
    print(f"{folder}: {len(found.wrong):,} not as it was made, of {checked}")
    if found.is_selection:
        print("next: make it again with the `curate select` that made it")
    elif not found.can_be_made_again:
        print(f"next: bring the inputs back, or make a new set of them with `curate run {found.recipe_file}`")


def make_again(found: Verified) -> Verified:
    """Remove what is damaged, run the recipe again and check the result.

    Raises:
        UserError: bad input, or something cannot be written.
    """
    folder = found.recipe.folder
    for path in [folder / each.what for each in found.wrong]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    run(found.recipe, found.recipe_file)
    return verify(folder)


def _from_file(recipe: CurateRecipe, manifest: dict[str, Any]) -> tuple[CurateRecipe, str]:
    """The recipe's file, if it is there and still says the same; a manifest forgets the order of some keys."""
    named = str(manifest.get("recipe_file", ""))
    try:
        from_file = read_recipe(Path(named))
    except UserError:
        return recipe, named
    return (from_file if digest_of(resolved(from_file)) == manifest["recipe_digest"] else recipe), named


def _inputs(recipe: CurateRecipe, digests: Digests) -> dict[str, str]:
    """Digests of the inputs that are there."""
    found: dict[str, str] = {}
    for source in all_sources(recipe):
        alone = recipe.model_copy(update={"sources": [source], "contamination": None})
        try:
            found |= source_inputs(alone, digests)
        except (UserError, OSError):
            continue
    return found | decision_inputs(recipe)


def _holds(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_file(path) == digest


def _changed_images(recipe: CurateRecipe, workspace: Workspace) -> list[Path]:
    """Image files of the set and its evaluation sets that are not what was measured."""
    stages, found = Stages(workspace.work), list[Path]()
    names = [benchmark_name(source) for source in (recipe.contamination.against if recipe.contamination else [])]
    for name in ("", *names):
        label, of = f"{name}: " if name else "", workspace.against(name) if name else workspace
        root = image_root(stages, label)
        stored = is_stored(root, image_roots(stages, label), of.folder)
        changed, _ = changed_images(of, root, recipe.signals.max_bytes, stored, whole=True)
        found += [root / path for path in sorted(changed)]
    return found
