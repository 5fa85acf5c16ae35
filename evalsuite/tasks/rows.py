"""From a row of a data set to what is asked: one question, or the questions of a conversation turn by turn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from evalsuite.tasks.options import option_lines, without_options
from evalsuite.tasks.spec import TaskSpec, filled, options_of, slices_of, value_at
from winnow.rows.conversations import IMAGE_MARKER
from winnow.rows.records import Sample, to_record, without_markers


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One question, asked once.

    Attributes:
        sample_id: of the source's row; of what is asked about a row for a second time with ``#1``, then ``#2`` …
        images: paths relative to the task's image root.
        prompt: the user turn; ``<image>`` markers stand where an image belongs, none means in front.
        references: all accepted answers, with repetition.
        slices: meta key → value as text.
        choices: texts of the options, for multiple choice.
        judged: conversations and answers as the source has them, which a reviewer's decision is about.
        system: a system message.
        earlier: prompts of the turns before this one, which the model answers itself.
        group: what rows of one question have in common: the id of the source's row, or the value at the task's
            ``group``.
        repeat: 0 for the first time that a row is asked, 1 for the second …
        facts: the row's values at the task's ``facts``, as a JSON object; null without such a key.
    """

    sample_id: str
    images: tuple[str, ...]
    question: str
    prompt: str
    references: tuple[str, ...]
    slices: dict[str, str]
    choices: tuple[str, ...] = ()
    judged: dict[str, Any] = field(default_factory=dict)
    system: str | None = None
    earlier: tuple[str, ...] = ()
    group: str = ""
    repeat: int = 0
    facts: str | None = None


class _Exchange(NamedTuple):
    question: str  # with its markers
    answers: tuple[str, ...]


def repeat_id(sample_id: str, repeat: int) -> str:
    """The id of what is asked about a row for the ``repeat``-th time, from 0."""
    return f"{sample_id}#{repeat}" if repeat else sample_id


def rows_of(sample: Sample, spec: TaskSpec) -> list[TaskRow]:
    """What the task asks about a sample: a row for each of its questions that has an answer.

    Raises:
        ValueError: nothing can be asked; the message says why.
    """
    if any(sample.meta.get(key) for key in ("videos", "audios")):
        raise ValueError("about a video or a sound")
    exchanges = _exchanges(sample)
    if not exchanges:
        raise ValueError("no question with an answer")
    if spec.turns == "first":
        exchanges = exchanges[:1]
    if len(exchanges) > 1 and (spec.repeat or spec.samples > 1):
        what = "repeat: circular" if spec.repeat else "samples"
        raise ValueError(f"a conversation of several questions, which {what} does not ask; `turns: first` asks one")
    marked = sum(turn.value.count(IMAGE_MARKER) for turn in sample.conversations if turn.role == "user")
    # Images stand where the question has them, if the prompt has the question once.
    in_place = marked == len(sample.image) > 0 and spec.prompt.count("{question}") == 1
    choices = options_of(sample.meta, spec.options)
    record = to_record(sample)
    prompts: list[str] = []
    rows: list[TaskRow] = []
    for number, exchange in enumerate(exchanges):
        question = without_markers(exchange.question).strip()
        asked = exchange.question.strip() if in_place else question
        values = {**sample.meta, "question": asked}
        if spec.options and "{options}" in spec.prompt:
            values |= {"question": without_options(asked, choices), "options": option_lines(choices)}
        earlier = tuple(prompts)
        prompts.append(filled(spec.prompt, values))
        seen = sum(prompt.count(IMAGE_MARKER) for prompt in prompts) if in_place else len(sample.image)
        rows.append(
            TaskRow(
                sample_id=repeat_id(sample.id, number),
                images=sample.image[:seen],
                question=question,
                prompt=prompts[-1],
                references=exchange.answers,
                slices=slices_of({"images": len(sample.image), **sample.meta}, spec.slices),
                choices=choices,
                judged={key: record[key] for key in ("conversations", "answers") if key in record},
                system="\n".join([*([spec.system] if spec.system else []), *_system(sample)]) or None,
                earlier=earlier,
                group=_group(sample, spec.group),
                repeat=number,
                facts=_facts(sample.meta, spec.facts),
            )
        )
    return rows


def _exchanges(sample: Sample) -> list[_Exchange]:
    """Questions with their accepted answers; the sample's ``answers`` are those of its first question."""
    found: list[_Exchange] = []
    asked: list[str] = []
    for turn in sample.conversations:
        if turn.role == "user" and not turn.name:
            asked.append(turn.value)
        elif turn.role == "assistant" and not turn.name and asked:
            answers = sample.answers if not found and sample.answers else (turn.value,) if turn.value else ()
            found.append(_Exchange("\n".join(asked), answers))
            asked = []
    if asked and not found and sample.answers:
        found.append(_Exchange("\n".join(asked), sample.answers))
    answered = [exchange for exchange in found if exchange.answers]
    return answered if all(without_markers(exchange.question).strip() for exchange in answered) else []


def _system(sample: Sample) -> list[str]:
    return [turn.value for turn in sample.conversations if turn.role == "system" and turn.value.strip()]


def _group(sample: Sample, key: str | None) -> str:
    value = value_at(sample.meta, key) if key else None
    return sample.id if value is None else str(value)


def _facts(meta: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    if not keys:
        return None
    return json.dumps({key: value_at(meta, key) for key in keys}, ensure_ascii=False, default=str)
