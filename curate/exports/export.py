"""An export as a whole: the folder appears when it is complete, an interrupted one is gone on with.

Everything is written to ``.<name>.partial`` beside the target, which takes the target's place in
the end. A row that the format cannot hold is listed in ``rejects.jsonl`` with the reason.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.exports import imagefolder, jsonl, llama_factory, ms_swift, parquet, trl, webdataset
from curate.exports.readme import write_readme
from curate.exports.rows import Curated, Row
from curate.exports.settings import ExportSettings
from curate.exports.target import Target
from curate.report.results import SAMPLES_TABLE
from winnow.errors import UserError
from winnow.files import atomic_path, digest_of, sha256_file, write_json
from winnow.progress import Bar
from winnow.run import MANIFEST, is_current, read_manifest, write_manifest

VERSION = 1  # raise it when an exporter writes something else from the same rows
REJECTS = "rejects.jsonl"
_KEY, _LOCK = ".key.json", ".lock"
_WRITERS: dict[str, Callable[[Iterable[Row], Target], None]] = {
    "jsonl": jsonl.write,
    "parquet": parquet.write,
    "webdataset": webdataset.write,
    "imagefolder": imagefolder.write,
    "ms-swift": ms_swift.write,
    "llama-factory": llama_factory.write,
    "trl": trl.write,
}


@dataclass(frozen=True)
class Exported:
    """Attributes:
    folder: where the export lies.
    counts: ``rows``, ``pictures`` (as rows name them), rows of each split, ``rejected`` with reasons.
    fresh: False if it was there already, made from the same rows.
    """

    folder: Path
    counts: dict[str, Any]
    fresh: bool


def export(curated: Curated, settings: ExportSettings) -> Exported:
    """Write one export.

    Raises:
        UserError: the target holds something that is no export, a picture has changed since it was
            measured, or another process is at work there.
    """
    out = settings.out or curated.folder / "exports" / settings.to
    made_from = {str(curated.folder / SAMPLES_TABLE): sha256_file(curated.folder / SAMPLES_TABLE)}
    recipe = {"version": VERSION, "root": str(curated.root), "licenses": list(curated.licenses)}
    recipe |= settings.model_dump(mode="json", exclude={"out"})
    if is_current(out, recipe=recipe, inputs=made_from):
        return Exported(out, read_manifest(out, finish_with="")["counts"], False)
    _check_replaceable(out)
    started = time.monotonic()
    with _partial(out, digest_of([recipe, made_from])) as folder:
        counts, outputs = _write(curated, settings, folder)
        write_readme(folder, curated, settings, counts)
        write_manifest(
            folder,
            stage="export",
            recipe=recipe,
            inputs=made_from,
            outputs=[*outputs, folder / "README.md"],
            counts=counts,
            seconds={"export": time.monotonic() - started},
            seeds={},
            extra={"image_root": "." if settings.copies else str(curated.root)},
        )
        _put_in_place(folder, out)
    return Exported(out, counts, True)


def _write(curated: Curated, settings: ExportSettings, folder: Path) -> tuple[dict[str, Any], list[Path]]:
    """Run the format's writer; returns counts and the files that name or hold rows."""
    rows: Counter[str] = Counter()
    pictures = refused = 0
    last = ""
    with atomic_path(folder / REJECTS) as rejects, rejects.open("w", encoding="utf-8") as listed:

        def reject(sample_id: str, reason: str) -> None:
            nonlocal refused, last
            listed.write(json.dumps({"sample_id": sample_id, "reason": reason}, ensure_ascii=False) + "\n")
            refused, last = refused + 1, sample_id

        def counted(bar: Bar) -> Iterator[Row]:
            nonlocal pictures
            for row in curated.rows(reject):
                if row is not None:
                    yield row  # the writer has rejected it, or not, when it asks for the next one
                    if last != row.sample.id:
                        rows[row.split] += 1
                        pictures += len(row.files)
                bar.advance()

        size = settings.shard_megabytes * 1_000_000
        target = Target(folder, curated.name, curated.splits, settings.copies, size, reject)
        with Bar(f"export {settings.to}", len(curated)) as bar:
            _WRITERS[settings.to](counted(bar), target)
    splits = {split: rows[split] for split in curated.splits}
    counts = {"rows": rows.total(), "pictures": pictures, "splits": splits, "rejected": refused}
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and "images" not in path.parts]
    return counts, [path for path in files if path.name not in (_KEY, _LOCK, MANIFEST, "README.md")]


def _check_replaceable(out: Path) -> None:
    """An earlier export may be replaced; nothing else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    with contextlib.suppress(UserError):
        if out.is_dir() and read_manifest(out, finish_with="").get("stage") == "export":
            return
    raise UserError(f"{out}: is there already and is no export of curate; choose another folder or remove it")


@contextlib.contextmanager
def _partial(out: Path, key: str) -> Iterator[Path]:
    """The folder to fill, locked; what an interrupted export with another key has left is removed."""
    folder = out.parent / f".{out.name}.partial"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{out}: another curate is exporting to it; wait for it, or end it") from None
        if not _begun_with(folder, key):
            for left in folder.iterdir():
                if left.name != _LOCK:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
            write_json(folder / _KEY, key)
        for leftover in folder.rglob(".*.tmp"):
            leftover.unlink()
        yield folder


def _begun_with(folder: Path, key: str) -> bool:
    try:
        return bool(json.loads((folder / _KEY).read_text(encoding="utf-8")) == key)
    except (OSError, ValueError):  # nothing begun, or nothing readable: start anew
        return False


def _put_in_place(folder: Path, out: Path) -> None:
    for name in (_KEY, _LOCK):
        (folder / name).unlink()
    old = out.parent / f".{out.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    folder.rename(out)
    shutil.rmtree(old, ignore_errors=True)
