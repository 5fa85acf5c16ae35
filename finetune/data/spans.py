"""Finds the trained characters of a chat.

An answer is located by a sentinel: the chat is rendered a second time with the answer replaced by a word of ours. This
needs no ``{% generation %}`` block and no table of templates, and it renders no partial chat, so templates that rewrite
earlier turns are safe. Partial chats are the last resort, for templates that write the results of tools into the
message that called them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import takewhile
from typing import Any

from finetune.data.chat import (
    TrainingConversation,
    prompt_and_suffix,
    split_reasoning,
    to_messages,
    trained_messages,
    uses_prompt_suffix,
)
from finetune.data.template import Message, TemplateForm, UntrainableRow, render, template_form
from winnow.vlm.inputs import InputSettings

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class RenderedChat:
    """A rendered chat.

    Attributes:
        text: the chat as the template writes it, image placeholders not yet expanded.
        spans: trained characters of each answer that is trained, [start, end), stop token included.
        stops: for each of them, whether its span ends in a stop token.
        reasoning: for each of them, whether its reasoning is trained; None without any.
        calls: for each of them, its calls of tools.
        gaps: for each of them, (what the prompt ends with at generation, what the span follows here) where they
            differ; only if asked for.
    """

    text: str
    spans: tuple[Span, ...]
    stops: tuple[bool, ...]
    reasoning: tuple[bool | None, ...] = (None,)
    calls: tuple[int, ...] = (0,)
    gaps: tuple[tuple[str, str], ...] = ()


def chat_text(processor: Any, conversation: TrainingConversation, settings: InputSettings) -> str:
    """The conversation as the model reads it, image placeholders not yet expanded.

    Raises:
        UserError: the processor has no chat template.
        UntrainableRow: the template refuses the conversation.
    """
    if uses_prompt_suffix(processor):
        return f"{''.join(prompt_and_suffix(conversation))}{processor.tokenizer.eos_token}"
    return _Chat.of(processor, conversation, settings).text


def prompt_text(processor: Any, conversation: TrainingConversation, settings: InputSettings) -> str:
    """What is fed to the model for the last answer of the conversation.

    Raises:
        UserError: the processor has no chat template.
        UntrainableRow: the template refuses the conversation.
    """
    chat = _Chat.of(processor, conversation, settings)
    return chat.render(chat.messages[:-1], generation=True)


def render_with_spans(
    processor: Any, conversation: TrainingConversation, settings: InputSettings, *, compare_prompts: bool = False
) -> RenderedChat:
    """Render a conversation and find its trained characters.

    Args:
        compare_prompts: also render what is fed at generation, for ``gaps``.

    Raises:
        UserError: the processor has no chat template.
        UntrainableRow: the template refuses the conversation, or does not show a turn, a call or the reasoning
            before a trained answer as it was written.
    """
    if uses_prompt_suffix(processor):
        text = chat_text(processor, conversation, settings)
        return RenderedChat(text, ((len(prompt_and_suffix(conversation)[0]), len(text)),), (True,))
    chat = _Chat.of(processor, conversation, settings)
    wanted = [number for number, trained in enumerate(trained_messages(conversation)) if trained]
    found = _spans_from_one_render(chat, [number for number in wanted if "tool_calls" not in chat.messages[number]])
    spans, reasoning, gaps = [], [], []
    for number in wanted:
        span = found.get(number) or _span_from_own_render(chat, number) or _span_from_prompts(chat, number)
        if span is None:
            raise _not_shown(chat, number)
        start = span[0] - (len(chat.form.lead) if chat.text.endswith(chat.form.lead, 0, span[0]) else 0)
        thought = _reasoning_span(chat, number, span)
        trained = settings.train_reasoning
        spans.append(_with_stop(processor, chat.text, (thought[not trained] if thought else start, span[1])))
        reasoning.append(trained if thought else None)
        gaps += _gap(chat, number, thought[0] if thought else start) if compare_prompts else []
    _check_questions(chat)
    return RenderedChat(
        chat.text, tuple(s for s, _ in spans), tuple(stop for _, stop in spans), tuple(reasoning),
        tuple(len(chat.messages[number].get("tool_calls", ())) for number in wanted), tuple(gaps),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Chat:
    """A chat's messages and their text."""

    processor: Any
    settings: InputSettings
    form: TemplateForm
    tools: list[Any] | None
    messages: list[Message]
    text: str = ""

    @classmethod
    def of(cls, processor: Any, conversation: TrainingConversation, settings: InputSettings) -> _Chat:
        form = template_form(processor, settings)
        tools, messages = [dict(tool) for tool in conversation.tools], to_messages(conversation, form)
        _check_tools(form, tools, messages)
        chat = cls(processor, settings, form, tools or None, messages)
        return replace(chat, text=chat.render(chat.messages))

    def render(self, messages: list[Message], *, generation: bool = False) -> str:
        return render(self.processor, messages, self.settings, tools=self.tools, generation=generation)

    def answer_number(self, number: int) -> int:
        """Which of the answers a message is, from 1."""
        return sum(message["role"] == "assistant" for message in self.messages[: number + 1])


