"""Whether a row says what is to be learned: its roles, answers, markers and control tokens, without any processor."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from finetune.data.chat import (
    audios_of,
    is_call,
    is_result,
    is_trained,
    message_turns,
    split_reasoning,
    videos_of,
    with_reasoning,
)
from winnow.rows.carried import objects_of
from winnow.rows.conversations import MEDIA_MARKERS
from winnow.rows.parts import AUDIO_MARKER, VIDEO_MARKER, json_text
from winnow.rows.records import Sample, without_markers

_WEIGHTS = ("loss_weight", "loss_scale", "weight")


def form_problem(sample: Sample, forbidden: frozenset[str]) -> tuple[str, str] | None:
    """Reason and detail if the sample's turns cannot be trained, else None.

    Args:
        forbidden: control tokens, see ``finetune.data.chat.control_tokens``.
    """
    whole = with_reasoning(sample)
    turns = whole[1:] if whole[0].role == "system" else whole
    roles = [turn.role for turn in turns]
    if not any(map(is_trained, turns)):
        return "no_answer", "every answer has loss: false" if "assistant" in roles else "no assistant turn"
    if unfit := _untrainable(sample):
        return unfit
    groups = message_turns(turns)
    sides = "".join("a" if g[0].role == "assistant" else "t" if is_result(g[0]) else g[0].role[0] for g in groups)
    if not re.fullmatch(r"(u(at+)*a)+", sides):
        return "roles_do_not_alternate", " ".join(turn.name or turn.role for turn in sample.conversations)
    answers = [g[0].value for g in groups if g[0].role == "assistant" and not any(map(is_call, g))]
    if not all(split_reasoning(answer)[1].strip() for answer in answers):
        return "empty_answer", "an assistant turn is empty"
    files = (("images", sample.image), ("videos", videos_of(sample)), ("audios", audios_of(sample)))
    for marker, (kind, listed) in zip(MEDIA_MARKERS, files, strict=True):
        markers = sum(turn.value.count(marker) for turn in turns if turn.role == "user")
        stray = sum(turn.value.count(marker) for turn in whole) - markers
        if stray or markers not in (0, len(listed)):
            return "markers_do_not_match", f"{markers + stray} {marker} markers, {len(listed)} {kind}"
    texts = [json_text(sample.meta.get("tools") or "")]
    for turn in whole:
        texts += filter(None, split_reasoning(turn.value)) if turn.role == "assistant" else [turn.value]
    if found := _any_of(forbidden).search(without_markers("\n".join(texts))):
        return "control_token", found[0]
    return None


@lru_cache(maxsize=4)
def _any_of(tokens: frozenset[str]) -> re.Pattern[str]:
    """Matches each of the tokens; some models have thousands."""
    return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or r"(?!)")


def _untrainable(sample: Sample) -> tuple[str, str] | None:
    """Reason and detail if training would lose what the row means."""
    if any(turn.loss and turn.role != "assistant" for turn in sample.conversations):
        return "trained_question", "a turn that is not the assistant's has loss: true"
    fields = sample.meta.get("turn_fields")
    for own in fields if isinstance(fields, list) else ():
        if isinstance(own, dict) and any(isinstance(own.get(key), int | float) for key in _WEIGHTS):
            return "weighted_answer", "a turn has a weight other than 0 and 1, and training knows none"
    if sample.meta.get("label") is False:
        return "unwanted_answer", "label: false marks the answer as one to avoid"
    for kind in ("videos", "audios"):
        if sample.meta.get(kind) and not _are_paths(sample.meta[kind], frames=kind == "videos"):
            return "not_only_images", f"meta.{kind} must be a list of paths"
    files = {VIDEO_MARKER: sample.meta.get("videos"), AUDIO_MARKER: sample.meta.get("audios")}
    unresolved = [*objects_of(sample.meta), *(marker for marker, given in files.items() if not given)]
    if marker := next((one for one in unresolved for turn in sample.conversations if one in turn.value), None):
        return "unresolved_marker", f"{marker} stands for something that is not given to the model"
    return None


def _are_paths(listed: Any, *, frames: bool) -> bool:
    """Whether it is a list of texts; with ``frames``, lists of texts may be among them."""
    return isinstance(listed, list) and all(
        isinstance(item, str) or (frames and bool(item) and _are_paths(item, frames=False)) for item in listed
    )
