"""Training conversations: formed from rows, and given to the chat template as messages.

Models without a chat template (PaliGemma) take a prompt after the images and the answer as its suffix.
"""

from __future__ import annotations

import inspect
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from finetune.data.template import PLAIN, Message, TemplateForm, UntrainableRow, call_message
from winnow.rows.conversations import IMAGE_MARKER, MEDIA_MARKERS, reasoning_key
from winnow.rows.lines import parse_json
from winnow.rows.parts import json_text
from winnow.rows.records import Sample, Turn
from winnow.rows.tools import as_function, calls_in, definitions_in


@dataclass(frozen=True, slots=True)
class TrainingConversation:
    """A training example: one row, or several questions about the same images.

    Attributes:
        turns: system, user and assistant turns in order.
        images: paths relative to the image root, in order of their markers.
        rows: row number of the sample of each answer that is trained.
        epoch: pass over the data that uses it, from 0.
        videos: of each video its path relative to the image root, or the paths of its frames.
        audios: paths of sounds relative to the image root.
        tools: definitions of the tools that may be called, as the chat template takes them.
        ids: of its samples, for messages.
    """

    turns: tuple[Turn, ...]
    images: tuple[str, ...]
    rows: tuple[int, ...]
    epoch: int = 0
    videos: tuple[str | tuple[str, ...], ...] = ()
    audios: tuple[str, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    ids: tuple[str, ...] = ()


def is_trained(turn: Turn) -> bool:
    """Whether a turn is the assistant's and not marked with ``loss: false``."""
    return turn.role == "assistant" and turn.loss is not False


def is_call(turn: Turn) -> bool:
    """Whether a turn is the assistant's call of a tool."""
    return turn.role == "assistant" and bool(turn.name)


def is_result(turn: Turn) -> bool:
    """Whether a turn is the result of a tool, which Winnow reads as the user's."""
    return turn.role == "user" and bool(turn.name)


def can_sample_answer(sample: Sample) -> bool:
    """Whether the sample has a single assistant turn, a text, which any of its references may replace."""
    answers = [turn for turn in sample.conversations if turn.role == "assistant"]
    return bool(sample.answers) and len(answers) == 1 and not is_call(answers[0])


def with_sampled_answer(sample: Sample, rng: np.random.Generator) -> Sample:
    """The sample with a randomly drawn reference as its answer; unchanged unless ``can_sample_answer``."""
    if not can_sample_answer(sample):
        return sample
    return with_answer(sample, sample.answers[int(rng.integers(len(sample.answers)))])


def with_answer(sample: Sample, answer: str) -> Sample:
    """The sample with ``answer`` as the text of its assistant turn; the turn's reasoning stays if it has none."""
    own = split_reasoning(answer)[0] is not None
    turns = tuple(
        replace(turn, value=("" if own else turn.value.removesuffix(split_reasoning(turn.value)[1])) + answer)
        if turn.role == "assistant"
        else turn
        for turn in sample.conversations
    )
    return replace(sample, conversations=turns)


def videos_of(sample: Sample) -> tuple[str | tuple[str, ...], ...]:
    """The sample's videos, each a path or the paths of its frames."""
    listed = sample.meta.get("videos") or ()
    return tuple(video if isinstance(video, str) else tuple(video) for video in listed)


def audios_of(sample: Sample) -> tuple[str, ...]:
    """Paths of the sample's sounds."""
    return tuple(sample.meta.get("audios") or ())


def can_join(sample: Sample) -> bool:
    """Whether a sample is one question and one answer in words alone, with its images before the question."""
    roles = [turn.name or turn.role for turn in sample.conversations]
    if roles != ["user", "assistant"] or not sample.image:
        return False
    if any(sample.meta.get(key) for key in ("tools", "videos", "audios")):
        return False
    lead = sample.conversations[0].value.replace("\n", "").replace(" ", "")
    marked = lead.count(IMAGE_MARKER)
    return marked == 0 or (marked == len(sample.image) and lead.startswith(IMAGE_MARKER * marked))


def join_rows(samples: list[Sample], rows: list[int], epoch: int = 0) -> TrainingConversation:
    """A conversation of one sample, or of several that share their images and each pass ``can_join``.

    Args:
        rows: row number of each sample.
    """
    ids = tuple(sample.id for sample in samples)
    if len(samples) == 1:
        turns, tools = with_reasoning(samples[0]), _tools(samples[0])
        answers = sum(is_trained(group[0]) for group in message_turns(turns))
        return TrainingConversation(
            turns, samples[0].image, (rows[0],) * answers, epoch, videos_of(samples[0]), audios_of(samples[0]), tools,
            ids,
        )  # fmt: skip
    joined: list[Turn] = []
    for sample in samples:
        joined += [Turn("user", sample.question), with_reasoning(sample)[1]]
    return TrainingConversation(tuple(joined), samples[0].image, tuple(rows), epoch, ids=ids)


def with_reasoning(sample: Sample) -> tuple[Turn, ...]:
    """The turns, with the reasoning that ``meta.turn_fields`` holds as a ``<think>`` block before the text."""
    fields = sample.meta.get("turn_fields")
    if not isinstance(fields, list):
        return sample.conversations
    turns: list[Turn] = []
    for number, turn in enumerate(sample.conversations):
        own = fields[number] if number < len(fields) and isinstance(fields[number], dict) else {}
        key = reasoning_key(own) if turn.role == "assistant" else ""
        block = f"<think>\n{own[key]}\n</think>\n\n" if key else ""
        if block and is_call(turn):
            turns += [Turn("assistant", block, loss=turn.loss), turn]
        else:
            turns.append(replace(turn, value=block + turn.value) if block else turn)
    return tuple(turns)


def _tools(sample: Sample) -> tuple[Mapping[str, Any], ...]:
    try:
        return tuple(map(as_function, definitions_in(json_text(sample.meta.get("tools") or ""))))
    except (ValueError, TypeError) as error:
        raise UntrainableRow("tools", str(error)) from None


@lru_cache(maxsize=4)
def uses_prompt_suffix(processor: Any) -> bool:
    """Whether the processor has no chat template and takes the answer as ``suffix``."""
    has_template = getattr(processor, "chat_template", None) is not None
    return not has_template and "suffix" in inspect.signature(type(processor).__call__).parameters


def prompt_suffix_problem(sample: Sample) -> str | None:
    """Why a sample cannot be a prompt with a suffix; None if it can."""
    roles = [turn.name or turn.role for turn in sample.conversations]
    if roles == ["user", "assistant"] and not sample.meta.get("tools"):
        return None
    return f"the model takes one question and one answer, this row has: {' '.join(roles)}"


def prompt_and_suffix(conversation: TrainingConversation) -> tuple[str, str]:
    """The prompt, with the image markers first as in the model's own training, and the answer."""
    question, answer = conversation.turns[-2].value, conversation.turns[-1].value
    words = " ".join(piece.strip() for piece in question.split(IMAGE_MARKER) if piece.strip())
    return IMAGE_MARKER * len(conversation.images) + words, answer


_THINKING = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)


