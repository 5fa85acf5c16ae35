"""What a recipe does beyond reading data and computing: shown before it is started, and not for everybody."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from curate.recipe import CurateRecipe
from dashboards.jobs.commands import MergeOptions
from evalsuite.recipe import EvalRecipe, ServerSettings
from finetune.recipe import TrainRecipe
from winnow.recipe import StrictModel


def result_folder(recipe: StrictModel, below: Path) -> Path:
    """Where the run of a recipe writes, absolute.

    Args:
        below: the folder that relative paths start from.
    """
    if isinstance(recipe, MergeOptions):
        return (below / recipe.out).resolve()
    assert isinstance(recipe, CurateRecipe | TrainRecipe | EvalRecipe)
    return (below / recipe.folder).resolve()


def concerns(recipe: StrictModel, below: Path, root: Path) -> list[str]:
    """One sentence for each thing that needs a look before the start.

    Who is named by a proxy may start no run that has any: it would run code of a file, write outside of the folders of
    results, or send a key of this machine away.

    Args:
        below: the folder that relative paths start from.
        root: the data folder.
    """
    return [*_code(recipe), *_written_elsewhere(recipe, below, root), *_keys_sent(recipe)]


def _code(recipe: StrictModel) -> Iterator[str]:
    if isinstance(recipe, EvalRecipe) and recipe.allow_code:
        yield "allow_code: runs the Python code of the metrics that its tasks name, with your rights on this machine."


def _written_elsewhere(recipe: StrictModel, below: Path, root: Path) -> Iterator[str]:
    folder = result_folder(recipe, below)
    kinds = {CurateRecipe: "curated", TrainRecipe: "runs", EvalRecipe: "evals", MergeOptions: "models"}
    place = root / kinds[type(recipe)]
    if folder.parent != place.resolve():
        yield f"out: writes to {folder}, not to {place}: these pages will not show the result."
    if isinstance(recipe, CurateRecipe):
        for export in recipe.exports:
            if export.out and not (below / export.out).resolve().is_relative_to(folder):
                yield f"exports: writes to {(below / export.out).resolve()}, outside of the result."


def _keys_sent(recipe: StrictModel) -> Iterator[str]:
    if not isinstance(recipe, EvalRecipe):
        return
    for key, server in (("server", recipe.server), ("judge.server", recipe.judge and recipe.judge.server)):
        if server and os.environ.get(server.api_key_env) and not _is_here(server):
            yield f"{key}: sends the key in ${server.api_key_env} of this machine to {urlsplit(server.url).hostname}."


def _is_here(server: ServerSettings) -> bool:
    host = urlsplit(server.url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
