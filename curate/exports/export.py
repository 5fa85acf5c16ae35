"""Write an export as a whole: the folder appears when it is complete, and an interrupted export is resumed.

Everything is written to ``.<name>.partial`` beside the target, which takes the target's place at the end. Rows that
the format cannot hold are listed in ``rejects.jsonl`` with the reason. ``README.md`` says what the export is and how
to load it; it is valid as a card on the Hugging Face hub.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import pkgutil
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import filelock
import yaml

import curate.exports
from curate.exports.json_lines import known_meta_keys
from curate.exports.rows import Curated, Format, Part, Row, Target
from curate.exports.trl_dpo import read_mistakes
from curate.settings.outputs import ExportSettings
from curate.workspace import Workspace
from winnow.errors import UserError
from winnow.files import atomic_path, digest_of, locked, sha256_file, write_text
from winnow.progress import Bar
from winnow.remote.addresses import local, shown
from winnow.remote.published import published
from winnow.run import MANIFEST, Stages, is_current, read_manifest, write_manifest
from winnow.text import counted

VERSION = 2  # raise it when a format writes something else from the same rows
REJECTS = "rejects.jsonl"


def _all_formats() -> dict[str, Format]:
    """The ``FORMATS`` of every file beside this one that has them."""
    found: dict[str, Format] = {}
    for _, name, _ in pkgutil.iter_modules(curate.exports.__path__, "curate.exports."):
        if name != __name__:
            found |= getattr(importlib.import_module(name), "FORMATS", {})
    return found


FORMATS = _all_formats()
_STATE, _LOCK = "state.json", ".lock"  # of an unfinished export


def write_readme(
    folder: Path, curated: Curated, settings: ExportSettings, counts: dict[str, Any], parts: Sequence[Part]
) -> None:
    """Write the card of an export into ``folder``."""
    here = shown(_folder_of(curated, settings))
    front: dict[str, Any] = {
        "pretty_name": curated.name,
        "task_categories": ["visual-question-answering"],
        **license_fields(curated.licenses),
    }
    if parts:
        front["configs"] = [
            {
                "config_name": part.kind if len(parts) > 1 else "default",
                "data_files": [{"split": split, "path": path} for split, path in part.files.items()],
            }
            for part in parts
        ]
    splits = ", ".join(f"{split} {number:,}" for split, number in counts["splits"].items())
    sentences = [f"{counted(counts['rows'], 'row')} ({splits}) with {counted(counts['images'], 'image')}."]
    if dropped := len(curated) - counts["rows"] - counts["rejected"]:
        sentences.append(f"{counted(dropped, 'row')} dropped.")
    if counts["corrected"]:
        sentences.append(f"Reviewers have corrected the texts of {counted(counts['corrected'], 'row')}.")
    if counts["rejected"]:
        sentences.append(f"The format cannot hold {counted(counts['rejected'], 'row')}: `rejects.jsonl` says why.")
    loads = (_how_to_load(settings, curated, here, folder, part) for part in parts or [Part("", {})])
    how = "\n\n".join(dict.fromkeys(loads))
    text = f"""---
{yaml.safe_dump(front, sort_keys=False)}---
# {curated.name}, as {settings.to}

{" ".join(sentences)}
Curated by Winnow; the card with rules, funnel and examples lies in `{shown(curated.folder)}`.

