"""LLaMA-Factory: JSONL and the ``dataset_info.json`` that describes it.

A column or tag that ``dataset_info.json`` does not name counts as absent, so all are named. The
number of ``<image>`` must equal that of images, or training stops; turns out of order lose the
row. Images are looked for in ``media_dir``, which is the dataset's folder unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from curate.exports.json_lines import conversation, write_lines
from curate.exports.rows import Row, Target
from winnow.files import write_json

INFO = "dataset_info.json"
_COLUMNS = {"messages": "messages", "system": "system", "images": "images"}
_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}


def write(rows: Iterable[Row], target: Target) -> None:
    """Write ``<split>.jsonl`` and ``dataset_info.json`` with a dataset ``<name>_<split>`` for each."""
    write_lines(rows, target, _record)
    described = {"formatting": "sharegpt", "columns": _COLUMNS, "tags": _TAGS}
    named = {f"{target.name}_{split}": {"file_name": f"{split}.jsonl", **described} for split in target.splits}
    write_json(target.folder / INFO, named)


def _record(row: Row, paths: list[str]) -> dict[str, Any]:
    found = conversation(row.sample)
    return {
        "id": row.sample.id,
        "messages": found.messages(with_system=False),
        "system": found.system,
        "images": paths,
    }
