"""A task: where its rows come from, how they are asked, read and scored. YAML, strict, no code."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from curate.config import StrictModel, load_recipe
from curate.errors import UserError
from curate.sample import IMAGE_MARKER, BadRow, Sample, check_unique
from curate.settings import SourceSettings
from evalsuite.extract import Extraction

_SHIPPED = Path(__file__).with_name("tasks")


class Generation(StrictModel):
    """Limits of an answer. Decoding is greedy.

    Attributes:
        max_new_tokens: an answer that is not finished by then is ``truncated``.
        stop: texts that end an answer; they are cut off.
    """

    max_new_tokens: Annotated[int, Field(ge=1)] = 32
    stop: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)


class MetricSettings(StrictModel):
    """One metric of a task.

    Attributes:
        metric: its name in ``evalsuite.scoring.METRICS``; null takes the key it is listed under.
            With it, one metric can be listed twice in two variants.
        normalizer: of answers, for exact match and VQA accuracy: ``official``, ``evalai``, ``none``.
        unanimous: see ``evalsuite.metrics.vqa_accuracy``.
    """

    metric: Literal["accuracy", "vqa_accuracy", "bleu", "rouge_l", "cider"] | None = None
    normalizer: Literal["official", "evalai", "none"] = "official"
    unanimous: Literal["normalize", "raw"] = "normalize"


class TaskSpec(StrictModel):
    """A task file.

    Attributes:
        name: short, unique in a run.
        source: as in a curation recipe: location, layout, image_root, columns …
        system: a system message, if any.
        prompt: what is asked; ``{question}`` stands for the row's question.
        metrics: column name → settings. The first one is the headline.
        slices: keys of a row's ``meta`` by which scores are broken down.
    """

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    description: str = ""
    source: SourceSettings
    system: str | None = None
    prompt: str = "{question}"
    generation: Generation = Generation()
    extraction: Extraction = Extraction(choices=[])
    metrics: Annotated[dict[str, MetricSettings], Field(min_length=1)]
    slices: list[str] = Field(default_factory=list)

    @field_validator("metrics", mode="before")
    @classmethod
    def _bare_names(cls, value: Any) -> Any:
        """``[bleu, cider]`` and ``cider:`` alone mean the defaults; items of a list may be mappings with a name."""
        if isinstance(value, list):
            named = [{"name": one} if isinstance(one, str) else one for one in value]
            if not all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in named):
                raise ValueError("every metric needs a name")
            return {one["name"]: {key: one[key] for key in one if key != "name"} for one in named}
        return {k: v or {} for k, v in value.items()} if isinstance(value, dict) else value

    @field_validator("metrics")
    @classmethod
    def _known(cls, value: dict[str, MetricSettings]) -> dict[str, MetricSettings]:
        return {name: MetricSettings.model_validate({"metric": name, **given.model_dump(exclude_none=True)})
                for name, given in value.items()}  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """The task as JSON that keeps the order of its metrics whatever sorts its keys; ``TaskSpec`` reads it."""
        dumped = self.model_dump(mode="json")
        dumped["metrics"] = [{"name": name, **one.model_dump(mode="json")} for name, one in self.metrics.items()]
        return dumped


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One question.

    Attributes:
        images: paths relative to the task's image root.
        prompt: the user turn; ``<image>`` markers stand where an image belongs, none means in front.
        references: all accepted answers, with repetition.
        slices: meta key → value as text.
    """

    sample_id: str
    images: tuple[str, ...]
    question: str
    prompt: str
    references: tuple[str, ...]
    slices: dict[str, str]


@dataclass(frozen=True)
class Task:
    """A task with its rows loaded.

    Attributes:
        bad_rows: rows of the source that are no sample, as ``place: reason``.
        unscorable: ids of rows without any reference; they are not asked.
    """

    spec: TaskSpec
    image_root: Path
    rows: list[TaskRow]
    bad_rows: list[str]
    unscorable: list[str]


def shipped_tasks() -> dict[str, Path]:
    """Names and files of the tasks that come with the package."""
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.yaml"))}


def load_spec(name_or_path: str) -> TaskSpec:
    """A shipped task by name, or a task file by path.

    Raises:
        UserError: neither; or the file is no valid task.
    """
    shipped = shipped_tasks()
    if name_or_path in shipped:
        return load_recipe(shipped[name_or_path], TaskSpec)
    if not name_or_path.endswith((".yaml", ".yml")):
        raise UserError(f"no task {name_or_path!r}; shipped: {', '.join(shipped)}; or give the path of a YAML file")
    return load_recipe(Path(name_or_path), TaskSpec)


def load_task(spec: TaskSpec, *, limit: int | None, seed: int) -> Task:
    """Read the rows of a task, in input order; ``limit`` draws so many at random and keeps the order.

    Raises:
        UserError: the source cannot be read, ids repeat, or no row can be scored.
    """
    from curate.sources import open_source

    opened = open_source(spec.source)
    bad: list[str] = []
    unscorable: list[str] = []
    rows: list[TaskRow] = []

    def samples() -> Iterator[Sample]:
        for row in opened.rows():
            if isinstance(row, BadRow):
                bad.append(f"{row.where}: {row.reason}")
            else:
                yield row

    for sample in check_unique(samples()):
        assert isinstance(sample, Sample)
        if row := _row(sample, spec):
            rows.append(row)
        else:
            unscorable.append(sample.id)
    if not rows:
        raise UserError(f"task {spec.name}: {spec.source.location} holds no row with a question and an answer")
    if limit is not None and limit < len(rows):
        rows = [rows[i] for i in sorted(random.Random(seed).sample(range(len(rows)), limit))]
    return Task(spec, opened.image_root, rows, bad, unscorable)


def _row(sample: Sample, spec: TaskSpec) -> TaskRow | None:
    asked = next((turn.value for turn in sample.conversations if turn.role == "user"), "")
    references = sample.answers or ((sample.answer,) if sample.answer else ())
    if not sample.question or not references:
        return None
    in_place = sample.image and asked.count(IMAGE_MARKER) == len(sample.image)
    question = asked.strip() if in_place else sample.question
    return TaskRow(
        sample_id=sample.id,
        images=sample.image,
        question=sample.question,
        prompt=spec.prompt.replace("{question}", question),
        references=tuple(references),
        slices={key: str(sample.meta[key]) for key in spec.slices if key in sample.meta},
    )
