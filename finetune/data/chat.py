"""Training conversations: formed from rows, rendered by the model's chat template, with the trained characters found.

The assistant's text is located by sentinels: the chat is rendered a second time with each answer
replaced by a marker word. This needs no ``{% generation %}`` block and no table of templates, and
it never renders a partial chat, so templates that rewrite earlier turns are safe.

Models without a chat template (PaliGemma) take a prompt after the images and the answer as its suffix.
"""

from __future__ import annotations

import inspect
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from winnow.conversations import IMAGE_MARKER
from winnow.errors import UserError
from winnow.records import Sample, Turn


@dataclass(frozen=True, slots=True)
class TrainingConversation:
    """A training example: one row, or several questions about the same images.

    Attributes:
        turns: system, user and assistant turns in order.
        images: paths relative to the image root, in order of their markers.
        rows: row number of the sample of each turn that is trained.
        epoch: pass over the data that uses it, from 0.
    """

    turns: tuple[Turn, ...]
    images: tuple[str, ...]
    rows: tuple[int, ...]
    epoch: int = 0


def is_trained(turn: Turn) -> bool:
    """Whether a turn is the assistant's and not marked with ``loss: false``."""
    return turn.role == "assistant" and turn.loss is not False


def can_sample_answer(sample: Sample) -> bool:
    """Whether the sample has a single assistant turn, which any of its references may replace."""
    return bool(sample.answers) and sum(turn.role == "assistant" for turn in sample.conversations) == 1


def with_sampled_answer(sample: Sample, rng: np.random.Generator) -> Sample:
    """The sample with a randomly drawn reference as its answer; unchanged unless ``can_sample_answer``."""
    if not can_sample_answer(sample):
        return sample
    return with_answer(sample, sample.answers[int(rng.integers(len(sample.answers)))])


def with_answer(sample: Sample, answer: str) -> Sample:
    """The sample with ``answer`` as the text of its assistant turn."""
    turns = tuple(Turn("assistant", answer) if turn.role == "assistant" else turn for turn in sample.conversations)
    return replace(sample, conversations=turns)


def can_join(sample: Sample) -> bool:
    """Whether a sample is one question and one answer, with its images before the question."""
    roles = [turn.role for turn in sample.conversations]
    if roles != ["user", "assistant"] or not sample.image:
        return False
    lead = sample.conversations[0].value.replace("\n", "").replace(" ", "")
    marked = lead.count(IMAGE_MARKER)
    return marked == 0 or (marked == len(sample.image) and lead.startswith(IMAGE_MARKER * marked))


def join_rows(samples: list[Sample], rows: list[int], epoch: int = 0) -> TrainingConversation:
    """A conversation of one sample, or of several that share their images and each pass ``can_join``.

    Args:
        rows: row number of each sample.
    """
    if len(samples) == 1:
        sample = samples[0]
        answers = sum(map(is_trained, sample.conversations))
        return TrainingConversation(sample.conversations, sample.image, (rows[0],) * answers, epoch)
    turns: list[Turn] = []
    for sample in samples:
        turns += [Turn("user", sample.question), sample.conversations[1]]
    return TrainingConversation(tuple(turns), samples[0].image, tuple(rows), epoch)


@lru_cache(maxsize=4)
def uses_prompt_suffix(processor: Any) -> bool:
    """Whether the processor has no chat template and takes the answer as ``suffix``."""
    has_template = getattr(processor, "chat_template", None) is not None
    return not has_template and "suffix" in inspect.signature(type(processor).__call__).parameters


def prompt_suffix_problem(sample: Sample) -> str | None:
    """Why a sample cannot be a prompt with a suffix; None if it can."""
    roles = [turn.role for turn in sample.conversations]
    if roles == ["user", "assistant"]:
        return None
    return f"the model takes one question and one answer, this row has: {' '.join(roles)}"


def prompt_and_suffix(conversation: TrainingConversation) -> tuple[str, str]:
    """The prompt, with the image markers first as in the model's own training, and the answer."""
    question, answer = conversation.turns[-2].value, conversation.turns[-1].value
    words = " ".join(piece.strip() for piece in question.split(IMAGE_MARKER) if piece.strip())
    return IMAGE_MARKER * len(conversation.images) + words, answer


Message = dict[str, Any]
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class RenderedChat:
    """A rendered chat.

    Attributes:
        text: the chat as the template writes it, image placeholders not yet expanded.
        spans: trained characters of each turn that is trained, [start, end), stop token included.
        stops: for each of them, whether its span ends in a stop token.
    """

    text: str
    spans: tuple[Span, ...]
    stops: tuple[bool, ...]


def to_messages(conversation: TrainingConversation) -> list[Message]:
    """Chat-template messages with text and image blocks.

    Each image marker becomes an image block in its place; without markers the images come
    before the text of the first user turn.
    """
    marked = any(IMAGE_MARKER in turn.value for turn in conversation.turns if turn.role == "user")
    waiting = 0 if marked else len(conversation.images)
    messages: list[Message] = []
    for turn in conversation.turns:
        blocks = _blocks(turn)
        if waiting and turn.role == "user":
            blocks, waiting = [{"type": "image"}] * waiting + blocks, 0
        messages.append({"role": turn.role, "content": blocks})
    return messages


