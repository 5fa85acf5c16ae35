"""What trainers read of a row: its turns with a marker for each image, video and audio, tools, and preferences.

A row is of one of three kinds: ``sft`` (learn the answers), ``preference`` (a chosen and a rejected answer) or
``kto`` (a conversation with a label, good or bad). Trainers want them apart, because a file has one set of columns.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from curate.exports.rows import Row, Unfit
from winnow.rows.carried import objects_of
from winnow.rows.parts import AUDIO_MARKER, IMAGE_MARKER, VIDEO_MARKER
from winnow.rows.records import Turn
from winnow.rows.tools import calls_in, definitions_in

Kind = Literal["sft", "preference", "kto"]
KINDS: tuple[Kind, ...] = ("sft", "preference", "kto")
CALLS = frozenset({"tool_call", "function_call"})
RESULTS = frozenset(
    {"tool_response", "tool", "observation", "observations", "function_response", "function", "ipython"}
)
_WEIGHTS = ("loss_scale", "loss_weight", "weight")  # further fields of a turn that change how it is learned


@dataclass(frozen=True)
class Training:
    """A row for a trainer.

    Attributes:
        system: the system turn, '' without one.
        turns: the others, the chosen answer last.
        images, videos, audios: paths or URLs, as many as there are markers in the turns; a video may be a list of
            frames.
        objects: what ``<ref-object>`` and ``<bbox>`` in the turns stand for: ``{"ref": […], "bbox": […]}``; or None.
        tools: definitions as JSON text, '' without any.
        rejected: the text of the rejected last answer; None if there is none, or not only the answer differs.
        rejected_messages: the whole rejected conversation, where more than the last answer differs.
        rejected_images: images of the rejected side, where they differ.
        label: whether the conversation is a good one; None without a label.
        weights: of the turns' losses; None for a turn without one.
    """

    system: str
    turns: tuple[Turn, ...]
    images: list[str]
    videos: list[Any]
    audios: list[Any]
    objects: Mapping[str, Any] | None = None
    tools: str = ""
    rejected: str | None = None
    rejected_messages: tuple[Mapping[str, Any], ...] = ()
    rejected_images: tuple[str, ...] = ()
    label: bool | None = None
    weights: tuple[float | None, ...] = ()

    @property
    def kind(self) -> Kind:
        """What it can train."""
        if self.rejected is not None or self.rejected_messages or self.rejected_images:
            return "preference"
        return "sft" if self.label is None else "kto"


def training(row: Row, images: list[str], media_path: Callable[[str], str]) -> Training:
    """A row for a trainer; media without any marker come before the first question.

    Args:
        images: paths of its images.
        media_path: makes a path of a video, an audio or a rejected image one that the trainer finds.

    Raises:
        Unfit: markers and images, videos, audios or objects differ in number; or it has a rejected answer and a label.
    """
    meta = row.sample.meta
    turns = list(row.sample.conversations)
    system = turns.pop(0).value if turns and turns[0].role == "system" else ""
    videos, audios = (media_of(meta.get(key), media_path) for key in ("videos", "audios"))
    for marker, media in reversed(((IMAGE_MARKER, images), (VIDEO_MARKER, videos), (AUDIO_MARKER, audios))):
        turns = _with_markers(turns, marker, len(media), system)
    made = Training(
        system=system,
        turns=tuple(turns),
        images=images,
        videos=videos,
        audios=audios,
        objects=_objects(meta.get("objects"), turns),
        tools=_tools(meta.get("tools")),
        rejected=rejected if isinstance(rejected := meta.get("rejected"), str) else None,
        rejected_messages=_messages(meta.get("rejected_messages")),
        rejected_images=tuple(media_of(meta.get("rejected_images"), media_path)),
        label=label if isinstance(label := meta.get("label"), bool) else None,
        weights=_weights(meta.get("turn_fields"), len(turns)),
    )
    if made.kind == "preference" and made.label is not None:
        raise Unfit("it has a rejected answer and a label; a trainer takes one of them")
    return made


def _with_markers(turns: list[Turn], marker: str, wanted: int, system: str) -> list[Turn]:
    found = sum(turn.value.count(marker) for turn in turns) + system.count(marker)
    if found == 0 and wanted:
        first = next((number for number, turn in enumerate(turns) if turn.role == "user"), 0)
        opened = replace(turns[first], value=f"{marker}\n" * wanted + turns[first].value)
        return [*turns[:first], opened, *turns[first + 1 :]]
    if found != wanted or marker in system:
        raise Unfit(f"{found} {marker} markers in the turns for {wanted} {marker[1:-1]}s")
    return turns


def media_of(value: Any, media_path: Callable[[str], str]) -> list[Any]:
    """Paths, or for a video given as frames the list of theirs."""
    items = value if isinstance(value, list) else []
    return [
        media_path(item) if isinstance(item, str) else [media_path(frame) for frame in item if isinstance(frame, str)]
        for item in items
        if isinstance(item, str | list)
    ]


def _weights(fields: Any, turns: int) -> tuple[float | None, ...]:
    """Weights of the last ``turns`` turns, from their further fields."""
    listed = fields if isinstance(fields, list) and all(isinstance(one, dict) for one in fields) else []
    found = [next((one[key] for key in _WEIGHTS if isinstance(one.get(key), int | float)), None) for one in listed]
    return tuple(([None] * turns + found)[-turns:])


def _messages(value: Any) -> tuple[Mapping[str, Any], ...]:
    return tuple(value) if isinstance(value, list) and all(isinstance(item, dict) for item in value) else ()


def _objects(value: Any, turns: Sequence[Turn]) -> Mapping[str, Any] | None:
    held = objects_of({"objects": value})
    for marker, key in (("<bbox>", "bbox"), ("<ref-object>", "ref")):
        found = sum(turn.value.count(marker) for turn in turns)
        if found > len(held[marker]):
            raise Unfit(f"{found} {marker} markers in the turns for {len(held[marker])} in objects.{key}")
    return {**value, "bbox": held["<bbox>"]} if isinstance(value, dict) and any(held.values()) else None


def _tools(value: Any) -> str:
    """JSON text; '' for what is no definition of tools, as in a table with a column of that name."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
    return text if isinstance(text, str) and text.lstrip()[:1] in ("[", "{") else ""


