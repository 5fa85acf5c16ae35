"""The console commands that a job may be; their only argument from outside is the path of the job's recipe."""

from __future__ import annotations

import os
import shlex
import site
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

import dashboards
from winnow.recipe import StrictModel, load_recipe

Stage = Literal["curate", "finetune", "evalsuite", "merge"]
Option = Literal["fresh", "offline", "ddp", "fsdp2", "zero2", "zero3"]
Options = tuple[Option, ...]
RECIPE = "recipe.yaml"
_WRITTEN: dict[Option, tuple[str, ...]] = {
    "fresh": ("--fresh",),
    "offline": ("--offline",),
    "ddp": ("--launch", "ddp"),
    "fsdp2": ("--launch", "fsdp2"),
    "zero2": ("--launch", "zero2"),
    "zero3": ("--launch", "zero3"),
}


class MergeOptions(StrictModel):
    """What ``finetune merge`` takes: the options of its command line.

    Attributes:
        run: folder of a finished training run, e.g. ``data/runs/my``.
        out: new folder for the merged checkpoint, e.g. ``data/models/my``.
        into: base weights into which the adapter is merged; without it the one that is measured to be closer.
        lora_only: keep the LoRA apart, for vLLM: ``base`` below ``out`` holds everything else, ``adapter`` the LoRA.
        rows: prompts on which both models are compared.
    """

    run: Path
    out: Path
    into: Literal["dequantized", "original"] | None = None
    lora_only: bool = False
    rows: Annotated[int, Field(ge=1)] = 16


def command_of(stage: Stage, folder: Path, options: Options, *, check: bool) -> list[str]:
    """The argument list of a job: what it runs, or what only checks it.

    Args:
        folder: of the job; holds its recipe.
        options: of the command; a check takes ``offline`` alone.

    Raises:
        UserError: the options of a merge cannot be read.
    """
    recipe = str(folder / RECIPE)
    given = [word for one in options if one == "offline" or not check for word in _WRITTEN[one]]
    if stage == "curate":
        return _python("winnow", "doctor", recipe) if check else _python("curate", "run", recipe)
    if stage == "finetune":
        return _python("finetune", "plan" if check else "train", *given, recipe)
    if stage == "evalsuite":
        return _python("evalsuite", *(("check", "--sample", "0") if check else ("run",)), *given, recipe)
    merge = load_recipe(folder / RECIPE, MergeOptions)
    if check:
        return _python("winnow", "doctor")
    into = [] if merge.into is None else ["--into", merge.into]
    apart = ["--lora-only"] if merge.lora_only else []
    return _python(
        "finetune", "merge", "--out", str(merge.out), *into, *apart, "--rows", str(merge.rows), *given, "--",
        str(merge.run),
    )  # fmt: skip


def _python(module: str, *arguments: str) -> list[str]:
    # -P: as with the installed scripts, no module of the folder in which the dashboards were started is taken.
    return [sys.executable, "-P", "-m", module, *arguments]


def in_a_terminal(command: list[str]) -> str:
    """The command as one would type it."""
    return shlex.join(command[3:])


def environment() -> dict[str, str]:
    """What a job inherits: the server's environment without the server's own settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("STREAMLIT_", "WINNOW_DASHBOARDS_", "PYTEST_"))
    }
    source, found = str(Path(dashboards.__file__).parents[1]), kept.get("PYTHONPATH", "").split(os.pathsep)
    if source not in (*site.getsitepackages(), *found):  # a checkout, which -P would not find
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (source, *found)))
    return {**kept, "PYTHONUNBUFFERED": "1", "COLUMNS": "110"}
