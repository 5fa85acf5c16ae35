"""What a chat template takes and shows, found by rendering small chats.

Templates differ in how they take a text (a string or blocks), the arguments of a call and the reasoning before an
answer, and many leave out what they do not know. So each form is tried with words that must show up.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from winnow.errors import UserError
from winnow.vlm.inputs import InputSettings

Message = dict[str, Any]

_QUESTION, _ANSWER, _REASON, _RESULT = "PROBEQUESTION", "PROBEANSWER", "PROBEREASON", "PROBERESULT"
_TOOL, _ARGUMENT = "probetool", "PROBEARGUMENT"
_OWN_VARIABLES = frozenset({"messages", "tools", "documents", "add_generation_prompt", "chat_template", "tokenize"})
_DEFINITION = {
    "type": "function",
    "function": {
        "name": _TOOL, "description": "A tool.",
        "parameters": {"type": "object", "properties": {"a": {"type": "string", "description": "A text."}}},
    },
}  # fmt: skip


class UntrainableRow(UserError):
    """A row that cannot be trained as it was meant.

    Attributes:
        reason: a short name, as rejects.jsonl has it; the message is the detail.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class TemplateForm:
    """How a chat template takes messages.

    Attributes:
        blocks: texts are lists of blocks; else strings.
        result_blocks: the same for the results of tools.
        json_arguments: the arguments of a call are JSON text; else an object.
        tools, calls: whether the template shows definitions of tools, and calls with their results.
        lead: white space that it writes between the prompt and an answer.
        reasoning: ``field``: it takes ``reasoning_content``; ``text``: reasoning is part of the text;
            ``dropped``: it removes reasoning from the text.
        opening, closing: what it writes between prompt and reasoning, and between reasoning and answer, if it takes
            ``reasoning_content``.
        opened: the first characters of a text with reasoning that the prompt has already, such as ``<think>``.
        generated: whether a model that continues the prompt can write reasoning; no if the prompt closes it.
    """

    blocks: bool = True
    result_blocks: bool = False
    json_arguments: bool = False
    tools: bool = False
    calls: bool = False
    lead: str = ""
    reasoning: Literal["field", "text", "dropped"] = "text"
    opening: str = ""
    closing: str = ""
    opened: str = ""
    generated: bool = True

    def content(self, text: str, *, result: bool = False) -> Any:
        """A text as the content of a message."""
        blocks = self.result_blocks if result else self.blocks
        return [{"type": "text", "text": text}] if text and blocks else text


PLAIN = TemplateForm()


def render(
    processor: Any, messages: list[Message], settings: InputSettings, *, tools: list[Any] | None = None,
    generation: bool = False,
) -> str:  # fmt: skip
    """The chat as text, up to the end of the last turn, or with ``generation`` up to where the model answers.

    Raises:
        UserError: the processor has no chat template.
        UntrainableRow: the template refuses the messages.
    """
    from jinja2 import TemplateError

    try:
        text: str = processor.apply_chat_template(
            messages, tools=tools, tokenize=False, add_generation_prompt=generation, **settings.chat_template_kwargs
        )
    except (TemplateError, ValueError, TypeError, LookupError, AttributeError) as error:
        if getattr(processor, "chat_template", None) is None:
            raise UserError(f"{type(processor).__name__} has no chat template, so answers cannot be found") from error
        raise UntrainableRow("template_error", f"the chat template refuses it: {error}") from error
    return text


def check_variables(processor: Any, settings: InputSettings) -> None:
    """Check that the chat template reads every variable that the recipe sets.

    Raises:
        UserError: it does not, as with a misspelt name.
    """
    template = str(getattr(processor, "chat_template", None))
    for name in settings.chat_template_kwargs:
        if name in _OWN_VARIABLES or not re.search(rf"\b{re.escape(name)}\b", template):
            raise UserError(f"chat_template_kwargs: the chat template of the model reads no variable {name!r}")