def _words(message: Message) -> str:
    """The text of a message."""
    content = message["content"]
    return content if isinstance(content, str) else "".join(block.get("text", "") for block in content)


def _check_tools(form: TemplateForm, tools: Sequence[Any], messages: list[Message]) -> None:
    """Check that the template shows tools and calls if there are any."""
    calls = any("tool_calls" in message or message["role"] == "tool" for message in messages)
    if tools and not form.tools:
        raise UntrainableRow("tools_not_shown", "the chat template does not show the definitions of tools")
    if calls and not form.calls:
        raise UntrainableRow("tools_not_shown", "the chat template does not show calls of tools and their results")


def _check_questions(chat: _Chat) -> None:
    """Check that the turns that are not the assistant's show up, and the tools."""
    for name in (tool["function"]["name"] for tool in chat.tools or []):
        if name not in chat.text:
            raise UntrainableRow("tools_not_shown", f"the chat template does not show the tool {name!r}")
    for message in chat.messages:
        content = message["content"] if message["role"] != "assistant" else ""
        for text in [content] if isinstance(content, str) else [block.get("text", "") for block in content]:
            if not _is_in(text, chat.text):
                raise UntrainableRow(
                    "turn_not_shown", f"the chat template does not show {text!r:.60} ({message['role']}) as written"
                )
    for number, message in enumerate(chat.messages):
        if message["role"] == "tool" and not isinstance(message["content"], str):
            bare = {**message, "content": [block for block in message["content"] if block["type"] == "text"]}
            if chat.render([*chat.messages[:number], bare, *chat.messages[number + 1 :]]) == chat.text:
                raise UntrainableRow("turn_not_shown", "the chat template does not show files in the result of a tool")


def _is_in(text: str, whole: str) -> bool:
    """Whether a text shows up, trimmed, as it is or as in JSON or Python."""
    text = text.strip()
    quoted = (json.dumps(text, ensure_ascii=False), json.dumps(text), repr(text))
    return text in whole or any(form[1:-1] in whole for form in quoted)


def _not_shown(chat: _Chat, number: int) -> UntrainableRow:
    message, answer = chat.messages[number], chat.answer_number(number)
    words = _words(message)
    if split_reasoning(words)[0] is not None and chat.form.reasoning == "dropped":
        return UntrainableRow(
            "reasoning_not_shown",
            f"the chat template leaves out the reasoning of answer {answer}, so it cannot be trained; give another"
            " template as chat_template",
        )
    shown = f"{words!r:.60}" if words else f"a call of {message['tool_calls'][0]['function']['name']}"
    return UntrainableRow(
        "answer_not_shown",
        f"the chat template of {type(chat.processor).__name__} does not show answer {answer} ({shown}) as it was"
        " written, so it cannot be trained",
    )


def _sentinel(number: int) -> str:
    return f"SENTINEL{number}ANSWER"


def _with_sentinel(chat: _Chat, number: int) -> Message:
    """A message with a sentinel for its text and calls; its reasoning stays."""
    kept = {key: value for key, value in chat.messages[number].items() if key != "tool_calls"}
    return {**kept, "content": chat.form.content(_sentinel(number))}


def _spans_from_one_render(chat: _Chat, wanted: Sequence[int]) -> dict[int, Span]:
    """Spans by message, from one render with all wanted texts replaced; empty if it does not match the chat."""
    if not wanted:
        return {}
    messages = list(chat.messages)
    for number in wanted:
        messages[number] = _with_sentinel(chat, number)
    marked = chat.render(messages)
    spans: dict[int, Span] = {}
    position = 0
    for number in wanted:
        before, found, marked = marked.partition(_sentinel(number))
        if not found or not chat.text.startswith(before, position):
            return {}
        start = position + len(before)
        answer = _words(chat.messages[number])
        # Some templates strip the answer.
        forms = (answer, answer.strip())
        kept = next((form for form in forms if form and chat.text.startswith(form, start)), None)
        if kept is None:
            return {}
        position = start + len(kept)
        spans[number] = (start, position)
    return spans if chat.text[position:] == marked else {}


def _span_from_own_render(chat: _Chat, number: int) -> Span | None:
    """The span of a message from a render with only that message replaced; None if it does not match the chat.

    Templates that treat early turns differently need it, and calls.
    """
    try:
        marked = chat.render([*chat.messages[:number], _with_sentinel(chat, number), *chat.messages[number + 1 :]])
    except UntrainableRow:
        return None
    before, found, tail = marked.partition(_sentinel(number))
    start, end = len(before), len(chat.text) - len(tail)
    matches = found and chat.text.startswith(before) and chat.text.endswith(tail) and start < end
    following = chat.messages[number + 1 :]
    results = list(takewhile(lambda message: message["role"] == "tool", following))
    matches = matches and all(_is_in(_words(message), tail) for message in results)
    return (start, end) if matches and _holds(chat, number, chat.text[start:end]) else None


