"""What is already done: manifests of finished results, and stages that are skipped while they are current.

``manifest.json`` says what a result was made from. It is written last: a folder without one is unfinished.
``Stages`` notes in ``state.json`` what each stage of an unfinished run was made from.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from winnow.errors import UserError
from winnow.files import digest_of, read_json, sha256_file, write_json, write_state

MANIFEST = "manifest.json"
_DIGEST = "digest of all this"  # key of a state file
_PACKAGES = (
    "winnow-vlm", "accelerate", "bitsandbytes", "duckdb", "numpy", "open_clip_torch",
    "peft", "pillow", "pyarrow", "torch", "transformers",
)  # fmt: skip


def write_manifest(
    folder: Path,
    *,
    stage: str,
    recipe: Mapping[str, Any],
    inputs: Mapping[str, str],
    outputs: Iterable[Path],
    counts: Mapping[str, Any],
    seconds: Mapping[str, float],
    seeds: Mapping[str, int],
    extra: Mapping[str, Any] | None = None,
    known: Mapping[Path, str] | None = None,
) -> None:
    """Atomically write ``folder/manifest.json``; call it after every output is in place.

    Args:
        stage: which command made the folder, e.g. ``curate``.
        recipe: the resolved recipe, JSON-able.
        inputs: name or path of each input → hex sha256.
        outputs: files below ``folder``; their sha256 and size are recorded.
        counts, seconds, seeds: rows per class, wall time per step, every seed used.
        extra: further keys of this stage.
        known: sha256 of outputs that need not be read for it.
    """
    written, known = sorted(outputs), known or {}
    with ThreadPoolExecutor() as threads:
        digests = list(threads.map(lambda path: known.get(path) or sha256_file(path), written))
    write_json(
        folder / MANIFEST,
        {
            "stage": stage,
            "recipe": dict(recipe),
            "recipe_digest": digest_of(dict(recipe)),
            "inputs": dict(inputs),
            "outputs": {str(path.relative_to(folder)): digest for path, digest in zip(written, digests, strict=True)},
            "output_bytes": {str(path.relative_to(folder)): path.stat().st_size for path in written},
            "counts": dict(counts),
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
            "seeds": dict(seeds),
            "packages": package_versions(),
            "winnow": installed_version(),
            "git_commit": git_commit(),
            **(extra or {}),
        },
    )


def read_manifest(folder: Path, *, finish_with: str) -> dict[str, Any]:
    """The manifest of a finished run.

    Args:
        finish_with: the command that makes or finishes such a folder, for the error.

    Raises:
        UserError: there is no such folder, or it has no readable manifest (the run did not finish).
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; make it with `{finish_with}`")
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"{folder}: has no {MANIFEST}, so its run did not finish; finish it with `{finish_with}`")
    try:
        manifest: dict[str, Any] = read_json(path)
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); remake it with `{finish_with}`") from error
    return manifest


def is_current(folder: Path, *, recipe: Mapping[str, Any], inputs: Mapping[str, str]) -> bool:
    """Whether ``folder`` holds the finished result of this recipe on these inputs, each file of its size."""
    try:
        manifest = read_manifest(folder, finish_with="")
    except UserError:
        return False
    same_recipe = manifest.get("recipe_digest") == digest_of(dict(recipe))
    sizes: Mapping[str, int] = manifest.get("output_bytes", {})
    outputs_there = sizes.keys() == manifest.get("outputs", {}).keys() and all(
        (folder / name).is_file() and (folder / name).stat().st_size == size for name, size in sizes.items()
    )
    return same_recipe and manifest.get("inputs") == dict(inputs) and outputs_there


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that can change a result."""
    return {name: version for name in _PACKAGES if (version := installed_version(name)) is not None}


@functools.cache
def installed_version(package: str = "winnow-vlm") -> str | None:
    """Version of an installed package; None if it is not installed (as Winnow's source can be used)."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """Commit of the checkout that this copy of Winnow's source belongs to; None for an installed wheel."""
    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


class Stages:
    """The stages of a run: skips those that are current, and takes the time of the others.

    Keeps in ``state.json`` below ``folder`` what each stage was made from.

    Attributes:
        seconds: stage → wall time, of the stages that ran.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "state.json"
        self.seconds: dict[str, float] = {}
        try:
            self._state: dict[str, Any] = read_json(self._path)
            noted = self._state.pop(_DIGEST, None)  # earlier versions noted none
            intact = noted in (None, digest_of(self._state))
        except (OSError, ValueError, TypeError, AttributeError):
            intact = False
        if not intact:  # missing or damaged: every stage runs
            self._state = {}

    def run(self, name: str, action: Callable[[], object]) -> None:
        """Run a stage that is cheap, or that finds out by itself what is done."""
        started = time.monotonic()
        action()
        self.seconds[name] = time.monotonic() - started

    def run_if_stale(self, name: str, key: Any, outputs: Sequence[Path], action: Callable[[], object]) -> None:
        """Run a stage unless its outputs exist and were made from the same ``key`` (JSON-able)."""
        digest = digest_of(key)
        if self._state.get(name) == digest and all(output.exists() for output in outputs):
            return
        self.set(name, None)
        self.run(name, action)
        self.set(name, digest)

    def set(self, name: str, value: Any) -> None:
        """Keep a JSON-able value for later runs."""
        if self._state.get(name) != value:
            self._state[name] = value
            write_state(self._path, {**self._state, _DIGEST: digest_of(self._state)})

    def get(self, name: str) -> Any:
        """The value that ``set`` kept, or None."""
        return self._state.get(name)


def file_stats(*paths: Path, below: Path | None = None) -> list[list[Any]]:
    """Name, size in bytes and modification time in ns of files: a key that changes when one of them does.

    A missing file has null for size and time.

    Args:
        below: give names relative to this folder, so that a linked copy of it has the same key.
    """
    found: list[list[Any]] = []
    for path in paths:
        name = str(path.relative_to(below) if below else path)
        try:
            stat = path.stat()
            found.append([name, stat.st_size, stat.st_mtime_ns])
        except OSError:
            found.append([name, None, None])
    return found


@contextlib.contextmanager
def whole_folder(out: Path, *, stage: str) -> Iterator[Path]:
    """Yield an empty folder beside ``out`` that is renamed to ``out`` on success.

    An older result of the same stage is replaced. Remains of a killed run are removed first.

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
    made_here = (out / MANIFEST).is_file() and read_manifest(out, finish_with="").get("stage") == stage
    if not made_here:
        raise UserError(f"{out}: exists and was not made by this command; give another folder with --out")


def unchanged_parts(state: Path, wanted: Sequence[Any]) -> int:
    """How many of the first entries of ``wanted`` a state file holds already; 0 without one that can be read."""
    try:
        there = json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0
    same = 0
    while same < min(len(there), len(wanted)) and there[same] == wanted[same]:
        same += 1
    return same