def split_reasoning(text: str) -> tuple[str | None, str]:
    """The ``<think>`` block that an answer begins with, without its tags, and the answer; None if there is no block."""
    found = _THINKING.match(text)
    return (found[1], text[found.end() :]) if found else (None, text)


def message_turns(turns: Sequence[Turn]) -> list[tuple[Turn, ...]]:
    """The turns of each message: an assistant's text and the calls that follow it are one, any other turn is its own.

    Turns of which only some are trained are not joined.
    """
    groups: list[tuple[Turn, ...]] = []
    for turn in turns:
        before = groups[-1][-1] if groups else None
        if before and is_call(turn) and before.role == "assistant" and is_trained(before) == is_trained(turn):
            groups[-1] = (*groups[-1], turn)
        else:
            groups.append((turn,))
    return groups


def trained_messages(conversation: TrainingConversation) -> list[bool]:
    """Whether each message of ``to_messages`` is trained."""
    return [is_trained(turns[0]) for turns in message_turns(conversation.turns)]


def to_messages(conversation: TrainingConversation, form: TemplateForm = PLAIN) -> list[Message]:
    """Messages for the chat template, in the form that it takes.

    Each marker of an image, a video or a sound becomes a block in its place; files of a kind without markers come
    before the text of the first user turn. Calls of tools are ``tool_calls``, their results
    messages of the role ``tool``. Reasoning is a field of its own where the template has one.

    Raises:
        UntrainableRow: a call is not JSON with a name and arguments.
    """
    turns = conversation.turns
    asked = [turn.value for turn in turns if turn.role == "user"]
    files = zip(MEDIA_MARKERS, (conversation.images, conversation.videos, conversation.audios), strict=True)
    waiting = [
        {"type": marker.strip("<>")}
        for marker, listed in files
        if not any(marker in value for value in asked)
        for _ in listed
    ]
    messages: list[Message] = []
    called: list[tuple[str, str]] = []  # id and name of each call
    results = 0
    for first, *rest in message_turns(turns):
        if first.role == "assistant":
            messages.append(_assistant([first, *rest], form, called))
            continue
        result = is_result(first)
        content: Any = _blocks(first)
        if waiting and first.role == "user" and not result:
            content, waiting = waiting + content, []
        if all(block["type"] == "text" for block in content):
            content = form.content("".join(block["text"] for block in content), result=result)
        message: Message = {"role": "tool" if result else first.role, "content": content}
        if result and called:
            number, name = called[min(results, len(called) - 1)]
            message |= {"tool_call_id": number, "name": name}
            results += 1
        messages.append(message)
    return messages


