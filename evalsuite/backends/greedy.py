"""Greedy decoding that computes the keys and values of an image once for all questions about it.

A rendered chat is cut behind its last image into a prefix, which questions about the image share, and a
suffix. Rows that are computed together make a unit.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from evalsuite.backends import FinishReason, Reply, Request, no_answer
from evalsuite.backends.completion import confidence
from evalsuite.backends.images import load_image
from evalsuite.backends.model import Loaded
from evalsuite.backends.sampling import next_tokens
from evalsuite.backends.stop import cut_at_stop, prompt_opens_thinking
from winnow.vlm.inputs import cap_before, scaled_down


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
        batch: the processor's output; with ``suffixes`` it holds the prefixes only, one a group.
        suffixes: per request the token ids after its prefix; None for whole chats.
        group: per request the row of its prefix in ``batch``.
    """

    requests: tuple[Request, ...]
    refused: tuple[Reply, ...]
    batch: Any
    suffixes: list[list[int]] | None
    group: list[int]


def image_placeholder(processor: Any) -> str | None:
    """The text that stands for an image in a rendered chat, or None if the processor does not say."""
    token = getattr(processor, "image_token", None)
    return token if isinstance(token, str) and token else None


def split_chat(chat: str, placeholder: str) -> tuple[str, str]:
    """Prefix (up to and with the last image) and suffix of a chat."""
    prefix, found, suffix = chat.rpartition(placeholder)
    return prefix + found, suffix


def plan_shared(requests: Sequence[Request], batch_size: int, placeholder: str) -> list[Unit]:
    """Units of up to ``batch_size`` images with all questions about them, in order of first occurrence."""
    groups: dict[tuple[str, tuple[str, ...]], list[Request]] = {}
    for request in requests:
        groups.setdefault((split_chat(request.chat, placeholder)[0], request.image_keys), []).append(request)
    listed = list(groups.values())
    # Prefixes of similar length stand together, so that little is padded; the sort keeps ties in order.
    listed.sort(key=lambda group: len(group[0].chat) - len(split_chat(group[0].chat, placeholder)[1]))
    return [
        Unit(tuple(request for group in listed[start : start + batch_size] for request in group))
        for start in range(0, len(listed), batch_size)
    ]


def plan_plain(requests: Sequence[Request], batch_size: int) -> list[Unit]:
    """Units of ``batch_size`` rows of similar length; rows with equally many images stay together."""
    ordered = sorted(requests, key=lambda request: (len(request.images), len(request.chat), request.image_keys))
    return [Unit(tuple(ordered[start : start + batch_size])) for start in range(0, len(ordered), batch_size)]


def prepare(unit: Unit, loaded: Loaded, placeholder: str | None) -> Prepared:
    """Decode and tokenise a unit; with ``placeholder`` as prefixes and suffixes."""
    processor, cap = loaded.processor, cap_before(loaded.processor, loaded.inputs)
    errors: dict[str, str] = {}
    images: dict[str, Any] = {}
    for request in unit.requests:
        for file, key in zip(request.images, request.image_keys, strict=True):
            if key not in images and key not in errors:
                image, error = load_image(file)
                if image is None:
                    errors[key] = error or ""
                else:
                    images[key] = scaled_down(image, cap)
    good = tuple(request for request in unit.requests if not any(key in errors for key in request.image_keys))
    refused = tuple(
        no_answer(request.key, next(errors[key] for key in request.image_keys if key in errors))
        for request in unit.requests
        if any(key in errors for key in request.image_keys)
    )
    if not good:
        return Prepared((), refused, None, None, [])
    if placeholder is None:
        of_each = [[images[key] for key in request.image_keys] for request in good]
        batch = _tensors(processor, [request.chat for request in good], of_each)
        return Prepared(good, refused, batch, None, list(range(len(good))))
    prefixes: dict[tuple[str, tuple[str, ...]], int] = {}
    parts = [split_chat(request.chat, placeholder) for request in good]
    keys = [(prefix, request.image_keys) for (prefix, _), request in zip(parts, good, strict=True)]
    group = [prefixes.setdefault(key, len(prefixes)) for key in keys]
    batch = _tensors(
        processor, [prefix for prefix, _ in prefixes], [[images[key] for key in keys] for _, keys in prefixes]
    )
    texts = [suffix for _, suffix in parts]
    suffixes: list[list[int]] = processor.tokenizer(texts, add_special_tokens=False)["input_ids"]
    return Prepared(good, refused, batch, suffixes, group)


