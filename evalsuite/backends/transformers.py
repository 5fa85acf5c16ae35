"""The backend for a checkpoint on this machine: batched greedy answers, inputs prepared ahead of the model."""

from __future__ import annotations

import bisect
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from typing import Any, TypeVar

from evalsuite.backends import Backend, Earlier, Finding, FinishReason, Probe, Render, Reply, Request, messages
from evalsuite.backends.greedy import (
    Prepared,
    Unit,
    answer_shared,
    ends_at_stop,
    first_logits,
    image_placeholder,
    plan_plain,
    plan_shared,
    prepare,
    written_reply,
)
from evalsuite.backends.model import Loaded, input_settings, load_model, load_processor, model_digest, pinned_model
from evalsuite.backends.sampling import next_tokens
from evalsuite.recipe import EvalRecipe, ModelSettings
from winnow.rows.conversations import IMAGE_MARKER

Item = TypeVar("Item")
Result = TypeVar("Result")
_PREFETCHED = 2  # items prepared ahead of the consumer


def prefetch(items: Iterable[Item], work: Callable[[Item], Result]) -> Iterator[Result]:
    """``map(work, items)``, computed in a thread a little ahead of the consumer."""
    done: queue.Queue[Any] = queue.Queue(maxsize=_PREFETCHED)
    stopped = threading.Event()
    end = object()

    def put(value: Any) -> None:
        while not stopped.is_set():
            try:
                done.put(value, timeout=0.2)
                return
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for item in items:
                if stopped.is_set():
                    return
                put((work(item), None))
            put((end, None))
        except BaseException as error:  # noqa: BLE001  raised again in the consumer
            put((end, error))

    worker = threading.Thread(target=produce, daemon=True)
    worker.start()
    try:
        while True:
            value, error = done.get()
            if error is not None:
                raise error
            if value is end:
                return
            yield value
    finally:
        stopped.set()
        worker.join()


def in_threads(
    items: Iterable[Item], work: Callable[[Item], Result], *, threads: int, stop: threading.Event
) -> Iterator[Result]:
    """``map(work, items)`` in order, by ``threads`` threads that compute with one CPU thread each.

    ``stop`` is set when the consumer leaves early, so that ``work`` can end soon.

    Small matrices keep several cores busier this way than when all cores share each of them:
    no core waits at the end of every operation. With one thread it is a plain map.
    """
    if threads == 1:
        yield from map(work, items)
        return
    import torch

    running: deque[Future[Result]] = deque()
    of_torch = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for item in items:
                running.append(pool.submit(work, item))
                if len(running) > threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            stop.set()
            for future in running:
                future.cancel()
            torch.set_num_threads(of_torch)


# What a processor may return where prefix and suffix are computed separately: more means that positions or
# masks depend on the whole chat (Qwen-VL's 3-D positions, Gemma's and PaliGemma's bidirectional image).
_PLAIN_INPUTS = {"input_ids", "attention_mask", "pixel_values", "image_sizes", "pixel_attention_mask"}
_WORTH_SHARING = 1.5  # questions about an image, on average
_CHECKED = 4
_SAME_COSINE = 0.995
_MOST_THREADS = 4


def generate_replies(
    loaded: Loaded,
    requests: Sequence[Request],
    *,
    batch_size: int,
    share_prefix: bool,
    known: Callable[[str], bool],
) -> Iterator[list[Reply]]:
    """Replies to ``requests``, one list for each unit of rows computed together.

    Units depend on ``requests`` alone. A unit is skipped when every key in it is ``known`` and
    computed whole otherwise, so a run that was killed and resumed computes the same numbers.
    """
    placeholder = image_placeholder(loaded.processor)
    if share_prefix and placeholder is not None and prefix_can_be_shared(loaded, requests, placeholder):
        with_images = [request for request in requests if placeholder in request.chat]
        requests = [request for request in requests if placeholder not in request.chat]
        units = _missing(plan_shared(with_images, batch_size, placeholder), known)
        ready = prefetch(units, partial(prepare, loaded=loaded, placeholder=placeholder))
        stop = threading.Event()
        ask = partial(answer_shared, loaded, batch_size=batch_size, stop=stop)
        yield from in_threads(ready, lambda unit: _answer(unit, ask), threads=_unit_threads(loaded), stop=stop)
    units = _missing(plan_plain(requests, batch_size), known)
    for unit in prefetch(units, partial(prepare, loaded=loaded, placeholder=None)):
        yield _answer(unit, partial(_generate, loaded))


