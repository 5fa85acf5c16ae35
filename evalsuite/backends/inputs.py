"""From requests to tensors: which rows are computed together, images decoded, text tokenised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evalsuite.backends import Reply, Request
from evalsuite.backends.images import load_image


@dataclass(frozen=True)
class Unit:
    """Rows that are answered together; their composition never depends on what was answered before."""

    requests: tuple[Request, ...]


@dataclass(frozen=True)
class Prepared:
    """A unit as tensors.

    Attributes:
        requests: the rows that can be asked.
        refused: replies for rows whose image cannot be decoded.
        batch: the processor's output; with ``tails`` it holds the heads only, one a group.
        tails: per request the token ids after its head; None for whole chats.
        group: per request the row of its head in ``batch``.
    """

    requests: tuple[Request, ...]
    refused: tuple[Reply, ...]
    batch: Any
    tails: list[list[int]] | None
    group: list[int]


def image_placeholder(processor: Any) -> str | None:
    """The text that stands for an image in a rendered chat, or None if the processor does not say."""
    token = getattr(processor, "image_token", None)
    return token if isinstance(token, str) and token else None


def split_chat(chat: str, placeholder: str) -> tuple[str, str]:
    """Head (up to and with the last image) and tail of a chat."""
    head, found, tail = chat.rpartition(placeholder)
    return head + found, tail


def plan_shared(requests: Sequence[Request], batch_size: int, placeholder: str) -> list[Unit]:
    """Units of up to ``batch_size`` images with all questions about them, in order of first occurrence."""
    groups: dict[tuple[str, tuple[str, ...]], list[Request]] = {}
    for request in requests:
        groups.setdefault((split_chat(request.chat, placeholder)[0], request.image_keys), []).append(request)
    listed = list(groups.values())
    # Heads of similar length stand together, so that little is padded; the sort keeps ties in order.
    listed.sort(key=lambda group: len(group[0].chat) - len(split_chat(group[0].chat, placeholder)[1]))
    return [
        Unit(tuple(request for group in listed[start : start + batch_size] for request in group))
        for start in range(0, len(listed), batch_size)
    ]


def plan_plain(requests: Sequence[Request], batch_size: int) -> list[Unit]:
    """Units of ``batch_size`` rows of similar length; rows with equally many images stay together."""
    ordered = sorted(requests, key=lambda request: (len(request.images), len(request.chat), request.image_keys))
    return [Unit(tuple(ordered[start : start + batch_size])) for start in range(0, len(ordered), batch_size)]


def prepare(unit: Unit, processor: Any, placeholder: str | None) -> Prepared:
    """Decode and tokenise a unit; with ``placeholder`` heads and tails are kept apart."""
    errors: dict[str, str] = {}
    images: dict[str, Any] = {}
    for request in unit.requests:
        for file, key in zip(request.images, request.image_keys, strict=True):
            if key not in images and key not in errors:
                image, error = load_image(file)
                if image is None:
                    errors[key] = error or ""
                else:
                    images[key] = image
    good = tuple(request for request in unit.requests if not any(key in errors for key in request.image_keys))
    refused = tuple(
        Reply(request.key, "", "error", 0, 0, 0.0, next(errors[key] for key in request.image_keys if key in errors))
        for request in unit.requests
        if any(key in errors for key in request.image_keys)
    )
    if not good:
        return Prepared((), refused, None, None, [])
    if placeholder is None:
        pictures = [[images[key] for key in request.image_keys] for request in good]
        batch = _tensors(processor, [request.chat for request in good], pictures)
        return Prepared(good, refused, batch, None, list(range(len(good))))
    heads: dict[tuple[str, tuple[str, ...]], int] = {}
    parts = [split_chat(request.chat, placeholder) for request in good]
    keys = [(head, request.image_keys) for (head, _), request in zip(parts, good, strict=True)]
    group = [heads.setdefault(key, len(heads)) for key in keys]
    batch = _tensors(processor, [head for head, _ in heads], [[images[key] for key in keys] for _, keys in heads])
    tails: list[list[int]] = processor.tokenizer([tail for _, tail in parts], add_special_tokens=False)["input_ids"]
    return Prepared(good, refused, batch, tails, group)


def _tensors(processor: Any, texts: list[str], images: list[list[Any]]) -> Any:
    return processor(
        text=texts,
        images=images if any(images) else None,
        padding=True,
        padding_side="left",
        add_special_tokens=False,
        return_tensors="pt",
    )