{how}
"""
    write_text(folder / "README.md", text)


def _how_to_load(settings: ExportSettings, curated: Curated, here: str, folder: Path, part: Part) -> str:
    load = FORMATS[settings.to].load
    text = load.get(part.kind, load.get("", ""))
    pattern = next(iter(part.files.values()), "")
    files = sorted(str(path.relative_to(folder)) for path in folder.glob(pattern)) if pattern else []
    return text.format(
        root="this folder" if settings.copies else f"`{shown(curated.root)}`",
        image_root=here if settings.copies else shown(curated.root),
        here=here,
        first=f"{here}/{_as_braces(files)}",
        folder=f"{here}/{pattern}".rpartition("/")[0],
        name=curated.name,
        stem=pattern.rpartition("/")[2].split(".")[0],
        variable=f"ROOT_IMAGE_DIR={here} " if settings.copies else "",
    )


def _as_braces(names: list[str]) -> str:
    """``train-{00000..00007}.tar`` for several shards; the name itself for one file."""
    if len(names) < 2:
        return names[0] if names else ""
    first, last = (name.rsplit(".", 1)[0].rsplit("-", 1)[1] for name in (names[0], names[-1]))
    return names[0].replace(first, f"{{{first}..{last}}}", 1)


@dataclass(frozen=True)
class Exported:
    """A finished export.

    Attributes:
        folder: where it lies.
        counts: ``rows``, ``images`` (counted once a row), ``splits`` (rows of each), ``corrected`` (by reviewers)
            and ``rejected``.
        fresh: False if it was there already, made from the same rows.
    """

    folder: Path
    counts: dict[str, Any]
    fresh: bool


def export(curated: Curated, settings: ExportSettings) -> Exported:
    """Write one export.

    Raises:
        UserError: the target holds something other than an export, an image has changed since it was
            measured, or another process is exporting there.
    """
    out = _folder_of(curated, settings)
    # The exports of a set on object storage are published with it.
    with published(out) if settings.out else contextlib.nullcontext():
        return _exported(curated, settings, out)


def _folder_of(curated: Curated, settings: ExportSettings) -> Path:
    return local(settings.out) if settings.out else curated.folder / "exports" / settings.to


def _exported(curated: Curated, settings: ExportSettings, out: Path) -> Exported:
    table = Workspace(curated.folder).samples_table
    made_from = {shown(table): sha256_file(table)}
    if settings.mistakes:
        replies = settings.mistakes / "predictions.parquet"
        made_from[str(replies)] = sha256_file(replies) if replies.is_file() else ""
    recipe = {"version": VERSION, "root": shown(curated.root), "licenses": list(curated.licenses)}
    recipe |= settings.model_dump(mode="json", exclude={"out"})
    if is_current(out, recipe=recipe, inputs=made_from):
        return Exported(out, read_manifest(out, finish_with="")["counts"], False)
    before = out if _check_replaceable(out) else None
    started = time.monotonic()
    with _unfinished(out, digest_of([recipe, made_from])) as folder:
        made_by = [recipe, [made_from[name] for name in made_from if name != shown(table)]]
        counts, outputs, parts = _write(curated, settings, folder, made_by, before)
        write_readme(folder, curated, settings, counts, parts)
        write_manifest(
            folder,
            stage="export",
            recipe=recipe,
            inputs=made_from,
            outputs=[*outputs, folder / "README.md"],
            counts=counts,
            seconds={"export": time.monotonic() - started},
            seeds={},
            extra={"image_root": "." if settings.copies else shown(curated.root)},
        )
        _put_in_place(folder, out)
    return Exported(out, counts, True)


# What a record is made from beside its row: files that lie somewhere.
_LOOKED_UP = frozenset({"videos", "audios", "rejected_images"})


@dataclass
class _Account:
    """What became of some rows.

    Attributes:
        all: rows, dropped ones included; rows: exported ones by split; images: of these; corrected: by reviewers.
        rejects: a line for each that the format cannot hold.
    """

    all: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    images: int = 0
    corrected: int = 0
    rejects: list[str] = field(default_factory=list)

    def add(self, other: _Account) -> None:
        """Together with others; rejects are only counted."""
        self.all, self.images = self.all + other.all, self.images + other.images
        self.corrected += other.corrected
        self.rows.update(other.rows)


class _Rows:
    """The rows of a set on their way to a writer; see ``curate.exports.rows.Rows``.

    Attributes:
        total: what became of them.
        refused: how many were rejected.
    """

    def __init__(self, curated: Curated, images: bool, made_by: str, listed: TextIO, bar: Bar) -> None:
        self.curated, self.images, self.made_by, self.bar = curated, images, made_by, bar
        self.total, self.refused, self.last = _Account(), 0, ""
        self._listed, self._rejects = listed, list[str]()

    def __iter__(self) -> Iterator[Row]:
        return itertools.chain.from_iterable(self.blocks())

    def blocks(self) -> Iterator[_Block]:
        """The blocks, in order."""
        for number, digest in enumerate(self.curated.block_digests):
            self._rejects = []
            yield _Block(self, number, digest_of([self.made_by, digest]), self._rejects)

    def reject(self, sample_id: str, reason: str) -> None:
        """A row cannot be exported."""
        self.list([json.dumps({"sample_id": sample_id, "reason": reason}, ensure_ascii=False)])
        self.last = sample_id

    def list(self, rejects: Sequence[str]) -> None:
        """Write lines of rejected rows."""
        self._listed.writelines(f"{line}\n" for line in rejects)
        self._rejects += rejects
        self.refused += len(rejects)


class _Block:
    """See ``curate.exports.rows.RowBlock``."""

    def __init__(self, rows: _Rows, number: int, key: str, rejects: list[str]) -> None:
        self.key = key
        self._rows, self._number = rows, number
        self._account, self._looked_up = _Account(rejects=rejects), False

    def __iter__(self) -> Iterator[Row]:
        all_rows, account = self._rows, self._account
        for row in all_rows.curated.rows(all_rows.reject, self._number, images=all_rows.images):
            account.all += 1
            if row is not None:
                yield row  # when the writer asks for the next row, it has written or rejected this one
                self._looked_up = self._looked_up or not _LOOKED_UP.isdisjoint(row.sample.meta)
                if all_rows.last != row.sample.id:
                    account.rows[row.split] += 1
                    account.images += len(row.sample.image)
                    account.corrected += "before_correction" in row.sample.meta
            all_rows.bar.advance()
        all_rows.total.add(account)

    def account(self) -> dict[str, Any] | None:
        """What has become of them."""
        return None if self._looked_up else vars(self._account)

    def count(self, account: Mapping[str, Any]) -> None:
        """Count them as in the account of an earlier export."""
        self._account = replace(_Account(**account), rows=Counter(account["rows"]))
        self._rows.total.add(self._account)
        self._rows.list(account["rejects"])
        self._rows.bar.advance(self._account.all)


def _write(
    curated: Curated, settings: ExportSettings, folder: Path, made_by: Any, before: Path | None
) -> tuple[dict[str, Any], list[Path], Sequence[Part]]:
    """Run the format's writer; returns counts, the files that name or hold rows, and those that are loaded together.

    Args:
        made_by: what the export is made from beside the rows.
        before: an earlier export.
    """
    form = FORMATS[settings.to]
    if before is not None and not settings.copies:
        curated = replace(curated, known_meta_keys=known_meta_keys(before))
    by_blocks = digest_of([made_by, curated.name, curated.splits, sorted(curated.meta_keys)])
    size = settings.shard_megabytes * 1_000_000
    mistakes = read_mistakes(settings.mistakes) if settings.mistakes else {}
    with (
        atomic_path(folder / REJECTS) as rejects,
        rejects.open("w", encoding="utf-8") as listed,
        Bar(f"export {settings.to}", len(curated)) as bar,
    ):
        rows = _Rows(curated, form.images, by_blocks, listed, bar)
        target = Target(folder, curated, settings.copies, size, rows.reject, mistakes, before)
        parts = form.write(rows, target)
    total, refused = rows.total, rows.refused
    splits = {split: total.rows[split] for split in curated.splits}
    counts = {
        "rows": total.rows.total(), "images": total.images, "splits": splits, "corrected": total.corrected,
        "rejected": refused,
    }  # fmt: skip
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and "images" not in path.parts]
    return counts, [path for path in files if path.name not in (_STATE, _LOCK, MANIFEST, "README.md")], parts


def _check_replaceable(out: Path) -> bool:
    """Whether there is an earlier export, which may be replaced.

    Raises:
        UserError: there is something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    with contextlib.suppress(UserError):
        if out.is_dir() and read_manifest(out, finish_with="").get("stage") == "export":
            return True
    raise UserError(f"{out}: is there already and is not an export of curate; choose another folder or remove it")