def _missing(units: Sequence[Unit], known: Callable[[str], bool]) -> list[Unit]:
    return [unit for unit in units if not all(known(request.key) for request in unit.requests)]


def _answer(unit: Prepared, ask: Callable[[Prepared], list[Reply]]) -> list[Reply]:
    return [*unit.refused, *(ask(unit) if unit.requests else [])]


def _unit_threads(loaded: Loaded) -> int:
    """Units computed at a time: one on a GPU, on a CPU as many as PyTorch has threads, up to four."""
    import torch

    return 1 if loaded.device.type != "cpu" else min(torch.get_num_threads(), _MOST_THREADS)


def prefix_can_be_shared(loaded: Loaded, requests: Sequence[Request], placeholder: str) -> bool:
    """Whether computing the prefixes once is worth it and gives this model the same answers.

    Tried on a few rows: the tokens of prefix and suffix together must be those of the whole chat, and the
    logits of the first answer token must agree.
    """
    with_images = [request for request in requests if placeholder in request.chat]
    images = {(request.image_keys, len(request.images)) for request in with_images}
    if not images or len(with_images) < _WORTH_SHARING * len(images):
        return False
    few = Unit(tuple(with_images[:_CHECKED]))
    whole, split = prepare(few, loaded, None), prepare(few, loaded, placeholder)
    if not whole.requests or not set(whole.batch.keys()) <= _PLAIN_INPUTS or not _same_tokens(whole, split):
        return False
    if any(getattr(layer, "is_sliding", False) for layer in _cache_layers(loaded)):
        return False
    import torch

    plain, shared = first_logits(loaded, whole), first_logits(loaded, split)
    cosine = torch.nn.functional.cosine_similarity(plain, shared, dim=-1)
    return bool((plain.argmax(-1) == shared.argmax(-1)).float().mean() > 0.5 and (cosine > _SAME_COSINE).all())


def _cache_layers(loaded: Loaded) -> list[Any]:
    from transformers import DynamicCache

    return list(DynamicCache(config=loaded.model.config).layers)


def _same_tokens(whole: Prepared, split: Prepared) -> bool:
    assert split.suffixes is not None
    prefixes = [ids[mask.bool()].tolist() for ids, mask in _rows(split)]
    chats = [ids[mask.bool()].tolist() for ids, mask in _rows(whole)]
    joined = [prefixes[group] + suffix for group, suffix in zip(split.group, split.suffixes, strict=True)]
    return all(split.suffixes) and joined == chats


def _rows(prepared: Prepared) -> Iterator[tuple[Any, Any]]:
    return zip(prepared.batch["input_ids"], prepared.batch["attention_mask"], strict=True)


def _generate(loaded: Loaded, unit: Prepared) -> list[Reply]:
    """Whole chats through the model's own ``generate``: works for every architecture."""
    import torch

    started = time.monotonic()
    scores: list[list[float] | None] = []
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
            stopping_criteria=_stop_criteria(loaded, unit, width),
            logits_processor=_chooser(unit, width, scores),
            use_cache=True,
        )
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    seconds = (time.monotonic() - started) / len(unit.requests)
    return [
        _read(loaded, request, tokens, [step[row] if step else 0.0 for step in scores], length, seconds)
        for row, (request, tokens, length) in enumerate(
            zip(unit.requests, output[:, width:].tolist(), lengths, strict=True)
        )
    ]


def _chooser(unit: Prepared, width: int, found: list[list[float] | None]) -> Any:
    """Leaves ``generate`` one token to choose in each row; of each step ``found`` gets the rows' log-probabilities."""
    import torch
    from transformers import LogitsProcessor, LogitsProcessorList

    class Chooser(LogitsProcessor):
        def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
            written = [input_ids.shape[1] - width] * len(unit.requests)
            tokens, sure = next_tokens(scores, unit.requests, written)
            found.append(sure)
            chosen = torch.full_like(scores, -torch.inf)
            chosen[range(len(tokens)), tokens] = 0.0
            return chosen  # type: ignore[return-value]

    return LogitsProcessorList([Chooser()])


def _stop_criteria(loaded: Loaded, unit: Prepared, width: int) -> Any:
    """A stopping criterion for rows that hold a stop text or reached their own limit."""
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class AtEnd(StoppingCriteria):
        def __call__(self, input_ids: torch.LongTensor, scores: Any, **_: Any) -> torch.BoolTensor:
            written = input_ids.shape[1] - width
            done = [
                written >= request.max_new_tokens or ends_at_stop(loaded, request, tokens)
                for request, tokens in zip(unit.requests, input_ids[:, width:].tolist(), strict=True)
            ]
            return torch.tensor(done, device=input_ids.device, dtype=torch.bool)  # type: ignore[return-value]

    return StoppingCriteriaList([AtEnd()])


