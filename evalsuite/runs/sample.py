"""A sample of a task, asked of a model that is in memory already: how training is evaluated between its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evalsuite.analysis.results import score_rows, summarise
from evalsuite.backends import Reply
from evalsuite.backends.model import Loaded, end_tokens
from evalsuite.backends.transformers import generate_replies, renderer_of
from evalsuite.runs.requests import RowRequest, build_requests, distinct_requests, hash_images, to_row
from evalsuite.tasks.load import Task, load_task
from evalsuite.tasks.spec import load_spec
from winnow.errors import UserError
from winnow.vlm.inputs import InputSettings


@dataclass(frozen=True)
class TaskSample:
    """Rows of a task, drawn and rendered once and asked as often as wanted.

    Attributes:
        processor, inputs: how images and chats are prepared.
    """

    task: Task
    asked: list[RowRequest]
    processor: Any
    inputs: InputSettings


@dataclass(frozen=True, slots=True)
class SampleScore:
    """The task's first metric on a sample.

    Attributes:
        metric: its name.
        lower_is_better: whether a lower value is better, as of CHAIR.
        value, low, high: the score with its 95 % interval by bootstrap over images; the bounds are None with fewer
            than two images, and ``value`` is if the metric judges no row.
        rows: number of rows.
    """

    metric: str
    lower_is_better: bool
    value: float | None
    low: float | None
    high: float | None
    rows: int


def draw_sample(name: str, rows: int, *, seed: int, processor: Any, inputs: InputSettings) -> TaskSample:
    """Draw rows of a task and render them for ``processor``.

    Args:
        name: of a shipped task, or path of a task file.
        inputs: how images and chats are prepared in training.

    Raises:
        UserError: there is no such task or data, it has several turns or a judge, or no row can be asked.
    """
    spec = load_spec(name)
    if spec.judge is not None:
        raise UserError(f"task {name}: its answers go to a judge, so it cannot be measured during training")
    task = load_task(spec, limit=rows, seed=seed)
    if any(row.earlier for row in task.rows):
        raise UserError(f"task {name}: is asked in several turns, so it cannot be measured during training")
    asked = build_requests(task, hash_images(task), renderer_of(processor, inputs.chat_template_kwargs), "in memory")
    if not any(entry.request for entry in asked):
        raise UserError(f"task {name}: no row can be asked: {asked[0].error}")
    return TaskSample(task, asked, processor, inputs)


def ask_sample(sample: TaskSample, model: Any, *, batch_size: int, part: int = 0, parts: int = 1) -> dict[str, Reply]:
    """Greedy replies by request key; of every ``parts``-th request from ``part`` on, where processes share the work.

    Args:
        model: in eval mode on its device. It is used as it is: its weights are neither merged nor converted.
    """
    ends = end_tokens(model, sample.processor.tokenizer)
    loaded = Loaded(model, sample.processor, model.device, ends, sample.inputs)
    requests = distinct_requests(sample.asked)[part::parts]
    # Whole chats, as sharing prefixes computes in threads, which autocast does not reach.
    replies = generate_replies(loaded, requests, batch_size=batch_size, share_prefix=False, known=lambda _: False)
    return {reply.key: reply for unit in replies for reply in unit}


def score_sample(sample: TaskSample, replies: Mapping[str, Reply], *, seed: int) -> SampleScore:
    """Read and score the replies as ``evalsuite run`` does; rows that were not asked count as wrong."""
    rows = [to_row(entry, dict(replies)) for entry in sample.asked]
    result = score_rows(sample.task.spec, rows, sample.task.image_root)
    summary = summarise(result, seed)
    name, found = summary["headline"], summary["metrics"][summary["headline"]]
    lower = result.headline.lower_is_better
    return SampleScore(name, lower, found["value"], found["ci_low"], found["ci_high"], summary["n"])
