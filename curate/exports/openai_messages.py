"""OpenAI's chat messages, as its fine-tuning, ms-swift and many servers and tools read them.

An image is a part ``{"type": "image_url", "image_url": {"url": …}}`` of a user's message. The URL is the path of the
file (what EvalScope, ms-swift and vLLM take), or with ``images: copy`` a data URI, which OpenAI's fine-tuning asks
for (JPEG, PNG or WEBP, RGB or RGBA, at most 10 MB; https://developers.openai.com/api/docs/guides/vision-fine-tuning).
Calls of tools are ``tool_calls``, their results messages of the role ``tool``, and ``weight: 0`` marks an answer that
is not to be learned.
"""

from __future__ import annotations

import base64
import functools
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.exports.json_lines import write_lines
from curate.exports.rows import Format, Row, Target, Unfit, read_image, suffix_of
from curate.exports.training import (
    CALLS,
    RESULTS,
    Training,
    blocks,
    calls_of,
    check_plain,
    check_turns,
    tool_definitions,
    training,
)
from winnow.rows.parts import AUDIO_MARKER, IMAGE_MARKER, VIDEO_MARKER
from winnow.rows.records import Turn

_AUDIO = ("wav", "mp3")


def openai_record(row: Row, paths: list[str], target: Target) -> tuple[str, dict[str, Any]]:
    """A row as OpenAI's messages."""
    made = training(row, paths, target.curated.media_path)
    check_plain(made, "OpenAI's form", "videos", "audios", "objects", "weights", "preference", "kto")
    check_turns(made)
    record: dict[str, Any] = {"messages": messages(made, made.turns)}
    return "", record | ({"tools": tool_definitions(made, "OpenAI")} if made.tools else {})


def messages(row: Training, turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """Turns of a row as messages, the system's first; calls join the assistant's text before them.

    Raises:
        Unfit: an image stands elsewhere than in a user's message, or a call is not JSON.
    """
    media = media_parts(row)
    made: list[dict[str, Any]] = [{"role": "system", "content": row.system}] if row.system else []
    numbers = itertools.count()
    waiting: list[str] = []  # ids of calls without a result
    for turn in turns:
        if turn.name in CALLS:
            if made[-1]["role"] != "assistant":
                made.append({"role": "assistant", "content": None})
            for name, arguments in calls_of(turn, "OpenAI's form"):
                waiting.append(f"call_{next(numbers)}")
                text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
                function = {"name": name, "arguments": text}
                call = {"id": waiting[-1], "type": "function", "function": function}
                made[-1].setdefault("tool_calls", []).append(call)
        elif turn.name in RESULTS:
            if not waiting:
                raise Unfit("a result of a tool that was not called")
            made.append({"role": "tool", "tool_call_id": waiting.pop(0), "content": _plain(turn, media)})
        elif turn.role == "user":
            parts = blocks(turn.value, media)
            has_media = any(part["type"] != "text" for part in parts)
            made.append({"role": "user", "content": parts if has_media else turn.value})
        else:
            made.append({"role": "assistant", "content": _plain(turn, media)})
        if turn.loss is not None and turn.role == "assistant":
            made[-1]["weight"] = int(turn.loss)
    return made


def _plain(turn: Turn, media: Mapping[str, Any]) -> str:
    if any(marker in turn.value for marker in media):
        raise Unfit("OpenAI's form has images in messages of the user only")
    return turn.value


def media_parts(row: Training) -> dict[str, Iterator[dict[str, Any]]]:
    """Marker → its parts, in order.

    Raises:
        Unfit: an audio is neither WAV nor MP3, or a video is given as frames.
    """
    if any(not isinstance(path, str) for path in row.videos):
        raise Unfit("a video must be a file; this one is given as frames")
    audios = [(path, path.rpartition(".")[2].lower()) for path in row.audios]
    for path, kind in audios:
        if kind not in _AUDIO:
            raise Unfit(f"audio must be WAV or MP3, by its suffix; this is {path}")
    urls = (("image_url", IMAGE_MARKER, row.images), ("video_url", VIDEO_MARKER, row.videos))
    parts = {marker: iter([{"type": kind, kind: {"url": path}} for path in paths]) for kind, marker, paths in urls}
    sounds = [{"type": "input_audio", "input_audio": {"data": path, "format": kind}} for path, kind in audios]
    return {**parts, AUDIO_MARKER: iter(sounds)}


def data_uris(row: Row, _: Path) -> list[str]:
    """The images of a row as data URIs."""
    found = []
    for number in range(len(row.files)):
        data = read_image(row, number)
        kind = suffix_of(data).replace("jpg", "jpeg")
        found.append(f"data:image/{kind};base64,{base64.b64encode(data).decode()}")
    return found


_LOAD = """One `{{"messages": […]}}` a line; `--images copy` puts the images into the rows.

```python
openai.files.create(file=open("{first}", "rb"), purpose="fine-tune")
```"""

FORMATS = {
    "openai-messages": Format(
        functools.partial(write_lines, record_of=openai_record, copied=data_uris),
        {"": _LOAD},
    )
}