def _tensors(processor: Any, texts: list[str], images: list[list[Any]]) -> Any:
    return processor(
        text=texts,
        images=images if any(images) else None,
        padding=True,
        padding_side="left",
        add_special_tokens=False,
        return_tensors="pt",
    )


# Rows are taken out of a batch when at least this share of it has finished.
_COMPACT_AT = 0.25


@dataclass
class _Row:
    request: Request
    tokens: list[int]
    finish: FinishReason | None = None
    scores: list[float] = field(default_factory=list)


class Stopped(Exception):
    """The run was stopped while this unit was computed; its answers are incomplete."""


def answer_shared(loaded: Loaded, prepared: Prepared, *, batch_size: int, stop: threading.Event) -> list[Reply]:
    """Answers to a unit that was prepared as prefixes and suffixes, in the order of its requests.

    Raises:
        Stopped: ``stop`` was set meanwhile.
    """
    import torch

    if prepared.suffixes is None:
        raise ValueError("answer_shared needs a unit prepared as prefixes and suffixes")
    suffixes, started = prepared.suffixes, time.monotonic()
    replies: dict[int, Reply] = {}
    with torch.inference_mode():
        prefixes = prepared.batch.to(loaded.device, getattr(loaded.model, "dtype", None))
        mask = prefixes["attention_mask"]
        output = loaded.model(**prefixes, position_ids=_positions(mask), use_cache=True, logits_to_keep=1)
        cache = output.past_key_values
        prefix_seconds = (time.monotonic() - started) / len(suffixes)
        # Sorted by length little is padded; equal parts leave no small remainder.
        order = sorted(range(len(suffixes)), key=lambda i: (len(suffixes[i]), i))
        parts = math.ceil(len(order) / batch_size)
        bounds = [len(order) * part // parts for part in range(parts + 1)]
        for first, last in itertools.pairwise(bounds):
            chosen, started = order[first:last], time.monotonic()
            rows = _decode(loaded, prepared, chosen, cache, mask, stop)
            seconds = prefix_seconds + (time.monotonic() - started) / len(chosen)
            for index, row in zip(chosen, rows, strict=True):
                length = int(mask[prepared.group[index]].sum()) + len(suffixes[index])
                finish = row.finish or "length"
                replies[index] = written_reply(loaded, row.request, row.tokens, row.scores, finish, length, seconds)
    return [replies[index] for index in range(len(suffixes))]


def first_logits(loaded: Loaded, prepared: Prepared) -> Any:
    """(rows, vocabulary) logits of the first answer token, for comparing two ways of computing them."""
    import torch

    with torch.inference_mode():
        batch = prepared.batch.to(loaded.device, getattr(loaded.model, "dtype", None))
        mask = batch["attention_mask"]
        output = loaded.model(**batch, position_ids=_positions(mask), use_cache=True, logits_to_keep=1)
        if prepared.suffixes is None:
            return output.logits[:, -1].float()
        every = list(range(len(prepared.suffixes)))
        return _extend(loaded, prepared, every, output.past_key_values, mask)[0].logits[:, -1].float()


def _extend(loaded: Loaded, prepared: Prepared, chosen: list[int], prefixes: Any, prefix_mask: Any) -> tuple[Any, Any]:
    """Run the suffixes of the chosen rows on copies of their prefixes' cache.

    Returns:
        The output and the whole mask.
    """
    import torch
    from transformers import DynamicCache

    assert prepared.suffixes is not None
    group = torch.tensor([prepared.group[i] for i in chosen], device=loaded.device)
    cache = DynamicCache(config=loaded.model.config)
    for number, layer in enumerate(prefixes.layers):
        cache.update(layer.keys[group], layer.values[group], number)
    width = max(len(prepared.suffixes[i]) for i in chosen)
    pad = loaded.processor.tokenizer.pad_token_id
    padded = [[pad] * (width - len(prepared.suffixes[i])) + prepared.suffixes[i] for i in chosen]
    ids = torch.tensor(padded, device=loaded.device)
    lengths = torch.tensor([len(prepared.suffixes[i]) for i in chosen], device=loaded.device)
    suffix_mask = (torch.arange(width, device=loaded.device)[None, :] >= width - lengths[:, None]).long()
    mask = torch.cat([prefix_mask[group], suffix_mask], dim=1)
    output = loaded.model(
        input_ids=ids, attention_mask=mask, position_ids=_positions(mask)[:, -width:], past_key_values=cache,
        use_cache=True, logits_to_keep=1,
    )  # fmt: skip
    return output, mask


def _decode(
    loaded: Loaded, prepared: Prepared, chosen: list[int], prefixes: Any, prefix_mask: Any, stop: threading.Event
) -> list[_Row]:
    import torch

    rows = [_Row(prepared.requests[index], []) for index in chosen]
    output, mask = _extend(loaded, prepared, chosen, prefixes, prefix_mask)
    active = list(range(len(rows)))
    while True:
        if stop.is_set():
            raise Stopped
        asked, written = [rows[i].request for i in active], [len(rows[i].tokens) for i in active]
        tokens, scores = next_tokens(output.logits[:, -1], asked, written)
        _append([rows[i] for i in active], tokens, scores, loaded)
        going = [place for place, i in enumerate(active) if rows[i].finish is None]
        if not going:
            return rows
        cache, following = output.past_key_values, torch.tensor(tokens, device=loaded.device)
        if len(going) <= (1 - _COMPACT_AT) * len(active):
            keep = torch.tensor(going, device=loaded.device)
            cache.batch_select_indices(keep)
            following, mask, active = following[keep], mask[keep], [active[place] for place in going]
        mask = torch.cat([mask, mask.new_ones(len(active), 1)], dim=1)
        output = loaded.model(
            input_ids=following[:, None], attention_mask=mask, position_ids=_positions(mask)[:, -1:],
            past_key_values=cache, use_cache=True, logits_to_keep=1,
        )  # fmt: skip


def _append(rows: list[_Row], tokens: list[int], scores: list[float] | None, loaded: Loaded) -> None:
    """Give each row its next token and see whether that ends it."""
    for row, token, score in zip(rows, tokens, scores or [0.0] * len(rows), strict=True):
        if row.finish is not None:
            continue
        if token in loaded.end_tokens:
            row.finish = "stop"
            continue
        row.tokens.append(token)
        row.scores.append(score)
        if ends_at_stop(loaded, row.request, row.tokens):
            row.finish = "stop"
        elif len(row.tokens) >= row.request.max_new_tokens:
            row.finish = "length"


def written_reply(
    loaded: Loaded,
    request: Request,
    tokens: list[int],
    scores: list[float],
    finish: FinishReason,
    given: int,
    seconds: float,
) -> Reply:
    """The reply that the tokens spell; ``given`` is the number of tokens of the chat."""
    tokenizer = loaded.processor.tokenizer
    sure = None
    if request.logprobs:
        sure = confidence([(tokenizer.decode([token]), score) for token, score in zip(tokens, scores, strict=True)],
                          request.stop)  # fmt: skip
    return Reply(request.key, tokenizer.decode(tokens), finish, given, len(tokens), seconds, confidence=sure)


def ends_at_stop(loaded: Loaded, request: Request, tokens: list[int]) -> bool:
    """Whether a stop text of the request ends what was written so far."""
    if not request.stop:
        return False
    opened = prompt_opens_thinking(request.chat)
    return cut_at_stop(loaded.processor.tokenizer.decode(tokens), request.stop, opened=opened)[1]


def _positions(mask: Any) -> Any:
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)
