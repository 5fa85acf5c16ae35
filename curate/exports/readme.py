"""``README.md`` of an export: what it is, how it is loaded; valid as a card on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from curate.exports.rows import Curated
from curate.exports.settings import ExportSettings
from curate.writing.license import license_fields
from winnow.files import write_text

_FILES = {
    "jsonl": "samples{-split}.jsonl",
    "parquet": "{split}-*.parquet",
    "webdataset": "{split}-*.tar",
    "ms-swift": "{split}.jsonl",
    "llama-factory": "{split}.jsonl",
    "trl": "{split}.jsonl",
}
_LOAD = {
    "jsonl": "One Winnow record a line; `image` is relative to {root}.",
    "parquet": '```python\ndatasets.load_dataset("parquet", data_dir="{here}")\n```',
    "webdataset": (
        "`<key>.jpg` (or `<key>.0.jpg`, `<key>.1.jpg` …) and `<key>.json`.\n\n"
        '```python\nwebdataset.WebDataset("{first}", shardshuffle=False).decode("pil")\n```'
    ),
    "imagefolder": '```python\ndatasets.load_dataset("imagefolder", data_dir="{here}")\n```',
    "ms-swift": "```bash\n{variable}swift sft --dataset {first} …\n```",
    "llama-factory": "```yaml\ndataset_dir: {here}\ndataset: {name}_{split}\n```",
    "trl": (
        '```python\nrows = datasets.load_dataset("json", data_files="{first}", split="train")\n'
        'rows = rows.cast_column("images", datasets.List(datasets.Image()))\n'
        "SFTTrainer(…, train_dataset=rows)\n```"
    ),
}


def write_readme(folder: Path, curated: Curated, settings: ExportSettings, counts: dict[str, Any]) -> None:
    """Write the card of an export into ``folder``."""
    first = curated.splits[0]
    here = settings.out or curated.folder / "exports" / settings.to
    files = _FILES.get(settings.to)
    front: dict[str, Any] = {
        "pretty_name": curated.name,
        "task_categories": ["visual-question-answering"],
        **license_fields(curated.licenses),
    }
    names = {split: _file_name(files, split, curated.splits) for split in curated.splits} if files else {}
    if names:
        paths = [{"split": split, "path": name} for split, name in names.items()]
        front["configs"] = [{"config_name": "default", "data_files": paths}]
    load = _LOAD[settings.to].format(
        root="this folder" if settings.copies else f"`{curated.root}`",
        here=here,
        first=f"{here}/{_as_braces(sorted(path.name for path in folder.glob(names[first]))) if names else ''}",
        name=curated.name,
        split=first,
        variable=f"ROOT_IMAGE_DIR={here} " if settings.copies else "",
    )
    splits = ", ".join(f"{split} {number:,}" for split, number in counts["splits"].items())
    rejected = f" {counts['rejected']:,} rows do not fit: `rejects.jsonl` says why." if counts["rejected"] else ""
    text = f"""---
{yaml.safe_dump(front, sort_keys=False)}---
# {curated.name}, as {settings.to}

{counts["rows"]:,} rows ({splits}) with {counts["pictures"]:,} pictures.{rejected}
Curated by Winnow; the card with rules, funnel and examples lies in `{curated.folder}`.

{load}
"""
    write_text(folder / "README.md", text)


def _file_name(pattern: str, split: str, splits: tuple[str, ...]) -> str:
    return pattern.replace("{-split}", f"-{split}" if len(splits) > 1 else "").replace("{split}", split)


def _as_braces(names: list[str]) -> str:
    """``train-{00000..00007}.tar`` for a row of shards; the name itself for one file."""
    if len(names) < 2:
        return names[0] if names else ""
    first, last = (name.rsplit(".", 1)[0].rsplit("-", 1)[1] for name in (names[0], names[-1]))
    return names[0].replace(first, f"{{{first}..{last}}}", 1)
