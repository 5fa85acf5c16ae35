"""Answers from a model that ``AutoModelForImageTextToText`` loads: batched, greedy, on this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from evalsuite.backends import FinishReason, Reply, Request, cut_at_stop
from evalsuite.backends.greedy import answer_shared, first_logits
from evalsuite.backends.inputs import Prepared, Unit, image_placeholder, plan_plain, plan_shared, prepare
from evalsuite.backends.lanes import ahead, in_lanes
from evalsuite.backends.model import Loaded

# What a processor may return for heads and tails to be computed apart: more means that positions or
# masks depend on the whole chat (Qwen-VL's 3-D positions, Gemma's and PaliGemma's bidirectional image).
_PLAIN_INPUTS = {"input_ids", "attention_mask", "pixel_values", "image_sizes", "pixel_attention_mask"}
_WORTH_SHARING = 1.5  # questions about an image, on average
_CHECKED = 4
_SAME_COSINE = 0.995
_MOST_LANES = 4


def answers(
    loaded: Loaded,
    requests: Sequence[Request],
    *,
    batch_size: int,
    share_prefix: bool,
    known: Callable[[str], bool],
) -> Iterator[list[Reply]]:
    """Replies, one list a unit of rows computed together.

    Units depend on ``requests`` alone. A unit is skipped when every key in it is ``known`` and
    computed whole otherwise, so a run that was killed and resumed computes the same numbers.
    """
    placeholder = image_placeholder(loaded.processor)
    if share_prefix and placeholder is not None and prefix_can_be_shared(loaded, requests, placeholder):
        with_images = [request for request in requests if placeholder in request.chat]
        requests = [request for request in requests if placeholder not in request.chat]
        units = _missing(plan_shared(with_images, batch_size, placeholder), known)
        ready = ahead(units, partial(prepare, processor=loaded.processor, placeholder=placeholder))
        stop = threading.Event()
        ask = partial(answer_shared, loaded, batch_size=batch_size, stop=stop)
        yield from in_lanes(ready, lambda unit: _answer(unit, ask), lanes=_lanes(loaded), stop=stop)
    for unit in ahead(
        _missing(plan_plain(requests, batch_size), known),
        partial(prepare, processor=loaded.processor, placeholder=None),
    ):
        yield _answer(unit, partial(_generate, loaded))


def _missing(units: Sequence[Unit], known: Callable[[str], bool]) -> list[Unit]:
    return [unit for unit in units if not all(known(request.key) for request in unit.requests)]


def _answer(unit: Prepared, ask: Callable[[Prepared], list[Reply]]) -> list[Reply]:
    return [*unit.refused, *(ask(unit) if unit.requests else [])]


def _lanes(loaded: Loaded) -> int:
    """Units computed at a time: one on a GPU, on a CPU as many as PyTorch has threads, up to four."""
    import torch

    return 1 if loaded.device.type != "cpu" else min(torch.get_num_threads(), _MOST_LANES)


def prefix_can_be_shared(loaded: Loaded, requests: Sequence[Request], placeholder: str) -> bool:
    """Whether computing heads once is worth it and gives this model the same answers.

    Tried on a few rows: tokens of head and tail together must be those of the whole chat, and the
    logits of the first answer token must agree.
    """
    with_images = [request for request in requests if placeholder in request.chat]
    images = {(request.image_keys, len(request.images)) for request in with_images}
    if not images or len(with_images) < _WORTH_SHARING * len(images):
        return False
    few = Unit(tuple(with_images[:_CHECKED]))
    whole, apart = prepare(few, loaded.processor, None), prepare(few, loaded.processor, placeholder)
    if not whole.requests or not set(whole.batch.keys()) <= _PLAIN_INPUTS or not _same_tokens(whole, apart):
        return False
    if any(getattr(layer, "is_sliding", False) for layer in _cache_layers(loaded)):
        return False
    import torch

    one, two = first_logits(loaded, whole), first_logits(loaded, apart)
    cosine = torch.nn.functional.cosine_similarity(one, two, dim=-1)
    return bool((one.argmax(-1) == two.argmax(-1)).float().mean() > 0.5 and (cosine > _SAME_COSINE).all())


def _cache_layers(loaded: Loaded) -> list[Any]:
    from transformers import DynamicCache

    return list(DynamicCache(config=loaded.model.config).layers)


def _same_tokens(whole: Prepared, apart: Prepared) -> bool:
    assert apart.tails is not None
    heads = [ids[mask.bool()].tolist() for ids, mask in _rows(apart)]
    chats = [ids[mask.bool()].tolist() for ids, mask in _rows(whole)]
    joined = [heads[group] + tail for group, tail in zip(apart.group, apart.tails, strict=True)]
    return all(apart.tails) and joined == chats


def _rows(prepared: Prepared) -> Iterator[tuple[Any, Any]]:
    return zip(prepared.batch["input_ids"], prepared.batch["attention_mask"], strict=True)


def _generate(loaded: Loaded, unit: Prepared) -> list[Reply]:
    """Whole chats through the model's own ``generate``: works for every architecture."""
    import torch

    started = time.monotonic()
    with torch.inference_mode():
        batch = unit.batch.to(loaded.device, getattr(loaded.model, "dtype", None))
        width = batch["input_ids"].shape[1]
        output = loaded.model.generate(
            **batch,
            max_new_tokens=max(request.max_new_tokens for request in unit.requests),
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            temperature=None,
            top_p=None,
            top_k=None,
            eos_token_id=sorted(loaded.end_tokens),
            pad_token_id=loaded.processor.tokenizer.pad_token_id,
            stopping_criteria=_stop_when_told(loaded, unit, width),
            use_cache=True,
        )
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    seconds = (time.monotonic() - started) / len(unit.requests)
    return [
        _read(loaded, request, tokens, length, seconds)
        for request, tokens, length in zip(unit.requests, output[:, width:].tolist(), lengths, strict=True)
    ]


def _stop_when_told(loaded: Loaded, unit: Prepared, width: int) -> Any:
    """A stopping criterion for rows that hold a stop text or reached their own limit."""
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Told(StoppingCriteria):
        def __call__(self, input_ids: torch.LongTensor, scores: Any, **_: Any) -> torch.BoolTensor:
            texts = loaded.processor.tokenizer.batch_decode(input_ids[:, width:], skip_special_tokens=True)
            written = input_ids.shape[1] - width
            done = [
                written >= request.max_new_tokens or cut_at_stop(text, request.stop)[1]
                for request, text in zip(unit.requests, texts, strict=True)
            ]
            return torch.tensor(done, device=input_ids.device, dtype=torch.bool)  # type: ignore[return-value]

    return StoppingCriteriaList([Told()])


def _read(loaded: Loaded, request: Request, tokens: list[int], input_tokens: int, seconds: float) -> Reply:
    """Cut one generated row where it ended: at its end token, at a stop text, or at its own limit."""
    end = next((place for place, token in enumerate(tokens) if token in loaded.end_tokens), None)
    finish: FinishReason = "stop" if end is not None and end < request.max_new_tokens else "length"
    kept = tokens[: min(len(tokens) if end is None else end, request.max_new_tokens)]
    text, stopped = cut_at_stop(loaded.processor.tokenizer.decode(kept, skip_special_tokens=True), request.stop)
    return Reply(request.key, text, "stop" if stopped else finish, input_tokens, len(kept), seconds)
