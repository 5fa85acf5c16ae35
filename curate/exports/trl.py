"""TRL, https://huggingface.co/docs/trl/dataset_formats.

It wants no ``<image>`` in text: an image is a block ``{"type": "image"}`` where it stands, as many as ``images`` has.
The column ``images``, even if empty, makes TRL treat the set as one with images. Content is typed in every row,
because an Arrow column has one type. Rows are for SFTTrainer (``messages``, or ``prompt`` and ``completion`` where only
the last answer is to be learned), DPOTrainer (``prompt``, ``chosen``, ``rejected``) or KTOTrainer (``prompt``,
``completion``, ``label``).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from curate.exports.json_lines import write_lines
from curate.exports.rows import Format, Row, Target
from curate.exports.training import (
    CALLS,
    KINDS,
    RESULTS,
    blocks,
    calls_of,
    check_plain,
    check_turns,
    rejected_text,
    split_chosen,
    tool_definitions,
    training,
)
from winnow.rows.parts import IMAGE_MARKER
from winnow.rows.records import Turn


def trl_record(row: Row, paths: list[str], target: Target) -> tuple[str, dict[str, Any]]:
    """A row for TRL: its kind, and the record."""
    made = training(row, paths, target.curated.media_path)
    check_plain(made, "TRL", "videos", "audios", "objects")
    check_turns(made)
    record: dict[str, Any] = {"id": row.sample.id}
    system = [_message("system", made.system)] if made.system else []
    prompt, chosen = split_chosen(made)
    kind: str = made.kind
    if kind == "sft" and all(turn.loss is False for turn in prompt if turn.role == "assistant") and len(prompt) > 1:
        kind = "completion"  # only the last answer is learned
        prompt = tuple(replace(turn, loss=None) for turn in prompt)
    check_plain(replace(made, turns=prompt + chosen), "TRL", "loss", "weights")
    if kind == "sft":
        record["messages"] = system + _messages(made.turns)
    else:
        record["prompt"] = system + _messages(prompt)
        if kind == "completion":
            record["completion"] = _messages(chosen)
        elif kind == "preference":
            record |= {"chosen": _messages(chosen), "rejected": [_message("assistant", rejected_text(made, "TRL"))]}
        else:
            record |= {"completion": _messages(chosen), "label": made.label}
    record["images"] = paths
    if "tools" in target.curated.meta_keys:
        record["tools"] = tool_definitions(made, "TRL")
    return kind, record


def _message(role: str, text: str) -> dict[str, Any]:
    images = itertools.repeat({"type": "image"})
    return {"role": role, "content": blocks(text, {IMAGE_MARKER: images})}


def _messages(turns: Iterable[Turn]) -> list[dict[str, Any]]:
    """Messages; calls join the assistant's text before them."""
    made: list[dict[str, Any]] = []
    for turn in turns:
        if turn.name in CALLS:
            if not made or made[-1]["role"] != "assistant":
                made.append({"role": "assistant", "content": []})
            made[-1].setdefault("tool_calls", []).extend(
                {"type": "function", "function": {"name": name, "arguments": arguments}}
                for name, arguments in calls_of(turn, "TRL")
            )
        else:
            made.append(_message("tool" if turn.name in RESULTS else turn.role, turn.value))
    return made


LOAD = """```python
rows = datasets.load_dataset("json", data_files="{first}", split="train")
rows = rows.cast_column("images", datasets.List(datasets.Image()))
%s(…, train_dataset=rows)
```"""

FORMATS = {
    "trl": Format(
        functools.partial(write_lines, record_of=trl_record, kinds=(*KINDS, "completion")),
        {"": LOAD % "SFTTrainer", "preference": LOAD % "DPOTrainer", "kto": LOAD % "KTOTrainer"},
    )
}
