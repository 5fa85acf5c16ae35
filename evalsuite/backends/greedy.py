"""Greedy decoding with the keys and values of an image computed once for all questions about it."""

from __future__ import annotations

import itertools
import math
import threading
import time
from dataclasses import dataclass
from typing import Any

from evalsuite.backends import FinishReason, Reply, Request, cut_at_stop
from evalsuite.backends.inputs import Prepared
from evalsuite.backends.model import Loaded

# Rows are taken out of a batch when at least this share of it has finished.
_COMPACT_AT = 0.25


@dataclass
class _Row:
    request: Request
    tokens: list[int]
    text: str = ""
    finish: FinishReason | None = None


class Stopped(Exception):
    """The run was told to stop while this unit was computed; its answers are not whole."""


def answer_shared(loaded: Loaded, prepared: Prepared, *, batch_size: int, stop: threading.Event) -> list[Reply]:
    """Answers to a unit that was prepared as heads and tails, in the order of its requests.

    Raises:
        Stopped: ``stop`` was set meanwhile.
    """
    import torch

    if prepared.tails is None:
        raise ValueError("answer_shared needs a unit prepared with its heads apart")
    tails, started = prepared.tails, time.monotonic()
    replies: dict[int, Reply] = {}
    with torch.inference_mode():
        heads = prepared.batch.to(loaded.device, getattr(loaded.model, "dtype", None))
        mask = heads["attention_mask"]
        cache = loaded.model(**heads, position_ids=_positions(mask), use_cache=True, logits_to_keep=1).past_key_values
        head_seconds = (time.monotonic() - started) / len(tails)
        # Sorted by length little is padded; equal parts leave no small remainder.
        order = sorted(range(len(tails)), key=lambda i: (len(tails[i]), i))
        parts = math.ceil(len(order) / batch_size)
        bounds = [len(order) * part // parts for part in range(parts + 1)]
        for first, last in itertools.pairwise(bounds):
            chosen, started = order[first:last], time.monotonic()
            rows = _decode(loaded, prepared, chosen, cache, mask, stop)
            seconds = head_seconds + (time.monotonic() - started) / len(chosen)
            for index, row in zip(chosen, rows, strict=True):
                length = int(mask[prepared.group[index]].sum()) + len(tails[index])
                replies[index] = _reply(row, length, seconds)
    return [replies[index] for index in range(len(tails))]


def first_logits(loaded: Loaded, prepared: Prepared) -> Any:
    """(rows, vocabulary) logits of the first answer token, for comparing two ways of computing them."""
    import torch

    with torch.inference_mode():
        batch = prepared.batch.to(loaded.device, getattr(loaded.model, "dtype", None))
        mask = batch["attention_mask"]
        output = loaded.model(**batch, position_ids=_positions(mask), use_cache=True, logits_to_keep=1)
        if prepared.tails is None:
            return output.logits[:, -1].float()
        everyone = list(range(len(prepared.tails)))
        return _extend(loaded, prepared, everyone, output.past_key_values, mask)[0].logits[:, -1].float()


def _extend(loaded: Loaded, prepared: Prepared, chosen: list[int], heads: Any, head_mask: Any) -> tuple[Any, Any]:
    """Run the tails of the chosen rows on copies of their heads' cache. Returns the output and the whole mask."""
    import torch
    from transformers import DynamicCache

    assert prepared.tails is not None
    group = torch.tensor([prepared.group[i] for i in chosen], device=loaded.device)
    cache = DynamicCache(config=loaded.model.config)
    for number, layer in enumerate(heads.layers):
        cache.update(layer.keys[group], layer.values[group], number)
    width = max(len(prepared.tails[i]) for i in chosen)
    pad = loaded.processor.tokenizer.pad_token_id
    padded = [[pad] * (width - len(prepared.tails[i])) + prepared.tails[i] for i in chosen]
    ids = torch.tensor(padded, device=loaded.device)
    lengths = torch.tensor([len(prepared.tails[i]) for i in chosen], device=loaded.device)
    tail_mask = (torch.arange(width, device=loaded.device)[None, :] >= width - lengths[:, None]).long()
    mask = torch.cat([head_mask[group], tail_mask], dim=1)
    output = loaded.model(
        input_ids=ids, attention_mask=mask, position_ids=_positions(mask)[:, -width:], past_key_values=cache,
        use_cache=True, logits_to_keep=1,
    )  # fmt: skip
    return output, mask


def _decode(
    loaded: Loaded, prepared: Prepared, chosen: list[int], heads: Any, head_mask: Any, stop: threading.Event
) -> list[_Row]:
    import torch

    rows = [_Row(prepared.requests[index], []) for index in chosen]
    output, mask = _extend(loaded, prepared, chosen, heads, head_mask)
    active = list(range(len(rows)))
    while True:
        if stop.is_set():
            raise Stopped
        following = output.logits[:, -1].argmax(dim=-1)
        _append([rows[i] for i in active], following.tolist(), loaded)
        going = [place for place, i in enumerate(active) if rows[i].finish is None]
        if not going:
            return rows
        cache = output.past_key_values
        if len(going) <= (1 - _COMPACT_AT) * len(active):
            keep = torch.tensor(going, device=loaded.device)
            cache.batch_select_indices(keep)
            following, mask, active = following[keep], mask[keep], [active[place] for place in going]
        mask = torch.cat([mask, mask.new_ones(len(active), 1)], dim=1)
        output = loaded.model(
            input_ids=following[:, None], attention_mask=mask, position_ids=_positions(mask)[:, -1:],
            past_key_values=cache, use_cache=True, logits_to_keep=1,
        )  # fmt: skip


def _append(rows: list[_Row], tokens: list[int], loaded: Loaded) -> None:
    """Give each row its next token and see whether that ends it."""
    for row, token in zip(rows, tokens, strict=True):
        if row.finish is not None:
            continue
        if token in loaded.end_tokens:
            row.finish = "stop"
            continue
        row.tokens.append(token)
    growing = [row for row in rows if row.finish is None]
    if not growing:  # batch_decode makes one text out of no rows
        return
    texts = loaded.processor.tokenizer.batch_decode([row.tokens for row in growing], skip_special_tokens=True)
    for row, text in zip(growing, texts, strict=True):
        row.text, stopped = cut_at_stop(text, row.request.stop)
        if stopped:
            row.finish = "stop"
        elif len(row.tokens) >= row.request.max_new_tokens:
            row.finish = "length"


def _positions(mask: Any) -> Any:
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)


def _reply(row: _Row, input_tokens: int, seconds: float) -> Reply:
    return Reply(row.request.key, row.text, row.finish or "length", input_tokens, len(row.tokens), seconds)
