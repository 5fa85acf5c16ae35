"""A task file: where its rows come from, how they are asked, read and scored. YAML, strict, no code."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import Field, field_validator, model_validator

from curate.readers.tables.cells import list_literal
from curate.readers.tables.options import read_options
from curate.settings.sources import RemoteSettings, SourceSettings
from evalsuite.judge.rubric import ROW_PLACES
from evalsuite.judge.settings import JudgeSettings
from evalsuite.metrics import METRICS
from evalsuite.metrics.base import Answers, Metric, MetricColumn, MetricOptions
from evalsuite.metrics.judged import JUDGE
from evalsuite.metrics.own import is_own, located, own_metric
from evalsuite.reading.read import Extraction
from evalsuite.tasks.benchmark import Benchmark
from evalsuite.tasks.corrupt import Corruption
from winnow.errors import UserError, did_you_mean
from winnow.recipe import StrictModel, load_recipe, parse_recipe
from winnow.strict_yaml import read_mapping, read_texts


class MetricSettings(MetricOptions):
    """One metric of a task.

    Attributes:
        metric: its name; null takes the key it is listed under. With it, one metric can be listed
            twice in two variants. ``my_metric.py:score`` or ``evaluate:NAME`` is one of your own, see
            ``evalsuite.metrics.own``.
    """

    metric: str | None = None

    @property
    def definition(self) -> Metric:
        """The metric that these are settings of."""
        name = self.metric or ""
        return own_metric(name, self) if is_own(name) else METRICS[name]

    @model_validator(mode="after")
    def _fits(self) -> MetricSettings:
        if self.metric is None:
            return self
        if self.metric not in METRICS and not is_own(self.metric):
            raise ValueError(f"no metric {self.metric!r}; {did_you_mean(self.metric, METRICS)}")
        known, allowed = self.definition.variants, self.definition.options
        if self.variant is not None and self.variant not in known:
            raise ValueError(
                f"{self.metric} has no variant {self.variant!r}; known: {', '.join(known)}"
                if known
                else f"{self.metric} has no variants"
            )
        for name, field in MetricOptions.model_fields.items():
            unset = field.get_default(call_default_factory=True)
            if name not in ("variant", *allowed) and getattr(self, name) != unset:
                raise ValueError(f"{name} means nothing to {self.metric}")
        return self


def score(answers: Answers, metrics: Mapping[str, MetricSettings]) -> list[MetricColumn]:
    """All columns of a task, in the order of ``metrics``.

    Raises:
        UserError: a row has no references, or lacks what a metric needs.
    """
    return [
        column for key, settings in metrics.items() for column in settings.definition.columns(key, answers, settings)
    ]


def with_variant(settings: MetricSettings, value: str) -> MetricSettings:
    """The settings with the one option changed that knows ``value``.

    Raises:
        UserError: no option of the metric has that value.
    """
    metric = settings.definition
    known = {option: option_values(metric, option) for option in metric.options}
    for option, listed in known.items():
        if value in listed:
            return _changed(settings, option, value)
    every = [name for listed in known.values() for name in listed]
    raise UserError(f"{settings.metric} has no variant {value!r}; known: {', '.join(every) or 'none'}")


def variants_of(settings: MetricSettings) -> list[tuple[str, MetricSettings]]:
    """Every variant of a metric by name, each with all other options as they are; tokenisers are left out."""
    metric = settings.definition
    return [
        (value if option in ("variant", "normalizer") else f"{option} {value}", _changed(settings, option, value))
        for option in metric.options
        if option not in ("tokenize", "unit")
        for value in option_values(metric, option)
    ]


def option_values(metric: Metric, option: str) -> tuple[str, ...]:
    """What an option of a metric can be; nothing where it is no choice among names."""
    if option == "variant":
        return metric.variants
    annotation = MetricOptions.model_fields[option].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _changed(settings: MetricSettings, option: str, value: Any) -> MetricSettings:
    return MetricSettings.model_validate({**settings.model_dump(), option: value})


_SHIPPED = Path(__file__).parent
_PLACE = re.compile(r"\{(\w+)\}")  # {question} in a prompt


class BinnedSlice(StrictModel):
    """A slice by a number, in ranges.

    Attributes:
        name: of the slice.
        key: of ``meta``; dots go into objects. A list or an object counts by its length.
        bins: rising upper ends; ``[0, 5, 20]`` makes 0, 1-5, 6-20 and 21+.
    """

    name: Annotated[str, Field(pattern=r"^\w+$")]
    key: str
    bins: Annotated[list[int], Field(min_length=1)]

    @field_validator("bins")
    @classmethod
    def _rising(cls, value: list[int]) -> list[int]:
        if any(low >= high for low, high in pairwise(value)):
            raise ValueError("bins must rise")
        return value


class Generation(StrictModel):
    """How an answer is generated, and its limits.

    Attributes:
        max_new_tokens: an answer that is not finished by then is marked ``truncated``.
        stop: texts that end an answer; they are cut off.
        temperature: of sampling, up to 2; null or 0 takes the most likely token. A server gets
            ``server.temperature`` where this is null.
        thinking_budget: most tokens of thinking, for servers that know such a limit; null leaves it to the server.
        logprobs: ask for the probability of the answer (``confidence`` of the predictions).
    """

    max_new_tokens: Annotated[int, Field(ge=1)] = 32
    stop: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    thinking_budget: Annotated[int, Field(ge=0)] | None = None
    logprobs: bool = False


class TaskSpec(StrictModel):
    """A task file.

    Attributes:
        name: short, unique in a run.
        description: one line for ``evalsuite tasks`` and the reports.
        benchmark: where its data comes from, and what the task was checked against.
        source: as in a curation recipe: location, layout, image_root, columns …
        remote: as in a curation recipe: images behind URLs are fetched, once, into ``data/cache/tasks``;
            ``{}`` takes the defaults. Without this key no image is fetched.
        system: a system message, if any.
        prompt: what is asked; ``{question}`` stands for the row's question, ``{key}`` for its ``meta``, and
            ``{options}`` for the lines ``A. text`` of its options.
        generation: how an answer is generated, and its limits.
        extraction: how an answer is read from a reply.
        options: key of a row's ``meta`` with its options, for multiple choice.
        answer_map: reference as the data has it → what is meant, e.g. ``{"0": "no", "1": "yes"}``; others stay.
        turns: ``own`` asks a row with several questions one by one, each with the model's own answers to those
            before it; ``first`` asks only the first.
        group: key of a row's ``meta``; rows with the same value belong together, for accuracy by group.
        facts: keys of a row's ``meta`` that are kept in ``predictions.parquet`` for metrics that need them.
        blind: ask without the images, to see what the text alone gives away.
        repeat: ``circular`` asks every multiple choice once for each rotation of its options (MMBench's CircularEval).
        samples: how often each row is asked, each time with another seed; more than 1 needs
            ``generation.temperature``.
        corrupt: what is done to every image before it is asked about.
        judge: another model scores the replies by a rubric: the rubric (``mm_vet``, or a file), and, if the task
            wants, which model. The score is the metric ``judge``.
        metrics: column name → settings. The first one is the headline.
        slices: keys of a row's ``meta`` by which scores are broken down, ``images`` (their
            number), or ``{name, key, bins}``: the number at that key, or the length of the list there, in
            ranges.
    """

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    description: str = ""
    benchmark: Benchmark | None = None
    source: SourceSettings
    remote: RemoteSettings | None = None
    system: str | None = None
    prompt: str = "{question}"
    generation: Generation = Generation()
    extraction: Extraction = Extraction(choices=[])
    options: str | None = None
    answer_map: dict[str, str] = Field(default_factory=dict)
    turns: Literal["own", "first"] = "own"
    group: str | None = None
    facts: list[str] = Field(default_factory=list)
    blind: bool = False
    repeat: Literal["circular"] | None = None
    samples: Annotated[int, Field(ge=1, le=1000)] = 1
    corrupt: Corruption | None = None
    judge: JudgeSettings | None = None
    metrics: Annotated[dict[str, MetricSettings], Field(min_length=1)]
    slices: list[BinnedSlice | str] = Field(default_factory=list)

    @field_validator("metrics", mode="before")
    @classmethod
    def _bare_names(cls, value: Any) -> Any:
        """``[bleu, cider]`` and ``cider:`` alone mean the defaults; items of a list may be mappings with a name."""
        if isinstance(value, list):
            named = [{"name": entry} if isinstance(entry, str) else entry for entry in value]
            if not all(isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in named):
                raise ValueError("every metric needs a name")
            return {entry["name"]: {key: entry[key] for key in entry if key != "name"} for entry in named}
        return {k: v or {} for k, v in value.items()} if isinstance(value, dict) else value

    @field_validator("metrics")
    @classmethod
    def _known(cls, value: dict[str, MetricSettings]) -> dict[str, MetricSettings]:
        for name, given in value.items():
            if given.metric is None and name not in METRICS:
                raise ValueError(f"no metric {name!r}; {did_you_mean(name, METRICS)}")
        return {name: MetricSettings.model_validate({"metric": name, **given.model_dump(exclude_none=True)})
                for name, given in value.items()}  # fmt: skip

    @model_validator(mode="after")
    def _asked_one_way(self) -> TaskSpec:
        """``group`` and ``repeat`` number the rows of one question in the same column of the predictions."""
        several = [
            name for name, on in (("group", self.group), ("repeat", self.repeat), ("samples", self.samples > 1)) if on
        ]
        if len(several) > 1:
            raise ValueError(f"{' and '.join(several)} cannot be combined; make a task for each")
        if self.repeat and not (self.options and self.extraction.kind == "letter"):
            raise ValueError("repeat: circular needs `options: KEY` and `extraction: {kind: letter}`")
        if self.blind and self.corrupt:
            raise ValueError("blind asks without the images, so corrupt means nothing beside it")
        return self

    @model_validator(mode="after")
    def _judge_and_its_metric(self) -> TaskSpec:
        if (self.judge is None) == any(settings.metric == JUDGE for settings in self.metrics.values()):
            raise ValueError("`judge:` (the rubric) and the metric `judge` (its score) go together; give both")
        if self.judge is None:
            return self
        rubric = self.judge.rubric
        if rubric.reader.kind == "answer" and not self.rule_metrics:
            raise ValueError(f"rubric {rubric.name} extracts answers; list the metric that scores them beside `judge`")
        if unknown := rubric.places - set(ROW_PLACES) - set(self.facts):
            raise ValueError(f"rubric {rubric.name} asks for {{{min(unknown)}}}; add it to `facts`, if rows have it")
        return self

    @property
    def rule_metrics(self) -> dict[str, MetricSettings]:
        """The metrics that do not go by what a judge said."""
        return {key: one for key, one in self.metrics.items() if not one.definition.of_judge}

    @property
    def slice_names(self) -> list[str]:
        """Names of the slices, as in the columns ``slice_<name>``."""
        return [slice_name(wanted) for wanted in self.slices]

    def to_json(self) -> dict[str, Any]:
        """The task as JSON that keeps the order of its metrics whatever sorts its keys; ``TaskSpec`` reads it."""
        dumped = self.model_dump(mode="json")
        metrics = self.metrics.items()
        dumped["metrics"] = [{"name": name, **settings.model_dump(mode="json")} for name, settings in metrics]
        return dumped


def shipped_tasks() -> dict[str, Path]:
    """Names and files of the tasks that come with the package."""
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.yaml"))}


def load_spec(name_or_path: str) -> TaskSpec:
    """A shipped task by name, or a task file by path.

    A file with ``base: NAME`` starts from the shipped task of that name: keys that the file has replace
    those of the base, under ``source`` key by key.

    Raises:
        UserError: neither; or the file is no valid task.
    """
    shipped = shipped_tasks()
    if name_or_path in shipped:
        return load_recipe(shipped[name_or_path], TaskSpec)
    if not name_or_path.endswith((".yaml", ".yml")):
        hint = did_you_mean(name_or_path, shipped)
        raise UserError(f"no task {name_or_path!r}; {hint} (a task file of your own is given by its path)")
    return _on_base(Path(name_or_path), shipped)


def _on_base(path: Path, shipped: Mapping[str, Path]) -> TaskSpec:
    given, texts = read_mapping(path), read_texts(path)
    base = given.pop("base", None)
    if base is None:
        return _with_code(parse_recipe(given, TaskSpec, where=str(path), texts=texts), path)
    if base not in shipped:
        raise UserError(
            f"{path}: base {base!r} is no shipped task; {did_you_mean(str(base), shipped)} (a task file of your own "
            "is no base: copy its keys)"
        )
    file = shipped[base]
    whole, whole_texts = _merged(read_mapping(file), given), _merged(read_texts(file), texts)
    return _with_code(parse_recipe(whole, TaskSpec, where=str(path), texts=whole_texts), path)


def _with_code(spec: TaskSpec, path: Path) -> TaskSpec:
    """The task with absolute paths of the metrics that are code."""
    metrics = dict(spec.metrics)
    try:
        for key, settings in metrics.items():
            if is_own(settings.metric or ""):
                metrics[key] = settings.model_copy(update={"metric": located(settings.metric or "", path.parent)})
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return spec.model_copy(update={"metrics": metrics})


def _merged(start: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    source = given.get("source", {})
    inner = {"source": {**start["source"], **source}} if isinstance(source, dict) else {}
    return {**start, **given, **inner}


def dumped(specs: Mapping[str, TaskSpec]) -> list[dict[str, Any]]:
    """The task specs as JSON for a manifest."""
    return [spec.to_json() for spec in specs.values()]


def side_by_side(spec: TaskSpec, variants: Sequence[str]) -> TaskSpec:
    """The task with metrics in further variants, each in a column of its own beside the first.

    Args:
        variants: ``metric=variant``, e.g. ``vqa_accuracy=evalai``; one that names no metric of this task
            is left out.

    Raises:
        UserError: not of that form, or the metric has no such variant.
    """
    metrics = dict(spec.metrics)
    for given in variants:
        name, _, value = given.partition("=")
        if not name or not value:
            raise UserError(f"--variant {given}: write METRIC=VARIANT, e.g. vqa_accuracy=evalai")
        if name in spec.metrics:
            metrics[f"{name}_{value.replace('-', '_')}"] = with_variant(spec.metrics[name], value)
    return spec.model_copy(update={"metrics": metrics})


def filled(prompt: str, values: Mapping[str, Any]) -> str:
    """The prompt with ``{key}`` replaced by that value, lists joined by commas.

    Keys that ``values`` lacks stay as they are. A line that holds places, none of which has a value (null, an empty
    text), is left out: ``Hint: {hint}`` of a row without a hint.
    """
    kept = [line for line in prompt.split("\n") if not _is_blank(line, values)]
    return _PLACE.sub(lambda place: _shown(place, values), "\n".join(kept))


def _is_blank(line: str, values: Mapping[str, Any]) -> bool:
    keys = _PLACE.findall(line)
    return bool(keys) and all(key in values and values[key] in (None, "") for key in keys)


def _shown(place: re.Match[str], values: Mapping[str, Any]) -> str:
    if place[1] not in values:
        return place[0]
    found = values[place[1]]
    if found is None:
        return ""
    return ", ".join(map(str, found)) if isinstance(found, list) else str(found)


def places(prompt: str) -> set[str]:
    """Keys that the prompt asks for."""
    return set(_PLACE.findall(prompt))


def slices_of(meta: Mapping[str, Any], slices: Sequence[str | BinnedSlice]) -> dict[str, str]:
    """Slice name → value as text; slices that the row has no value for are left out."""
    found: dict[str, str] = {}
    for wanted in slices:
        value = value_at(meta, wanted if isinstance(wanted, str) else wanted.key)
        if isinstance(wanted, str):
            if value is not None and not isinstance(value, list | dict):
                found[slice_name(wanted)] = str(value)
        elif isinstance(value, list | dict):
            found[wanted.name] = _range(len(value), wanted.bins)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[wanted.name] = _range(value, wanted.bins)
    return found


def slice_name(wanted: str | BinnedSlice) -> str:
    """What the slice is called; of a key with dots the last part."""
    return wanted.rpartition(".")[2] if isinstance(wanted, str) else wanted.name


def value_at(meta: Mapping[str, Any], key: str) -> Any:
    """The value at ``key``, whose dots go into objects; None where there is none."""
    value: Any = meta
    for part in (key,) if key in meta else key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _range(value: float, bins: Sequence[int]) -> str:
    for low, high in zip([None, *bins], bins, strict=False):
        if value <= high:
            return str(high) if low is None or high == low + 1 else f"{low + 1}-{high}"
    return f"{bins[-1] + 1}+"


def options_of(meta: Mapping[str, Any], key: str | None) -> tuple[str, ...]:
    """Texts of a row's options, however they are spelled (``curate.readers.tables.options``); empty without the key."""
    value = value_at(meta, key) if key else None
    listed = list_literal(value) if isinstance(value, str) else value
    try:
        found = read_options(value)
    except ValueError:
        found = None
    if found and found.labels:
        return found.texts
    if isinstance(listed, list | tuple) and all(isinstance(option, str | int | float) for option in listed):
        return tuple(map(str, listed))  # to the letter, as the question shows them
    return found.texts if found else ()
