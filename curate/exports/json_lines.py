"""Exports with one JSON object a line and one file a split: Winnow's own records and three trainers' formats.

What the trainers insist on:

- LLaMA-Factory describes the files in ``dataset_info.json``. A column or tag that it does not name counts as absent,
  so all are named. The number of ``<image>`` must equal that of the images, or training stops; turns out of order lose
  the row. Images are looked for in ``media_dir``, by default the dataset's folder.
- ms-swift deletes rows that it cannot read without naming them, keeps surplus markers as text, and drops columns
  whose names are not its own; ``channel`` is one of its own (loss by source). A relative path is relative to the
  current directory or to ``ROOT_IMAGE_DIR``.
- TRL wants no ``<image>`` in text: an image is a block ``{"type": "image"}`` where it stands, as many as ``images``
  has. The column ``images``, even if empty, makes TRL treat the set as one with images. Content is typed in every
  row, because an Arrow column has one type.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterable
from typing import Any

from curate.exports.rows import Format, Row, Target, Unfit, copy_images
from winnow.conversations import IMAGE_MARKER
from winnow.files import atomic_path, write_json
from winnow.records import Sample, to_record

RecordOf = Callable[[Row, list[str], bool], dict[str, Any]]  # row, paths of its images, whether they were copied


def write_lines(rows: Iterable[Row], target: Target, record_of: RecordOf, stem: str = "{split}") -> None:
    """Write ``<stem>.jsonl`` for each split; rows for which ``record_of`` raises ``Unfit`` are rejected."""
    with contextlib.ExitStack() as stack:
        handles = {}
        for split in target.splits:
            path = stack.enter_context(atomic_path(target.folder / f"{stem.format(split=split)}.jsonl"))
            handles[split] = stack.enter_context(path.open("w", encoding="utf-8", newline="\n"))
        for row in rows:
            try:
                record = record_of(row, list(row.files), False)
                if target.copy:
                    record = record_of(row, copy_images(row, target.folder), True)
            except Unfit as why:
                target.reject(row.sample.id, str(why))
                continue
            handles[row.split].write(json.dumps(record, ensure_ascii=False) + "\n")


def write_jsonl(rows: Iterable[Row], target: Target) -> None:
    """Write Winnow's own records to ``samples.jsonl``, or to ``samples-<split>.jsonl`` if there are several splits."""
    write_lines(rows, target, winnow_record, "samples" if len(target.splits) == 1 else "samples-{split}")


def winnow_record(row: Row, paths: list[str], copied: bool) -> dict[str, Any]:
    """``image`` is relative to the curation's image root, or to the export if images are copied."""
    record = to_record(row.sample)
    if copied and paths:
        record["image"] = paths[0] if len(paths) == 1 else paths
    return record


def swift_record(row: Row, paths: list[str], copied: bool) -> dict[str, Any]:
    """A row for ms-swift."""
    return {"id": row.sample.id, "messages": messages(row.sample), "images": paths, "channel": row.sample.source}


def trl_record(row: Row, paths: list[str], copied: bool) -> dict[str, Any]:
    """A row for TRL's SFTTrainer."""
    turns = [{"role": turn["role"], "content": blocks(turn["content"])} for turn in messages(row.sample)]
    return {"id": row.sample.id, "messages": turns, "images": paths}


def llama_factory_record(row: Row, paths: list[str], copied: bool) -> dict[str, Any]:
    """A row for LLaMA-Factory."""
    system, turns = conversation(row.sample)
    return {"id": row.sample.id, "messages": turns, "system": system, "images": paths}


DATASET_INFO = "dataset_info.json"
_DESCRIPTION = {
    "formatting": "sharegpt",
    "columns": {"messages": "messages", "system": "system", "images": "images"},
    "tags": {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "observation_tag": "observation",
        "function_tag": "function_call",
        "system_tag": "system",
    },
}


def write_llama_factory(rows: Iterable[Row], target: Target) -> None:
    """Write ``<split>.jsonl`` and ``dataset_info.json`` with a dataset ``<name>_<split>`` for each."""
    write_lines(rows, target, llama_factory_record)
    datasets = {f"{target.name}_{split}": {"file_name": f"{split}.jsonl", **_DESCRIPTION} for split in target.splits}
    write_json(target.folder / DATASET_INFO, datasets)


FORMATS = {
    "jsonl": Format(
        write_jsonl,
        "samples{-split}.jsonl",
        "One Winnow record a line; `image` is relative to {root}.",
    ),
    "ms-swift": Format(
        functools.partial(write_lines, record_of=swift_record),
        "{split}.jsonl",
        "```bash\n{variable}swift sft --dataset {first} …\n```",
    ),
    "llama-factory": Format(
        write_llama_factory,
        "{split}.jsonl",
        "```yaml\ndataset_dir: {here}\ndataset: {name}_{split}\n```",
    ),
    "trl": Format(
        functools.partial(write_lines, record_of=trl_record),
        "{split}.jsonl",
        '```python\nrows = datasets.load_dataset("json", data_files="{first}", split="train")\n'
        'rows = rows.cast_column("images", datasets.List(datasets.Image()))\n'
        "SFTTrainer(…, train_dataset=rows)\n```",
    ),
}


def conversation(sample: Sample) -> tuple[str, list[dict[str, str]]]:
    """The system turn ('' without one) and the others, as ``{"role": …, "content": …}``, as trainers want them.

    User and assistant alternate, user first and assistant last. There is an ``<image>`` for each image; images without
    any marker come before the first question.

    Raises:
        Unfit: turns do not alternate between user and assistant after an optional system turn, or the number of
            markers differs from the number of images.
    """
    turns = [(turn.role, turn.value) for turn in sample.conversations]
    system = turns.pop(0)[1] if turns and turns[0][0] == "system" else ""
    roles = [role for role, _ in turns]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        raise Unfit(
            f"turns must alternate between user and assistant and end with an answer; these are {', '.join(roles)}"
        )
    markers = sum(text.count(IMAGE_MARKER) for _, text in turns) + system.count(IMAGE_MARKER)
    if markers == 0 and sample.image:
        turns[0] = ("user", f"{IMAGE_MARKER}\n" * len(sample.image) + turns[0][1])
    elif markers != len(sample.image) or IMAGE_MARKER in system:
        raise Unfit(f"{markers} <image> markers in the turns for {len(sample.image)} images")
    return system, [{"role": role, "content": text} for role, text in turns]


def messages(sample: Sample) -> list[dict[str, str]]:
    """The turns of ``conversation``, the system turn first if there is one."""
    system, turns = conversation(sample)
    return [{"role": "system", "content": system}, *turns] if system else turns


def blocks(text: str) -> list[dict[str, Any]]:
    """Text with markers as typed content: ``{"type": "image"}`` and ``{"type": "text", "text": …}``.

    The line break between a marker and the text is left to the chat template.
    """
    found: list[dict[str, Any]] = []
    for number, piece in enumerate(text.split(IMAGE_MARKER)):
        if number:
            found.append({"type": "image"})
        inner = piece.removeprefix("\n") if number else piece
        if inner and inner != "\n":
            found.append({"type": "text", "text": inner})
    return found or [{"type": "text", "text": ""}]