def check_turns(row: Training, *, one_by_one: bool = False) -> None:
    """Check that user (or the result of a tool) and assistant (or a call) alternate, user first and assistant last.

    Args:
        one_by_one: a single turn each; otherwise several calls, their results, and text beside a call may follow one
            another.

    Raises:
        Unfit: they do not.
    """
    roles = [turn.name or turn.role for turn in row.turns]
    sides = [(turn.role, turn.role == "user" and turn.name in RESULTS) for turn in row.turns]
    if not one_by_one:
        sides = [side for side, _ in itertools.groupby(sides)]
    if not sides or [role for role, _ in sides] != ["user", "assistant"] * (len(sides) // 2):
        raise Unfit(
            f"turns must alternate between user and assistant and end with an answer; these are {', '.join(roles)}"
        )


def check_plain(row: Training, tool: str, *cannot: str) -> None:
    """Check that a row needs nothing that a format has no place for.

    Args:
        tool: its name, for the reason.
        cannot: of ``videos audios objects tools loss weights preference kto``.

    Raises:
        Unfit: the row needs one of these.
    """
    needs = {
        "videos": row.videos,
        "audios": row.audios,
        "objects": row.objects,
        "tools": row.tools or any(turn.name in CALLS | RESULTS for turn in row.turns),
        "loss": any(turn.role == "assistant" and turn.loss is False for turn in row.turns),
        "weights": any(turn.role == "user" and turn.loss for turn in row.turns)
        or any(weight is not None for weight in row.weights),
        "preference": row.kind == "preference",
        "kto": row.kind == "kto",
    }
    about = {
        "videos": "videos",
        "audios": "audios",
        "objects": "boxes of objects",
        "tools": "tools and their calls",
        "loss": "answers that are not to be learned (`loss: false`)",
        "weights": "weights of turns, or users' turns that are to be learned",
        "preference": "a rejected answer",
        "kto": "a label of a conversation",
    }
    for name in cannot:
        if needs[name]:
            raise Unfit(f"{tool} has no place for {about[name]}")


def split_chosen(row: Training) -> tuple[tuple[Turn, ...], tuple[Turn, ...]]:
    """The prompt, up to the last question or result of a tool, and the chosen answer."""
    end = max(number for number, turn in enumerate(row.turns) if turn.role == "user") + 1
    return row.turns[:end], row.turns[end:]


def rejected_text(row: Training, tool: str) -> str:
    """The rejected answer of a preference row.

    Raises:
        Unfit: more than the text of the last answer differs, or it does not differ.
    """
    text = row.rejected
    if text is None and not row.rejected_images:
        *before, last = row.rejected_messages
        own = ([{"role": "system", "content": row.system}] if row.system else []) + [
            {"role": turn.name or turn.role, "content": turn.value} for turn in row.turns[:-1]
        ]
        text = last.get("content") if before in ([], own) else None
    if not isinstance(text, str) or row.rejected_images:
        raise Unfit(f"{tool} takes a rejected answer only, and here more than the last answer differs")
    if text == row.turns[-1].value:
        raise Unfit("the rejected answer is the chosen one")
    return text


def blocks(text: str, media: Mapping[str, Iterator[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Text with markers as typed content: ``{"type": "text", "text": …}`` and a block for each marker.

    The line break between a marker and the text is left to the chat template.

    Args:
        media: marker → its blocks, in order.
    """
    found: list[dict[str, Any]] = []
    after_marker = False
    for piece in re.split(f"({'|'.join(map(re.escape, media))})", text):
        if piece in media:
            found.append(next(media[piece]))
            after_marker = True
            continue
        inner = piece.removeprefix("\n") if after_marker else piece
        if inner and inner != "\n":
            found.append({"type": "text", "text": inner})
    return found or [{"type": "text", "text": ""}]


def calls_of(turn: Turn, tool: str) -> list[tuple[str, Any]]:
    """Name and arguments of each call in a turn: JSON with ``name`` and ``arguments``, or a list of these.

    Raises:
        Unfit: it is not such JSON.
    """
    try:
        return calls_in(turn.value)
    except ValueError:
        raise Unfit(f"{tool} needs a call of a tool as JSON with `name` and `arguments`") from None


def tool_definitions(row: Training, tool: str) -> list[Any]:
    """The definitions of tools as a list.

    Raises:
        Unfit: they are not JSON of a list.
    """
    try:
        return definitions_in(row.tools)
    except ValueError:
        raise Unfit(f"{tool} needs `tools` as a JSON list") from None
