"""A guard's policy: a strict YAML file that says what is let through."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import re2
from pydantic import Field, field_validator, model_validator

from curate.settings.signals import ClipSettings, PromptSet
from curate.signals.clip import SHIPPED
from curate.signals.pii import KINDS as PII_KINDS
from serving.guard.rules import KINDS as INJECTION_KINDS
from winnow.recipe import StrictModel, load_recipe

Share = Annotated[float, Field(ge=0, le=1)]
OnFailure = Literal["block", "pass"]
DEFAULT = Path(__file__).parent / "policies" / "default.yaml"

# Of a chat completion's request; anything else is refused, as servers take fields that replace the chat template.
FIELDS = (
    "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "min_p", "n", "stream",
    "stream_options", "stop", "presence_penalty", "frequency_penalty", "repetition_penalty", "seed", "user",
    "response_format", "tools", "tool_choice", "parallel_tool_calls", "reasoning_effort",
)  # fmt: skip


class Requests(StrictModel):
    """What one request may take.

    Attributes:
        max_bytes: of a body.
        body_timeout: seconds for the whole body to arrive.
        timeout: seconds for the whole answer of the upstream.
        idle_timeout: seconds without a byte of the upstream.
        max_response_bytes: of an answer that is not streamed, and of one event of a stream.
        concurrent: requests at a time; more wait.
        queue: requests that wait; more are refused with 503.
        queue_timeout: seconds that one waits.
        fields: of the request's body; all others are refused.
        max_messages: turns of a conversation.
        max_output_tokens: a request for more, or for no limit, asks the upstream for this many.
        max_choices: the most ``n``.
    """

    max_bytes: int = Field(default=20_000_000, gt=0)
    body_timeout: float = Field(default=30, gt=0)
    timeout: float = Field(default=600, gt=0)
    idle_timeout: float = Field(default=120, gt=0)
    max_response_bytes: int = Field(default=8_000_000, gt=0)
    concurrent: int = Field(default=256, ge=1)
    queue: int = Field(default=256, ge=0)
    queue_timeout: float = Field(default=10, gt=0)
    fields: tuple[str, ...] = FIELDS
    max_messages: int = Field(default=100, ge=1)
    max_output_tokens: int = Field(default=4096, ge=1)
    max_choices: int = Field(default=4, ge=1)


class Key(StrictModel):
    """Who may ask.

    Attributes:
        name: stands in the log.
        sha256: of the key; `serve guard-key NAME` makes both.
        per_minute: requests; a burst of as many is let through.
        concurrent: requests at a time.
    """

    name: str = Field(pattern=r"^[\w.@-]{1,64}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    per_minute: float = Field(default=60, gt=0)
    concurrent: int = Field(default=16, ge=1)


class Prompt(StrictModel):
    """Score of CLIP for a set of texts, and above which value an image is refused."""

    texts: Literal["shipped"] | PromptSet = "shipped"
    above: Share = 0.9


class Remote(StrictModel):
    """Images behind addresses: the guard fetches them, as curation does, and forwards the bytes.

    Attributes:
        hosts: names that may be asked, or ``"*"`` for any public address.
        allow_private: also private, loopback and link-local addresses.
        deadline: seconds for one image.
        max_redirects: followed to any public address, so none unless the policy says so.
    """

    hosts: tuple[str, ...] = Field(min_length=1)
    allow_private: bool = False
    deadline: float = Field(default=15, gt=0)
    max_redirects: int = Field(default=0, ge=0, le=10)


class Images(StrictModel):
    """Images in a request.

    Attributes:
        most: in one request.
        max_bytes, max_pixels: of one image, checked before anything is decoded.
        max_side: pixels of the longer side.
        formats: by content, as Pillow names them.
        rewrite: ``auto`` forwards the pixels that were checked wherever another decoder may see others (turned by
            EXIF, transparent, animated, palettes, 16 bits); ``always`` does so with every image.
        remote: null refuses addresses.
        nsfw: an image whose open_nsfw score is higher is refused; null: not scored.
        clip: the model that scores ``prompts``.
        prompts: name → texts and threshold.
        ocr: whether text in images is read and checked like a prompt.
        workers: processes that look at images.
        timeout: seconds for one image, after which its process is ended.
        queue: images that wait for a process; more are refused with 503.
        remembered: images whose scores are kept, by the hash of their bytes.
    """

    most: int = Field(default=8, ge=0)
    max_bytes: int = Field(default=10_000_000, gt=0)
    max_pixels: int = Field(default=16_000_000, gt=0)
    max_side: int = Field(default=8192, gt=0)
    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "GIF")
    rewrite: Literal["auto", "always"] = "auto"
    remote: Remote | None = None
    nsfw: Share | None = None
    clip: ClipSettings | None = None
    prompts: dict[str, Prompt] = Field(default_factory=dict)
    ocr: bool = False
    workers: int = Field(default=1, ge=1, le=64)
    timeout: float = Field(default=30, gt=0)
    queue: int = Field(default=64, ge=0)
    remembered: int = Field(default=100_000, ge=1)

    @model_validator(mode="after")
    def _prompts_have_a_model(self) -> Self:
        if self.prompts and self.clip is None:
            raise ValueError("images.prompts needs images.clip, the model that scores them")
        if unknown := [name for name, one in self.prompts.items() if one.texts == "shipped" and name not in SHIPPED]:
            raise ValueError(f"images.prompts.{unknown[0]}: shipped are {', '.join(SHIPPED)}; others need `texts:`")
        return self


class Classifier(StrictModel):
    """A local text classifier (transformers, safetensors) beside the rules and the shipped one.

    Attributes:
        model: folder.
        label: of the class that is refused.
        above: refused when its probability is higher.
    """

    model: Path
    label: str
    above: Share = 0.9


class InputText(StrictModel):
    """What is sent to the model.

    Attributes:
        max_chars: of all texts of a request together.
        roles: whose messages are looked at for injected instructions; all are for control tokens.
        injection: kinds that are refused (serving.guard.injection).
        control_tokens: ``break`` puts a space into tokens of chat templates, ``block`` refuses them. Forged turns are
            refused by ``injection``.
        fence: texts of users and text in images are marked as data, between signs that nobody can foresee.
        wording: texts of users, tools and images are refused when the shipped classifier of wording gives a higher
            probability; null: rules only.
        classifier: a larger one of your own; null: none.
    """

    max_chars: int = Field(default=50_000, gt=0, le=100_000)
    roles: tuple[str, ...] = ("system", "developer", "user", "assistant", "tool")
    injection: tuple[Literal["override", "reveal", "free", "secretly", "forged_turn"], ...] = INJECTION_KINDS  # type: ignore[assignment]
    control_tokens: Literal["break", "block"] = "break"
    fence: bool = False
    wording: Share | None = 0.93
    classifier: Classifier | None = None


class OutputText(StrictModel):
    """What the model answers.

    Attributes:
        max_chars: of one answer; it is cut there.
        words: never sent, whatever their letter case; whole words.
        words_file: one a line, any number.
        patterns: name → regular expression of RE2, on the text as written.
        pii: kinds that are looked for (curate.signals.pii).
        pii_action: ``mask`` sends ``[email]`` in their place, ``block`` ends the answer.
        window: characters that are held back while streaming: what is longer can be seen in part.
        leak_words: so many successive words of a system prompt in an answer are a leak.
        canary: a random word is put into the system prompt, and an answer that has it is a leak.
    """

    max_chars: int = Field(default=50_000, gt=0)
    words: tuple[str, ...] = ()
    words_file: Path | None = None
    patterns: dict[str, str] = Field(default_factory=dict)
    pii: tuple[Literal[*PII_KINDS], ...] = ()  # type: ignore[valid-type]
    pii_action: Literal["mask", "block"] = "mask"
    window: int = Field(default=256, ge=16, le=10_000)
    leak_words: int = Field(default=12, ge=4)
    canary: bool = True

    @field_validator("patterns")
    @classmethod
    def _compile(cls, patterns: dict[str, str]) -> dict[str, str]:
        options = re2.Options()
        options.log_errors = False
        for name, pattern in patterns.items():
            try:
                matches_nothing = re2.compile(pattern, options).search("") is not None
            except re2.error as error:
                raise ValueError(f"{name}: RE2 cannot read it: {error}") from error
            if matches_nothing:
                raise ValueError(f"{name}: matches the empty text, so every answer")
        return patterns


class Log(StrictModel):
    """The record of verdicts.

    Attributes:
        folder: a file a day, ``YYYY-MM-DD.jsonl``; null writes none.
        contents: also what was refused: texts (the first 20,000 characters) and images.
    """

    folder: Path | None = None
    contents: bool = False


class Policy(StrictModel):
    """Everything a guard lets through.

    Attributes:
        keys: without any, everybody who reaches the port may ask.
        upstream_key_env: variable of the environment that holds the upstream's key.
        system_prompt: put before every conversation; clients may then send no system messages of their own.
        verdict: ``error`` answers with an error as OpenAI's API does, ``sentence`` with an answer that says
            ``sentence``.
        on_failure: what happens to a request when a scorer fails or the log cannot be written.
        corrections: folder in which reviewers said which verdicts were wrong; these contents pass that rule.
    """

    requests: Requests = Requests()
    keys: tuple[Key, ...] = ()
    upstream_key_env: str | None = None
    system_prompt: str | None = Field(default=None, max_length=20_000)
    images: Images = Images()
    text_in: InputText = InputText()
    text_out: OutputText = OutputText()
    verdict: Literal["error", "sentence"] = "error"
    sentence: str = Field(default="I cannot help with that.", min_length=1, max_length=1000)
    on_failure: OnFailure = "block"
    log: Log = Log()
    corrections: Path | None = None

    @model_validator(mode="after")
    def _keys_differ(self) -> Self:
        for what in ("name", "sha256"):
            seen = [getattr(key, what) for key in self.keys]
            if len(set(seen)) < len(seen):
                raise ValueError(f"keys: two have the same {what}")
        return self


def load_policy(path: Path) -> Policy:
    """Read a policy.

    Raises:
        UserError: it is no YAML mapping, a key is unknown, or a value does not fit.
    """
    return load_recipe(path, Policy)