def _span_from_prompts(chat: _Chat, number: int) -> Span | None:
    """The span between the prompt for a message and the chat up to it; None if the chat does not begin with both."""
    try:
        prompt = chat.render(chat.messages[:number], generation=True)
        upto = chat.render(chat.messages[: number + 1]).rstrip()
    except UntrainableRow:
        return None
    matches = chat.text.startswith(upto) and upto.startswith(prompt) and len(prompt) < len(upto)
    return (len(prompt), len(upto)) if matches and _holds(chat, number, upto[len(prompt) :]) else None


def _holds(chat: _Chat, number: int, text: str) -> bool:
    """Whether a text shows a message's words, then its calls in order with all arguments."""
    message, words = chat.messages[number], _words(chat.messages[number]).strip()
    position = text.find(words)
    if position < 0:
        return False
    position += len(words)
    for call in message.get("tool_calls", ()):
        function = call["function"]
        position = text.find(function["name"], position)
        arguments = function["arguments"]
        shown = json.loads(arguments) if isinstance(arguments, str) else arguments
        if position < 0 or not all(_is_in(value, text[position:]) for value in _values(shown)):
            return False
        position += len(function["name"])
    return True


def _values(arguments: Any) -> Iterator[str]:
    """The texts, numbers and truth values in the arguments of a call."""
    if isinstance(arguments, dict | list):
        for value in arguments.values() if isinstance(arguments, dict) else arguments:
            yield from _values(value)
    elif isinstance(arguments, str):
        yield arguments
    elif isinstance(arguments, int | float) and not isinstance(arguments, bool):
        yield json.dumps(arguments)


def _reasoning_span(chat: _Chat, number: int, span: Span) -> Span | None:
    """Where a message's reasoning begins, with what the model writes before it, and where it ends; None without any."""
    form, text, words = chat.form, chat.text, chat.text[slice(*span)]
    block, answer = split_reasoning(words)
    reasoning = chat.messages[number].get("reasoning_content", block)
    if reasoning is None:
        return None
    if not form.generated and reasoning.strip():
        raise UntrainableRow(
            "reasoning_not_generated",
            f"answer {chat.answer_number(number)} has reasoning, but at generation the chat template ends the prompt "
            "so that none is written; change chat_template_kwargs or leave the row out",
        )
    if block is not None:  # in the text
        after = span[1] - len(answer)
        begin = span[0] + (len(form.opened) if words.startswith(form.opened) else 0)
        return begin if form.generated else after, after
    begin_of_field = _reasoning_start(form, text, reasoning, span) if form.generated else None
    if begin_of_field is not None or not reasoning.strip():
        return None if begin_of_field is None else (begin_of_field, span[0])
    at = words.find(reasoning.strip())
    if at < 0:
        raise UntrainableRow(
            "reasoning_not_shown",
            f"the chat template leaves out the reasoning of answer {chat.answer_number(number)}; mark the answer with"
            " loss: false, or end the row with it",
        )
    after = span[0] + at + len(reasoning.strip())
    return span[0], after + (len(form.closing) if text.startswith(form.closing, after) else 0)


def _reasoning_start(form: TemplateForm, text: str, reasoning: str, span: Span) -> int | None:
    """Where the reasoning before a span begins, with what the model writes before it; None if it is not there."""
    for written in (reasoning, reasoning.strip()):
        lead = f"{form.opening}{written}{form.closing}"
        if text.endswith(lead, 0, span[0]):
            return span[0] - len(lead)
    return None


def _gap(chat: _Chat, number: int, start: int) -> list[tuple[str, str]]:
    """What is fed at generation and what a message follows here, from the line before they differ; [] if nowhere."""
    prompt, before = chat.render(chat.messages[:number], generation=True), chat.text[:start]
    if prompt == before:
        return []
    lines = list(zip(prompt.splitlines(keepends=True), before.splitlines(keepends=True), strict=False))
    shared = next((number for number, (one, other) in enumerate(lines) if one != other), len(lines))
    same = len("".join(one for one, _ in lines[: max(0, shared - 1)]))
    return [(prompt[same:], before[same:])]


def _with_stop(processor: Any, text: str, span: Span) -> tuple[Span, bool]:
    """The span extended over a stop token that follows it, whitespace between them included; whether it ends in one."""
    if match := _stop_pattern(processor).match(text, span[1]):
        return (span[0], match.end()), True
    return span, text.endswith(_stop_tokens(processor), *span)


@lru_cache(maxsize=4)
def _stop_tokens(processor: Any) -> tuple[str, ...]:
    """The end-of-sequence token and added ones that stand for no file, longest first."""
    tokenizer = processor.tokenizer
    tokens = {token for token in tokenizer.get_added_vocab() if token.strip()} | {tokenizer.eos_token}
    tokens -= {getattr(processor, f"{kind}_token", None) for kind in ("image", "video", "audio")} | {None}
    return tuple(sorted(tokens, key=len, reverse=True))


@lru_cache(maxsize=4)
def _stop_pattern(processor: Any) -> re.Pattern[str]:
    """Matches whitespace and a stop token."""
    alternatives = "|".join(map(re.escape, _stop_tokens(processor)))
    return re.compile(rf"\s*(?:{alternatives})" if alternatives else r"(?!)")
