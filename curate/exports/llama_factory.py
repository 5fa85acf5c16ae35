"""LLaMA-Factory, https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md.

It describes the files in ``dataset_info.json``. A column or tag that it does not name counts as absent, so all are
named. The number of ``<image>``, ``<video>`` and ``<audio>`` must equal that of the files, or training stops; turns
out of order lose the row. Files are looked for in ``media_dir``, by default the dataset's folder.
"""

from __future__ import annotations

from typing import Any

from curate.exports.json_lines import write_lines
from curate.exports.rows import Format, Part, Row, Rows, Target
from curate.exports.training import (
    CALLS,
    KINDS,
    RESULTS,
    check_plain,
    check_turns,
    rejected_text,
    tool_definitions,
    training,
)
from winnow.files import write_json
from winnow.rows.records import Turn

DATASET_INFO = "dataset_info.json"
_OPTIONAL = ("videos", "audios", "tools")  # columns of sets that have them
_OWN = {"preference": ("chosen", "rejected"), "kto": ("kto_tag",)}  # columns of a kind
_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}


def llama_factory_record(row: Row, paths: list[str], target: Target) -> tuple[str, dict[str, Any]]:
    """A row for LLaMA-Factory: its kind, and the record."""
    made = training(row, paths, target.curated.media_path)
    check_plain(made, "LLaMA-Factory", "objects", "loss", "weights")
    check_turns(made, one_by_one=True)
    tool_definitions(made, "LLaMA-Factory")
    messages = [_message(turn) for turn in made.turns]
    record: dict[str, Any] = {"id": row.sample.id, "messages": messages, "system": made.system, "images": paths}
    optional = {"videos": made.videos, "audios": made.audios, "tools": made.tools}
    record |= {name: value for name, value in optional.items() if name in target.curated.meta_keys}
    if made.kind == "preference":
        rejected = {"role": messages[-1]["role"], "content": rejected_text(made, "LLaMA-Factory")}
        record |= {"messages": messages[:-1], "chosen": messages[-1], "rejected": rejected}
    if made.kind == "kto":
        record["kto_tag"] = made.label
    return made.kind, record


def _message(turn: Turn) -> dict[str, str]:
    role = "function_call" if turn.name in CALLS else "observation" if turn.name in RESULTS else turn.role
    return {"role": role, "content": turn.value}


def write_llama_factory(rows: Rows, target: Target) -> list[Part]:
    """Write the files, and ``dataset_info.json`` with a dataset ``<name>_<file>`` for each."""
    parts = write_lines(rows, target, llama_factory_record, kinds=KINDS)
    optional = [name for name in _OPTIONAL if name in target.curated.meta_keys]
    datasets = {}
    for part in parts:
        columns = ["messages", "system", "images", *optional, *_OWN.get(part.kind, ())]
        for name in part.files.values():
            datasets[f"{target.curated.name}_{name.removesuffix('.jsonl')}"] = {
                "file_name": name,
                "formatting": "sharegpt",
                **({"ranking": True} if part.kind == "preference" else {}),
                "columns": {column: column for column in columns},
                "tags": _TAGS,
            }
    write_json(target.folder / DATASET_INFO, datasets)
    return parts


FORMATS = {
    "llama-factory": Format(
        write_llama_factory,
        {"": "```yaml\ndataset_dir: {here}\ndataset: {name}_{stem}\n```"},
    )
}
