"""What ``curate`` makes of published files: rows in, rows kept, rows that a round trip changes.

Each file is curated without any rule but the built-in one for unreadable rows. Two round trips follow. ``--to
original`` writes the kept rows back; they are compared with the file's own rows, both parsed by the standard library.
``--to ms-swift`` writes them as ms-swift's rows, which are read again; turns, files and carried meanings are compared
with those of the curated set. Files of other projects are not part of this repository; get them with

    git clone https://github.com/hiyouga/LLaMA-Factory
    git clone https://github.com/modelscope/ms-swift
    git clone https://github.com/haotian-liu/LLaVA

and run ``python -m studies.real_files --llama-factory LLaMA-Factory --ms-swift ms-swift --llava LLaVA --docs``.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

from curate.exports.export import export
from curate.exports.rows import open_curated
from curate.pipeline import run
from curate.recipe import CurateRecipe
from curate.settings.outputs import ExportSettings
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.rows.carried import CARRIED
from winnow.rows.lines import read_jsonl
from winnow.rows.records import Sample

PAGE = Path("docs/results/real-files.md")
_BEGIN, _END = "<!-- table: begin -->", "<!-- table: end -->"
# Folder of each repository that holds its data sets, and the folder that their image paths are relative to.
_DATA = {
    "LLaMA-Factory": ("data", ("data", ".")),
    "ms-swift": ("tests/llm/data", (".",)),
    "LLaVA": ("playground/data", (".",)),
}


@dataclass(frozen=True)
class Result:
    """One file.

    Attributes:
        rows: in the file.
        kept: rows of the curated set.
        changed: kept rows that ``--to original`` writes differently, or not at all.
        unfit: kept rows that ms-swift's format cannot hold, each with a reason in ``rejects.jsonl``.
        reread: rows that are different after ``--to ms-swift`` and reading again.
        why: why the file or most of its rows are refused; '' if none are.
    """

    name: str
    rows: int
    kept: int
    changed: int
    unfit: int
    reread: int
    why: str


def check_file(file: Path, repository: Path, images: Path, ids: Literal["own", "position"] = "own") -> Result:
    """Curate a file, write it back and compare. Ids that repeat are numbered."""
    name = file.relative_to(repository).as_posix()
    before = rows_of(file)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        source = SourceSettings(location=str(file), image_root=str(images), ids=ids)
        try:
            run(CurateRecipe(name="file", out=out, sources=[source]), "recipe.yaml")
        except UserError as error:
            if "occurs twice" in str(error) and ids == "own":
                return check_file(file, repository, images, "position")
            return Result(name, len(before), 0, 0, 0, 0, str(error).removeprefix(f"{file}: "))
        table = pq.read_table(out / "decisions.parquet", columns=["position", "decision"])
        kept = [row["position"] for row in table.to_pylist() if row["decision"] != "drop"]
        why = Counter(_reason(json.loads(line)) for line in (out / "ledger.jsonl").read_text().splitlines())
        unfit, reread = _through_ms_swift(out, Path(scratch) / "ms-swift")
        original = export(open_curated(out), ExportSettings(to="original", out=Path(scratch) / "original")).folder
        after = [row for path in original.rglob(file.name) for row in rows_of(path)]
    expected = [before[position] for position in kept]
    same = sum(old == new for old, new in zip(expected, after, strict=False))
    changed = max(len(expected), len(after)) - same
    reason = why.most_common(1)[0][0] if why else ""
    return Result(name, len(before), len(kept), changed, unfit, reread, reason)


def _through_ms_swift(curated: Path, folder: Path) -> tuple[int, int]:
    """Rows that do not fit, and rows that read otherwise afterwards."""
    done = export(open_curated(curated), ExportSettings(to="ms-swift", out=folder))
    rejected = {json.loads(line)["sample_id"] for line in (folder / "rejects.jsonl").read_text().splitlines()}
    before = {sample.id: _meaning(sample) for sample in read_jsonl(curated / "samples.jsonl")}
    after: dict[str, Any] = {}
    for path in done.folder.rglob("*.jsonl"):
        if path.name != "rejects.jsonl":
            after |= {sample.id: _meaning(sample) for sample in read_jsonl(path)}
    wanted = before.keys() - rejected
    return len(before) - len(wanted), sum(after.get(sample_id) != before[sample_id] for sample_id in wanted)


def _meaning(sample: Sample) -> list[Any]:
    """What a model is trained on: turns, names of files, and what ``meta`` carries.

    Not ``channel``, in which the export names the source.
    """
    turns = [(turn.role, turn.value, turn.loss, bool(turn.name)) for turn in sample.conversations]
    carried = {
        key: sample.meta[key] for key in CARRIED if key != "channel" and sample.meta.get(key) not in (None, [], "")
    }
    files = {key: [Path(path).name for path in carried.pop(key)] for key in ("videos", "audios") if key in carried}
    return [turns, [Path(path).name for path in sample.image], files, carried]


def _reason(line: dict[str, Any]) -> str:
    rule: dict[str, Any] = next((rule for rule in line.get("rules", []) if rule.get("rule") == "bad_row"), {})
    return str((rule.get("values") or {}).get("bad_row") or line.get("reason")).partition(": ")[2]


def rows_of(file: Path) -> list[Any]:
    """The rows of a file, parsed by the standard library alone."""
    text = file.read_text(encoding="utf-8-sig")
    if file.suffix == ".csv":
        return list(csv.DictReader(text.splitlines()))
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return list(json.loads(text))


def _commit(repository: Path) -> str:
    asked = ["git", "-C", str(repository), "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or "no commit"


def table_of(results: dict[str, list[Result]], commits: dict[str, str]) -> str:
    """Markdown."""
    lines = [
        "| file | rows | kept | changed | unfit for ms-swift | changed by ms-swift | why rows are refused |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for repository, rows in results.items():
        lines.append(f"| **{repository}** `{commits[repository]}` | | | | | | |")
        for row in rows:
            why = row.why.replace("|", "\\|").replace("<", "&lt;") if row.kept < row.rows else ""
            lines.append(
                f"| `{row.name}` | {row.rows:,} | {row.kept:,} | {row.changed} | {row.unfit} | {row.reread} | {why} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Check the files of the checkouts that are given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in _DATA:
        parser.add_argument(f"--{name.lower()}", type=Path, metavar="DIR", help=f"a checkout of {name}")
    parser.add_argument("--docs", action="store_true", help=f"write the table into {PAGE}")
    arguments = vars(parser.parse_args())
    results: dict[str, list[Result]] = {}
    commits: dict[str, str] = {}
    for name, (folder, roots) in _DATA.items():
        repository = arguments[name.lower().replace("-", "_")]
        if repository is None:
            continue
        files = sorted(path for path in (repository / folder).rglob("*") if path.suffix in (".json", ".jsonl", ".csv"))
        results[name] = [
            min(
                (check_file(path, repository, repository / root) for root in roots),
                key=lambda found: (-found.kept, found.unfit),
            )
            for path in files
            if path.name != "dataset_info.json"
        ]
        commits[name] = _commit(repository)
    table = table_of(results, commits)
    print(table)
    if arguments["docs"]:
        page = PAGE.read_text()
        head, tail = page.partition(_BEGIN)[0], page.partition(_END)[2]
        PAGE.write_text(f"{head}{_BEGIN}\n{table}\n{_END}{tail}")


if __name__ == "__main__":
    main()
