"""ms-swift: its standard form, https://swift.readthedocs.io/en/latest/Customization/Custom-dataset.html.

It deletes rows that it cannot read without naming them, keeps surplus markers as text, and drops columns whose names
are not its own; ``channel`` is one of its own (loss by source). A row with ``rejected_response: null`` is deleted, so
that rows with ``rejected_messages`` have a file of their own. A relative path is relative to the current directory or
to ``ROOT_IMAGE_DIR``.
"""

from __future__ import annotations

import functools
from typing import Any

from curate.exports.json_lines import write_lines
from curate.exports.rows import Format, Row, Target, Unfit
from curate.exports.training import (
    CALLS,
    KINDS,
    RESULTS,
    Training,
    check_turns,
    split_chosen,
    tool_definitions,
    training,
)
from winnow.rows.records import Turn


def swift_record(row: Row, paths: list[str], target: Target) -> tuple[str, dict[str, Any]]:
    """A row for ms-swift: its kind, and the record."""
    made = training(row, paths, target.curated.media_path)
    if not made.turns or any(turn.role != "assistant" for turn in made.turns):  # answers alone are for pre-training
        check_turns(made)
    messages = [{"role": "system", "content": made.system}] if made.system else []
    messages += [_message(turn, weight) for turn, weight in zip(made.turns, made.weights, strict=True)]
    tool_definitions(made, "ms-swift")
    held = target.curated.meta_keys
    optional = {
        "videos": made.videos,
        "audios": made.audios,
        "objects": made.objects,
        "tools": made.tools or None,
    }
    record = {
        "id": row.sample.id,
        "messages": messages,
        "images": paths,
        **{name: value for name, value in optional.items() if name in held},
        "channel": row.sample.meta.get("channel") or row.sample.source,
    }
    if made.kind == "sft":
        return "sft", record
    if made.kind == "kto":
        return "kto", {**record, "label": made.label}
    if made.rejected is not None and not made.rejected_messages and not made.rejected_images:
        if [made.rejected] == [turn.value for turn in split_chosen(made)[1]]:
            raise Unfit("the rejected answer is the chosen one")
        return "preference", {**record, "rejected_response": made.rejected}
    return "preference-messages", {**record, **_rejected_side(made, messages, paths)}


def _message(turn: Turn, weight: float | None) -> dict[str, Any]:
    role = "tool_call" if turn.name in CALLS else "tool_response" if turn.name in RESULTS else turn.role
    losses = {"loss": turn.loss, "loss_scale": weight}
    return {"role": role, "content": turn.value} | {key: value for key, value in losses.items() if value is not None}


def _rejected_side(made: Training, messages: list[dict[str, Any]], paths: list[str]) -> dict[str, Any]:
    """The whole rejected conversation with its own images, videos and audios."""
    rejected: list[Any] = list(made.rejected_messages)
    if not rejected:
        prompt = messages[: len(messages) - len(split_chosen(made)[1])]
        rejected = messages if made.rejected is None else [*prompt, {"role": "assistant", "content": made.rejected}]
    images = list(made.rejected_images) or paths
    found = sum(str(message.get("content")).count("<image>") for message in rejected)
    if found != len(images):
        raise Unfit(f"{found} <image> markers in the rejected messages for {len(images)} images")
    side: dict[str, Any] = {"rejected_messages": rejected, "rejected_images": images}
    side |= {"rejected_videos": made.videos} if made.videos else {}
    return side | ({"rejected_audios": made.audios} if made.audios else {})


FORMATS = {
    "ms-swift": Format(
        functools.partial(write_lines, record_of=swift_record, kinds=(*KINDS, "preference-messages")),
        {
            "": "```bash\n{variable}swift sft --dataset {first} …\n```",
            "preference": "```bash\n{variable}swift rlhf --rlhf_type dpo --dataset {first} …\n```",
            "preference-messages": "```bash\n{variable}swift rlhf --rlhf_type dpo --dataset {first} …\n```",
            "kto": "```bash\n{variable}swift rlhf --rlhf_type kto --dataset {first} …\n```",
        },
    )
}
