"""Backends: models that can be asked. Each takes ``Request`` objects and gives ``Reply`` objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from winnow.rows.conversations import IMAGE_MARKER

FinishReason = Literal["stop", "length", "content_filter", "error"]


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model.

    Attributes:
        key: digest of everything the answer depends on; equal keys have equal answers.
        chat: the rendered chat up to where the answer begins; for a server its messages as JSON.
        images: absolute paths, in the order of their placeholders.
        image_keys: sha256 of each image's bytes.
        max_new_tokens: limit of the answer.
        stop: texts that end it. The reply keeps them; reading cuts there.
        temperature: of sampling; None is greedy on this machine, and of a server what its settings say.
        seed: number of the ask among those of one question; a sampled answer follows it.
        logprobs: ask for ``Reply.confidence``.
        thinking_budget: most tokens of thinking; None leaves it to the model.
    """

    key: str
    chat: str
    images: tuple[str, ...]
    image_keys: tuple[str, ...]
    max_new_tokens: int
    stop: tuple[str, ...]
    temperature: float | None = None
    seed: int = 0
    logprobs: bool = False
    thinking_budget: int | None = None

    @property
    def kind(self) -> tuple[Any, ...]:
        """What decides whether a model can take the request at all."""
        optional = bool(self.stop), self.temperature is None, self.logprobs, self.thinking_budget is None
        return min(len(self.images), 2), *optional


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    Attributes:
        raw: the model's words as they came: nothing is cut or stripped but the end token.
        finish_reason: ``stop`` (end token or stop text), ``length`` (cut off), ``content_filter``
            (the server refused), ``error`` (no answer came).
        input_tokens, output_tokens: image tokens included; this machine's backend does not count the end token.
        seconds: this row's share of the time its batch took; of a server, from asking to the answer.
        error: why there is no answer, or what had to be replaced in it.
        reasoning: what a server sent as the model's thinking, beside the reply.
        confidence: probability of the answer's tokens, 0 to 1, where it was asked for.
        retry: no answer came for a reason that may pass (connection, busy, 5xx), so the next run asks again.
    """

    key: str
    raw: str
    finish_reason: FinishReason
    input_tokens: int
    output_tokens: int
    seconds: float
    error: str | None = None
    reasoning: str = ""
    confidence: float | None = None
    retry: bool = False


def no_answer(key: str, error: str, seconds: float = 0.0, *, retry: bool = False) -> Reply:
    """The reply that stands for a request without an answer."""
    return Reply(key, "", "error", 0, 0, seconds, error, retry=retry)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a model cannot take.

    Attributes:
        message: a sentence: what, and which recipe key helps.
        setting: the key and value to set, e.g. ``server.seed: null``, if one helps.
        fatal: no request can work as it is.
    """

    message: str
    setting: str | None
    fatal: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """What probing found, and the replies that it got, which need not be asked for twice."""

    findings: tuple[Finding, ...]
    replies: tuple[Reply, ...] = ()


Earlier = tuple[str, str]  # an earlier question of the conversation, and what the model answered


class Render(Protocol):
    """Makes the chat of a question; returns it, and why it cannot be asked (None if it can)."""

    def __call__(
        self, prompt: str, images: int, system: str | None, earlier: Sequence[Earlier] = ()
    ) -> tuple[str, str | None]: ...


@dataclass(frozen=True)
class Backend:
    """A model that can be asked.

    Attributes:
        identity: digest of the model and of the settings that decide its answers.
        label: the model, for people.
        facts: what the manifest keeps about it.
        renderer: makes ``Render``; loads a processor where one is needed.
        probe: asks a few of the requests, one at a time, to see what of them the model cannot take.
        replies: (requests, is this key known) → replies as they come. ``batch_size`` is the number
            of rows computed, or requests in flight, at a time; None takes the recipe's.
        repeatable: asked again, it says the same.
        reachable: it can be asked now.
    """

    identity: str
    label: str
    facts: dict[str, str]
    renderer: Callable[[], Render]
    probe: Callable[[Sequence[Request]], Probe]
    replies: Callable[[Sequence[Request], Callable[[str], bool], int | None], Iterator[list[Reply]]]
    repeatable: bool
    reachable: bool = True


def messages(prompt: str, images: int, system: str | None, earlier: Sequence[Earlier] = ()) -> list[dict[str, Any]]:
    """Chat-template messages with image and text blocks.

    Markers in the questions become images where they stand; without markers the images come first.
    """
    asked = [question for question, _ in earlier] + [prompt]
    if not any(IMAGE_MARKER in question for question in asked):
        asked[0] = IMAGE_MARKER * images + asked[0]
    chat = [{"role": "system", "content": [{"type": "text", "text": system}]}] if system else []
    for question, (_, answer) in zip(asked, [*earlier, ("", "")], strict=True):
        chat.append({"role": "user", "content": _blocks(question)})
        chat.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    return chat[:-1]


def _blocks(question: str) -> list[dict[str, str]]:
    blocks = []
    for number, piece in enumerate(question.split(IMAGE_MARKER)):
        if number:
            blocks.append({"type": "image"})
        if piece.strip():
            blocks.append({"type": "text", "text": piece.strip()})
    return blocks