@contextlib.contextmanager
def _unfinished(out: Path, key: str) -> Iterator[Path]:
    """The folder to fill, locked; what an interrupted export with another key has left in it is removed."""
    folder = out.parent / f".{out.name}.partial"
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / _LOCK, wait=False))
        except filelock.Timeout:
            raise UserError(f"{out}: another curate is exporting to it; wait until it is done, or stop it") from None
        stages = Stages(folder)
        if stages.get("made_from") != key:
            for left in folder.iterdir():
                if left.name != _LOCK:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
            stages.set("made_from", key)
        for leftover in folder.rglob(".*.tmp"):
            leftover.unlink()
        yield folder


def _put_in_place(folder: Path, out: Path) -> None:
    for name in (_STATE, _LOCK):
        (folder / name).unlink()
    old = out.parent / f".{out.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    folder.rename(out)
    shutil.rmtree(old, ignore_errors=True)


# The hub's identifiers that data is usually under; any other name goes to `license_name`.
_HUB = {
    "apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0",
    "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0",
    "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "c-uda", "gpl-3.0", "odc-by", "odbl", "pddl", "unlicense", "unknown",
}  # fmt: skip


def license_fields(names: Sequence[str]) -> dict[str, Any]:
    """``license`` and, for names that the hub does not know, ``license_name`` of a card's front matter."""
    known = sorted({name.lower() for name in names if name.lower() in _HUB})
    others = sorted({name for name in names if name.lower() not in _HUB})
    if not names:
        return {}
    found = [*known, *(["other"] if others else [])]
    fields: dict[str, Any] = {"license": found[0] if len(found) == 1 else found}
    if others:
        fields["license_name"] = ", ".join(others)
    return fields
