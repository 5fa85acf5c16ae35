"""The evaluation recipe: which model answers which tasks, and where the answers go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from winnow.recipe import StrictModel

Count = Annotated[int, Field(ge=1)]
_OURS = {"model", "messages", "stream", "n", "stop", "temperature", "seed", "max_tokens", "max_completion_tokens"}


class ModelSettings(StrictModel):
    """The model, as ``AutoModelForImageTextToText`` loads it.

    Attributes:
        path: a checkpoint: a folder, ``owner/name`` of the Hugging Face hub or ``modelscope:owner/name``.
        revision: commit, branch or tag of a hub's.
        adapter: PEFT adapter folder on top of it.
        quantization: ``nf4`` loads the language model in 4-bit NF4 (double quantisation); vision
            tower, projector and output layer stay as they are.
        merge_adapter: ``dequantized`` merges the adapter into the weights the model computes with,
            after 4-bit weights were expanded: the function that was trained, within rounding, and
            much faster on CPUs. ``none`` keeps the adapter beside the weights.
        dtype: of weights and products; ``auto`` is bfloat16 where the machine computes it natively.
        device: ``auto`` takes a GPU if there is one.
        share_prefix: compute an image once for all questions about it. Only done for models on
            which a check at the start finds the same answers.
    """

    path: str
    revision: str | None = None
    adapter: Path | None = None
    quantization: Literal["none", "nf4"] = "none"
    merge_adapter: Literal["dequantized", "none"] = "dequantized"
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    device: str = "auto"
    share_prefix: bool = True


class ServerSettings(StrictModel):
    """A model behind an OpenAI-compatible server: vLLM, LMDeploy, SGLang, llama.cpp, ``transformers serve`` …

    Attributes:
        url: base address up to and with ``/v1``.
        model: the model's name on the server; null takes the only one that it lists.
        revision: any text; change it to ask again when other weights are served under the same name.
        api_key_env: environment variable that holds the key. Local servers need none. The key itself
            is never written anywhere.
        max_concurrency: most requests at a time. A run starts with few, asks more while the server
            answers faster for it, and halves their number when the server is overloaded.
        timeout: seconds to wait for an answer.
        max_attempts: tries for a request that may work later (busy, restarting, connection lost).
        temperature: null leaves it to the server, for models that refuse the setting.
        seed: sent along; null sends none.
        token_limit: the name of the limit; OpenAI's reasoning models want ``max_completion_tokens``.
        send_stop: send a task's stop texts, so that less is written. Without, replies come whole and are cut when
            they are read. A stop text also ends a model's thinking, so leave it off for models that think.
        thinking_limit: the field of a request that takes a task's ``generation.thinking_budget``; dots go into
            objects: ``thinking_budget`` (Qwen), ``reasoning.max_tokens`` (OpenRouter), ``thinking.budget_tokens``.
        max_pixels: larger images are scaled down to this area before they are sent; for a model that was trained on
            such images where its server cannot be told (``finetune merge`` says so).
        max_image_bytes: images in PNG, JPEG, WebP or GIF go as they are up to this size; others are
            re-encoded to fit.
        extra_body: more fields of the request that this server understands, e.g. ``top_k: 1``.
    """

    url: str
    model: str | None = None
    revision: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    max_concurrency: Count = 64
    timeout: Annotated[float, Field(gt=0)] = 120.0
    max_attempts: Count = 6
    temperature: Annotated[float, Field(ge=0)] | None = 0.0
    seed: int | None = 0
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    send_stop: bool = False
    thinking_limit: str | None = None
    max_pixels: Count | None = None
    max_image_bytes: Annotated[int, Field(ge=10_000)] = 10_000_000
    extra_body: dict[str, Any] = Field(default_factory=dict)

    @field_validator("url")
    @classmethod
    def _an_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("give an address like http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query:
            raise ValueError("keep keys out of the address; api_key_env names the variable that holds one")
        return value.rstrip("/")

    @field_validator("extra_body")
    @classmethod
    def _nothing_of_ours(cls, value: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(_OURS & value.keys()):
            raise ValueError(f"{', '.join(taken)} cannot be set here; tasks and the other keys decide it")
        return value


class JudgeModel(StrictModel):
    """Which model judges replies; the rubric is the task's.

    Attributes:
        model: a checkpoint that this machine loads; one that knows no images will do; or
        server: a model that a server answers for.
        against: for rubrics that compare two replies: an earlier evaluation folder with the other replies; null takes
            the row's reference, e.g. GPT-4's answers in LLaVA-Bench.
        max_new_tokens: limit of the judge's reply, in place of the rubric's; a judge that thinks needs more.
        batch_size: prompts in one forward pass of ``model``.
    """

    model: ModelSettings | None = None
    server: ServerSettings | None = None
    against: Path | None = None
    max_new_tokens: Count | None = None
    batch_size: Count = 16

    @model_validator(mode="after")
    def _at_most_one(self) -> JudgeModel:
        if self.model and self.server:
            raise ValueError("a judge is either `model` (a checkpoint) or `server` (an address), not both")
        return self


class EvalRecipe(StrictModel):
    """One run: a model, tasks, an output folder.

    Attributes:
        name: names the output folder ``data/evals/<name>``.
        out: another output folder.
        model: a checkpoint that this machine loads; or
        server: a model that a server answers for. One of the two.
        tasks: names of shipped tasks (``evalsuite tasks`` lists them) or paths of task YAML files.
        limit: rows to ask of each task at most, drawn with ``seed``; null asks all. ``{TASK: rows}`` limits some.
        generation: settings in place of the tasks' own: ``{max_new_tokens: 512}`` for all, ``{TASK: {…}}`` for one.
        extraction: likewise, how replies are read.
        batch_size: rows in one forward pass.
        seed: of sampling for ``limit`` and of every bootstrap.
        baseline: an earlier evaluation folder to compare with, row by row.
        training_set: the curated folder that the model was trained on. Scores are also given separately for
            rows whose image was kept there and for all others.
        corrections: folder of reviewers' decisions. Scores are also given without the rows they
            excluded or called ambiguous, and with the answers they corrected.
        judge: the model that judges tasks with a ``judge:``, in place of one that they name.
        check_batch: number of rows to ask again one at a time; reports whose answers differ.
        allow_code: run the metrics that its tasks name as Python files or modules of ``evaluate``.
    """

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    out: Path | None = None
    model: ModelSettings | None = None
    server: ServerSettings | None = None
    tasks: Annotated[list[str], Field(min_length=1)]
    limit: Count | dict[str, Count] | None = None
    generation: dict[str, Any] = Field(default_factory=dict)
    extraction: dict[str, Any] = Field(default_factory=dict)
    batch_size: Count = 64
    seed: int = 0
    baseline: Path | None = None
    training_set: Path | None = None
    corrections: Path | None = None
    judge: JudgeModel | None = None
    check_batch: Count | None = None
    allow_code: bool = False

    @model_validator(mode="after")
    def _one_model(self) -> EvalRecipe:
        if (self.model is None) == (self.server is None):
            raise ValueError("give either `model` (a checkpoint) or `server` (an address), one of the two")
        return self

    @model_validator(mode="after")
    def _no_task_twice(self) -> EvalRecipe:
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError("a task is listed twice")
        return self

    @property
    def folder(self) -> Path:
        """The evaluation folder."""
        return self.out or Path("data/evals") / self.name
