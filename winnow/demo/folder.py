"""Output folders that appear whole: written beside their place, then renamed."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from winnow.errors import UserError
from winnow.run import MANIFEST, read_manifest


@contextlib.contextmanager
def whole_folder(out: Path, *, stage: str) -> Iterator[Path]:
    """Yield an empty folder beside ``out`` that takes its place on success.

    An older result of the same stage is replaced. What a killed run left is removed first.

    Raises:
        UserError: ``out`` exists and was not made by ``stage``.
    """
    check_replaceable(out, stage=stage)
    staging = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        shutil.rmtree(out, ignore_errors=True)
        staging.rename(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_replaceable(out: Path, *, stage: str) -> None:
    """Refuse to replace anything that ``stage`` did not make.

    Raises:
        UserError: ``out`` exists and is neither an empty folder nor a result of ``stage``.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    ours = (out / MANIFEST).is_file() and read_manifest(out, finish_with="").get("stage") == stage
    if not ours:
        raise UserError(f"{out}: exists and was not made by this command; give another folder with --out")