def _assistant(turns: Sequence[Turn], form: TemplateForm, called: list[tuple[str, str]]) -> Message:
    text = "" if is_call(turns[0]) else turns[0].value
    message: Message = {"role": "assistant"}
    reasoning, answer = split_reasoning(text)
    if reasoning is not None and form.reasoning == "field":
        text = answer
        message["reasoning_content"] = reasoning.strip("\n")
    message["content"] = form.content(text)
    calls = []
    for turn in filter(is_call, turns):
        try:
            for name, arguments in calls_in(turn.value):
                called.append((f"call{len(called):05}", name))  # nine characters, as Mistral asks for
                calls.append(call_message(called[-1][0], name, _arguments(arguments, form)))
        except ValueError as error:
            raise UntrainableRow("tool_call", f"{error}; this is {turn.value!r:.60}") from None
    return message | ({"tool_calls": calls} if calls else {})


def _arguments(arguments: Any, form: TemplateForm) -> Any:
    """The arguments of a call as the template takes them."""
    if isinstance(arguments, str):
        arguments = parse_json(arguments.encode()) if arguments.strip() else {}
    return json.dumps(arguments, ensure_ascii=False) if form.json_arguments else arguments


_MEDIA = re.compile(f"({'|'.join(MEDIA_MARKERS)})")


def _blocks(turn: Turn) -> list[Message]:
    if turn.role != "user" or not _MEDIA.search(turn.value):
        return [{"type": "text", "text": turn.value}]
    return [
        {"type": piece.strip("<>")} if piece in MEDIA_MARKERS else {"type": "text", "text": piece.strip()}
        for piece in _MEDIA.split(turn.value)
        if piece.strip()
    ]


def control_tokens(processor: Any) -> frozenset[str]:
    """Strings that must not occur in a row's text, because they would be read as control tokens."""
    tokenizer = processor.tokenizer
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= {getattr(processor, f"{kind}_token", None) or "" for kind in ("image", "video", "audio")}
    special |= set(tokenizer.all_special_tokens)
    return frozenset(token for token in special if token.strip() and token not in MEDIA_MARKERS)


def normalized_text(text: str) -> str:
    """Text for comparison: NFKC, case folded, without whitespace."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())