def _read(
    loaded: Loaded, request: Request, tokens: list[int], scores: list[float], input_tokens: int, seconds: float
) -> Reply:
    """One generated row up to where it ended: before its end token, behind a stop text, or at its own limit."""
    end = next((place for place, token in enumerate(tokens) if token in loaded.end_tokens), None)
    finish: FinishReason = "stop" if end is not None and end < request.max_new_tokens else "length"
    kept = tokens[: min(len(tokens) if end is None else end, request.max_new_tokens)]
    if ends_at_stop(loaded, request, kept):
        ends = range(len(kept) + 1)
        kept = kept[: bisect.bisect_left(ends, True, key=lambda end: ends_at_stop(loaded, request, kept[:end]))]
        finish = "stop"
    return written_reply(loaded, request, kept, scores[: len(kept)], finish, input_tokens, seconds)


def renderer_of(processor: Any, template: Mapping[str, Any]) -> Render:
    """Renders questions with the processor's chat template; refuses texts that hold one of its control tokens.

    Args:
        template: variables of the chat template.
    """

    def render_one(
        prompt: str, images: int, system: str | None, earlier: Sequence[Earlier] = ()
    ) -> tuple[str, str | None]:
        if token := control_token_in(prompt, processor.tokenizer):
            return "", f"the question holds the control token {token!r}"
        for _, answer in earlier:
            if token := IMAGE_MARKER if IMAGE_MARKER in answer else control_token_in(answer, processor.tokenizer):
                return "", f"the model's answer to an earlier question holds the control token {token!r}"
        return render(processor, prompt, images, system, earlier, template), None

    return render_one


def local_backend(recipe: EvalRecipe, settings: ModelSettings) -> Backend:
    """The model that ``AutoModelForImageTextToText`` loads, with its adapter.

    Raises:
        UserError: checkpoint or adapter is missing.
    """
    settings = pinned_model(settings)
    identity = model_digest(settings)
    template = input_settings(settings).chat_template_kwargs

    @cache
    def processor() -> Any:
        return load_processor(settings)

    @cache
    def loaded() -> Loaded:
        return load_model(settings, processor())

    def renderer() -> Render:
        return renderer_of(processor(), template)

    def replies(
        requests: Sequence[Request], known: Callable[[str], bool], batch_size: int | None
    ) -> Iterator[list[Reply]]:
        share = settings.share_prefix and batch_size is None
        size = batch_size or recipe.batch_size
        return generate_replies(loaded(), requests, batch_size=size, share_prefix=share, known=known)

    def probe(requests: Sequence[Request]) -> Probe:
        if all(request.thinking_budget is None for request in requests):
            return Probe(())
        message = "generation.thinking_budget is for servers: no model on this machine knows such a limit"
        return Probe((Finding(message, "generation.thinking_budget: null", fatal=True),))

    facts = {"model_digest": identity, **({"model_revision": settings.revision} if settings.revision else {})}
    return Backend(identity, _label(settings), facts, renderer, probe, replies, repeatable=True)


def _label(model: ModelSettings) -> str:
    parts = [model.path]
    if model.adapter:
        parts.append(f"+ {model.adapter}")
    if model.quantization != "none":
        parts.append(f"({model.quantization}{', merged' if model.adapter and model.merge_adapter != 'none' else ''})")
    return " ".join(parts)


def render(
    processor: Any, prompt: str, images: int, system: str | None, earlier: Sequence[Earlier] = (),
    template: Mapping[str, Any] | None = None,
) -> str:  # fmt: skip
    """The chat as text, ending where the answer begins.

    Args:
        template: variables of the chat template.
    """
    text: str = processor.apply_chat_template(
        messages(prompt, images, system, earlier), tokenize=False, add_generation_prompt=True, **(template or {})
    )
    return text


def control_token_in(prompt: str, tokenizer: Any) -> str | None:
    """A token with a meaning to the model (``<|im_end|>`` …) that stands in the text of a row, or None.

    Such a row would not be asked what it says: the token could end the turn or claim an image.
    """
    text = prompt.replace(IMAGE_MARKER, "")
    special = {*tokenizer.all_special_tokens, getattr(tokenizer, "image_token", None) or IMAGE_MARKER}
    return next((token for token in sorted(special) if token in text), None)
