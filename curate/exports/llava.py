"""LLaVA: a JSON list of ``id``, ``image`` and ``conversations`` of ``human`` and ``gpt``, as its ``train.py`` reads
them.

The id is the dataset's own, with its type. Images are relative to ``--image_folder``; a row with several has a list,
which LLaVA-NeXT takes and LLaVA 1.5 does not.
"""

from __future__ import annotations

import functools
from typing import Any

from curate.exports.json_lines import write_lines
from curate.exports.rows import Format, Row, Target, Unfit
from curate.exports.training import check_plain, check_turns, training
from winnow.rows.records import Sample

_ROLES = {"user": "human", "assistant": "gpt"}


def llava_record(row: Row, paths: list[str], target: Target) -> tuple[str, dict[str, Any]]:
    """A row for LLaVA."""
    made = training(row, paths if target.copy else list(row.sample.image), target.curated.media_path)
    check_plain(made, "LLaVA", "videos", "audios", "objects", "tools", "loss", "weights", "preference", "kto")
    check_turns(made, one_by_one=True)
    if made.system:
        raise Unfit("LLaVA has no place for a system turn")
    record: dict[str, Any] = {"id": own_id(row.sample)}
    if made.images:
        record["image"] = made.images[0] if len(made.images) == 1 else made.images
    record["conversations"] = [{"from": _ROLES[turn.role], "value": turn.value} for turn in made.turns]
    return "", record


def own_id(sample: Sample) -> str | int | float:
    """The dataset's own id with its type: without the source and split that Winnow puts before it."""
    typed = sample.meta.get("id")
    if isinstance(typed, int | float) and sample.id.endswith(str(typed)):
        return typed
    return sample.id.removeprefix("/".join([*filter(None, (sample.source, sample.split)), ""]))


FORMATS = {
    "llava": Format(
        functools.partial(write_lines, record_of=llava_record, names="{split}.json"),
        {"": "```bash\npython llava/train/train_mem.py --data_path {first} --image_folder {image_root} …\n```"},
    )
}