def _blocks(turn: Turn) -> list[Message]:
    if turn.role != "user" or IMAGE_MARKER not in turn.value:
        return [{"type": "text", "text": turn.value}]
    blocks: list[Message] = []
    for number, piece in enumerate(turn.value.split(IMAGE_MARKER)):
        if number:
            blocks.append({"type": "image"})
        if piece.strip():
            blocks.append({"type": "text", "text": piece.strip()})
    return blocks


def render(processor: Any, messages: list[Message]) -> str:
    """The chat as text, up to the end of the last turn.

    Raises:
        UserError: the processor has no chat template.
    """
    try:
        text: str = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
    except ValueError as error:
        if getattr(processor, "chat_template", None) is None:
            raise UserError(f"{type(processor).__name__} has no chat template, so answers cannot be found") from error
        raise
    return text


def chat_text(processor: Any, conversation: TrainingConversation) -> str:
    """The conversation as the model reads it, image placeholders not yet expanded.

    Raises:
        UserError: the processor has no chat template.
    """
    if uses_prompt_suffix(processor):
        return f"{''.join(prompt_and_suffix(conversation))}{processor.tokenizer.eos_token}"
    return render(processor, to_messages(conversation))


def render_with_spans(processor: Any, conversation: TrainingConversation) -> RenderedChat:
    """Render a conversation and find its trained characters.

    Raises:
        UserError: an answer cannot be located because the template drops or rewrites it.
    """
    if uses_prompt_suffix(processor):
        text = chat_text(processor, conversation)
        return RenderedChat(text, ((len(prompt_and_suffix(conversation)[0]), len(text)),), (True,))
    messages = to_messages(conversation)
    text = render(processor, messages)
    turns = [turn for turn in conversation.turns if turn.role == "assistant"]
    answers = [turn.value for turn in turns]
    spans = _spans_from_one_render(processor, messages, text, answers) or _spans_one_by_one(
        processor, messages, text, answers
    )
    trained = (span for span, turn in zip(spans, turns, strict=True) if is_trained(turn))
    extended = [_with_stop(processor, text, span) for span in trained]
    return RenderedChat(text, tuple(span for span, _ in extended), tuple(stop for _, stop in extended))


def _sentinel(number: int) -> str:
    return f"SENTINEL{number}ANSWER"


def _with_sentinels(messages: list[Message], wanted: Sequence[int]) -> list[Message]:
    replaced, number = [], 0
    for message in messages:
        if message["role"] == "assistant":
            if number in wanted:
                message = {"role": "assistant", "content": [{"type": "text", "text": _sentinel(number)}]}
            number += 1
        replaced.append(message)
    return replaced


def _spans_from_one_render(processor: Any, messages: list[Message], text: str, answers: list[str]) -> list[Span]:
    """Spans found in one render with all answers replaced; empty if that render does not match ``text``."""
    marked = render(processor, _with_sentinels(messages, range(len(answers))))
    spans: list[Span] = []
    position = 0
    for number, answer in enumerate(answers):
        before, found, marked = marked.partition(_sentinel(number))
        if not found or not text.startswith(before, position):
            return []
        start = position + len(before)
        # Some templates strip the answer.
        kept = next((form for form in (answer, answer.strip()) if form and text.startswith(form, start)), None)
        if kept is None:
            return []
        position = start + len(kept)
        spans.append((start, position))
    return spans if text[position:] == marked else []


def _spans_one_by_one(processor: Any, messages: list[Message], text: str, answers: list[str]) -> list[Span]:
    """Spans found in a render for each answer: templates that treat early turns differently need it."""
    spans: list[Span] = []
    for number, answer in enumerate(answers):
        before, found, tail = render(processor, _with_sentinels(messages, [number])).partition(_sentinel(number))
        start, end = len(before), len(text) - len(tail)
        if not found or not text.startswith(before) or not text.endswith(tail) or answer.strip() not in text[start:end]:
            raise UserError(
                f"the chat template of {type(processor).__name__} does not show answer {number + 1} ({answer!r:.60}) "
                "as it was written, so it cannot be trained"
            )
        spans.append((start, end))
    return spans


def _with_stop(processor: Any, text: str, span: Span) -> tuple[Span, bool]:
    """The span extended over a stop token that follows it, whitespace between them included; whether there is one."""
    match = stop_pattern(processor).match(text, span[1])
    return ((span[0], match.end()), True) if match else (span, False)


@lru_cache(maxsize=4)
def stop_pattern(processor: Any) -> re.Pattern[str]:
    """Matches whitespace and a stop token: the end-of-sequence token or an added one that is no image placeholder."""
    tokenizer = processor.tokenizer
    tokens = {token for token in tokenizer.get_added_vocab() if token.strip()} | {tokenizer.eos_token}
    tokens -= {getattr(processor, "image_token", None), None}
    alternatives = "|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True))
    return re.compile(rf"\s*(?:{alternatives})" if alternatives else r"(?!)")


def control_tokens(processor: Any) -> frozenset[str]:
    """Strings that must not occur in a row's text, because they would be read as control tokens."""
    tokenizer = processor.tokenizer
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= set(tokenizer.all_special_tokens) | {getattr(processor, "image_token", None) or IMAGE_MARKER}
    return frozenset(token for token in special if token.strip() and token != IMAGE_MARKER)


def normalized_text(text: str) -> str:
    """Text for comparison: NFKC, case folded, without whitespace."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())