def template_form(processor: Any, settings: InputSettings) -> TemplateForm:
    """How the processor's chat template takes messages; rendered once for each template and its variables."""
    variables = json.dumps(dict(settings.chat_template_kwargs), sort_keys=True, default=str)
    return _form(processor, str(getattr(processor, "chat_template", None)), variables)


@lru_cache(maxsize=8)
def _form(processor: Any, template: str, variables: str) -> TemplateForm:
    settings = InputSettings(chat_template_kwargs=json.loads(variables))

    def shown(messages: list[Message], tools: list[Any] | None = None, *, generation: bool = False) -> str:
        try:
            return render(processor, messages, settings, tools=tools, generation=generation)
        except UntrainableRow:
            return ""

    texts = {}
    for blocks in (True, False):
        form = TemplateForm(blocks=blocks)
        question: Message = {"role": "user", "content": form.content(_QUESTION)}
        answer: Message = {"role": "assistant", "content": form.content(_ANSWER)}
        text = shown([question, answer])
        if _QUESTION in text and _ANSWER in text:
            texts[blocks] = text
    if not texts:
        return PLAIN  # the first row says what is wrong
    # A template that knows strings only writes a list as Python does.
    form = TemplateForm(blocks=texts.get(True) == texts.get(False, texts.get(True)))
    question = {"role": "user", "content": form.content(_QUESTION)}
    answer = {"role": "assistant", "content": form.content(_ANSWER)}
    found: dict[str, Any] = {"blocks": form.blocks, "tools": _TOOL in shown([question, answer], [_DEFINITION])}
    for result_blocks, json_arguments in ((False, False), (True, False), (False, True), (True, True)):
        trial = TemplateForm(blocks=form.blocks, result_blocks=result_blocks)
        arguments: Any = {"a": _ARGUMENT}
        call = call_message("probe0000", _TOOL, json.dumps(arguments) if json_arguments else arguments)
        result = {
            "role": "tool", "content": trial.content(_RESULT, result=True), "tool_call_id": "probe0000", "name": _TOOL
        }  # fmt: skip
        text = shown([question, {"role": "assistant", "content": "", "tool_calls": [call]}, result, answer])
        if all(word in text for word in (_TOOL, _ARGUMENT, _RESULT, _ANSWER)):
            found |= {"calls": True, "result_blocks": result_blocks, "json_arguments": json_arguments}
            break
    prompt = shown([question], generation=True)
    lead = texts[form.blocks].partition(_ANSWER)[0].removeprefix(prompt)
    found["lead"] = "" if lead.strip() else lead
    return TemplateForm(**found, **_reasoning(form, shown, question, prompt))


def _reasoning(form: TemplateForm, shown: Any, question: Message, prompt: str) -> dict[str, Any]:
    """The fields of a form that are about reasoning.

    Args:
        prompt: what is fed at generation.
    """
    text = shown([question, {"role": "assistant", "content": form.content(_ANSWER), "reasoning_content": _REASON}])
    if 0 <= text.find(_REASON) < text.find(_ANSWER):
        before, _, rest = text.partition(_REASON)
        opening = before.removeprefix(prompt) if before.startswith(prompt) else ""
        closing = rest.partition(_ANSWER)[0]
        return {
            "reasoning": "field", "opening": opening, "closing": closing, "generated": before.startswith(prompt)
        }  # fmt: skip
    whole = f"<think>\n{_REASON}\n</think>\n\n{_ANSWER}"
    text = shown([question, {"role": "assistant", "content": form.content(whole)}])
    before, found, _ = text.partition(whole)
    if not found:
        return {"reasoning": "dropped"}
    opened = (
        prompt.removeprefix(before) if prompt.startswith(before) and whole.startswith(prompt[len(before) :]) else ""
    )
    return {"reasoning": "text", "opened": opened, "generated": text.startswith(prompt)}


def call_message(number: str, name: str, arguments: Any) -> Message:
    """A call of a tool as templates take it, in OpenAI's form."""
    return {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}}
