"""The product's own commands, each in a process of its own, on recipes that are written beside their results."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from curate.atomic import digest_of, write_json, write_text
from curate.errors import UserError

_DONE = "done.json"


def run_stage(stage: str, command: str, recipe: dict[str, Any], out: Path, *options: str, inputs: Any = None) -> None:
    """Run e.g. ``finetune train`` on ``recipe`` unless ``out`` holds its result already.

    The stages go on after a kill by themselves; this only spares starting them for nothing.

    Args:
        out: the stage's output folder; the recipe lies beside it.
        inputs: what else decides the result, for example digests of what the recipe reads.

    Raises:
        UserError: the stage failed; its own message stands above.
    """
    made = digest_of([stage, command, recipe, list(options), inputs])
    done = out.with_name(f"{out.name}.{_DONE}")
    if done.is_file() and (out / "manifest.json").is_file() and made in done.read_text(encoding="utf-8"):
        return
    path = out.with_name(f"{out.name}.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, yaml.safe_dump(recipe, sort_keys=False))
    print(f"{stage} {command} {path}", flush=True)
    call = [sys.executable, "-m", stage, command, str(path), *options]
    code = subprocess.run(call, env={**os.environ, "PYTHONUNBUFFERED": "1"}, check=False).returncode
    if code:
        raise UserError(f"`{stage} {command} {path}` ended with {code}; see above, mend it and start the proof again")
    write_json(done, {"made_from": made})


def recipe_at(path: Path) -> dict[str, Any]:
    """A shipped recipe, to be changed where the proof differs from it."""
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
