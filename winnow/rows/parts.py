"""The content of a turn: a text, or a list of parts (texts, images, videos, sounds, calls of tools).

Known are the parts of OpenAI, Anthropic, TRL, Qwen, ms-swift and LLaMA-Factory. A part that is a file becomes a
marker in the text, and so does Qwen-VL's ``<img>path</img>``; what it refers to is collected beside the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

IMAGE_MARKER, VIDEO_MARKER, AUDIO_MARKER = "<image>", "<video>", "<audio>"
MEDIA_MARKERS = (IMAGE_MARKER, VIDEO_MARKER, AUDIO_MARKER)
# For each marker, in order, the file it stands for; None where the record lists its files elsewhere.
Media = dict[str, list[Any]]

_TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal"})
_FILE_PARTS = {
    "image": IMAGE_MARKER, "image_url": IMAGE_MARKER, "input_image": IMAGE_MARKER,
    "video": VIDEO_MARKER, "video_url": VIDEO_MARKER, "input_video": VIDEO_MARKER,
    "audio": AUDIO_MARKER, "audio_url": AUDIO_MARKER, "input_audio": AUDIO_MARKER,
}  # fmt: skip
_REASONING = frozenset({"reasoning", "thinking"})
_MARKED = re.compile(
    r"<(?P<tag>img|video|audio)>(?P<path>[^<>\n]+)</(?P=tag)>|<(?:image|video|audio|ImageHere)>"
    r"|<\|?image[ _]?\d+\|?>"
)
_INTERNLM = "<ImageHere>"  # InternLM-XComposer's marker
_TAGS = {"img": IMAGE_MARKER, "video": VIDEO_MARKER, "audio": AUDIO_MARKER}


def pieces(content: Any, media: Media, *, named: Mapping[str, str], tags: bool) -> list[tuple[str, str]]:
    """What a turn holds, as (name, text) in order; the name is ``tool_call``, ``tool_response`` or ''.

    Args:
        media: gets what the markers of the texts stand for.
        named: files by the marker that stands for them (MiniCPM-V's ``<image_00>``).
        tags: whether ``<img>path</img>`` and ``<ImageHere>`` are images.

    Raises:
        ValueError: neither a text nor a list of known parts.
    """
    if isinstance(content, str):
        return [("", with_plain_markers(content, media, named=named, tags=tags))]
    parts = [content] if isinstance(content, dict) else content
    if not isinstance(parts, list):
        raise ValueError("has no text")
    found: list[tuple[str, str]] = []
    for part in parts:
        name, text = _piece(part, media, named=named, tags=tags)
        if found and name == found[-1][0] == "":
            found[-1] = ("", found[-1][1] + text)
        else:
            found.append((name, text))
    return found or [("", "")]


def with_plain_markers(text: str, media: Media, *, named: Mapping[str, str], tags: bool) -> str:
    """The text with a plain marker for each file; arguments as of ``pieces``."""
    if "<" not in text:
        return text

    def plain(found: re.Match[str]) -> str:
        if found["tag"]:
            if not tags:
                return found[0]
            marker, file = _TAGS[found["tag"]], found["path"]
        elif found[0] in MEDIA_MARKERS:
            marker, file = found[0], None
        elif found[0] == _INTERNLM and tags:
            marker, file = IMAGE_MARKER, None
        elif found[0] in named:
            marker, file = IMAGE_MARKER, named[found[0]]
        else:
            return found[0]
        media.setdefault(marker, []).append(file)
        return marker

    return _MARKED.sub(plain, text)


def _piece(part: Any, media: Media, *, named: Mapping[str, str], tags: bool) -> tuple[str, str]:
    if isinstance(part, str):
        part = {"type": "text", "text": part}
    if not isinstance(part, dict):
        raise ValueError("has a part that is no object")
    kind = part.get("type") or next((key for key in ("text", *_FILE_PARTS) if part.get(key) is not None), None)
    kind = kind if isinstance(kind, str) else None
    if kind in _FILE_PARTS:
        marker = _FILE_PARTS[kind]
        media.setdefault(marker, []).append(_file_of(part, kind, marker.strip("<>")))
        return "", marker
    text = next((part[key] for key in (kind, "text", "value", "content") if part.get(key) is not None), None)
    if kind in _TEXT_PARTS and isinstance(text, str):
        return "", with_plain_markers(text, media, named=named, tags=tags)
    if kind in _REASONING and isinstance(text, str):
        return "", f"<think>\n{text}\n</think>\n\n"
    if kind == "tool_call" and text is not None:
        return "tool_call", json_text(text)
    if kind == "tool_use" and isinstance(part.get("name"), str):
        return "tool_call", json_text({"name": part["name"], "arguments": part.get("input") or {}})
    if kind == "tool_result":
        inner = pieces(part.get("content") or "", media, named=named, tags=tags)
        return "tool_response", "".join(text for _, text in inner)
    raise ValueError(f"has a part of type {kind!r} that cannot be read")


def _file_of(part: Mapping[str, Any], kind: str, plain_kind: str) -> Any:
    keys = (kind, "value", plain_kind, "path", "url", "source", f"{plain_kind}_url")
    value = next((part[key] for key in keys if part.get(key)), None)
    return None if value is None else file_of(value, plain_kind)


def file_of(value: Any, kind: str) -> Any:
    """A path, URL or data URI, from a text or an object with ``path``, ``url``, ``bytes`` or ``data`` (base64).

    A video may be a list of frames, which stays one. None for an object that names nothing.

    Args:
        kind: ``image``, ``video`` or ``audio``.

    Raises:
        ValueError: something else.
    """
    if isinstance(value, str) and value:
        return value
    if isinstance(value, dict):
        data = value.get("bytes") or value.get("data")
        if isinstance(data, str) and "." in data and data[:5].lower() != "data:":
            return data  # no base64: a path or URL, as EvalScope has it
        if isinstance(data, str):
            media_type = value.get("media_type") or (f"{kind}/{value['format']}" if value.get("format") else "")
            return data if data[:5].lower() == "data:" else f"data:{media_type};base64,{data}"
        named = value.get("path") or value.get("url")
        if isinstance(named, str) or (data is None and named is None and {"path", "url", "bytes"} & value.keys()):
            return named or None
    if kind == "video" and isinstance(value, list) and value:
        return [file_of(frame, "image") for frame in value]
    raise ValueError(f"{kind!r} must be a path or a list of paths")


def json_text(value: Any) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
