"""What a metric is: one ``Metric`` object holds everything that the rest of Winnow knows about it.

Scoring, reports, comparisons, slices, ``evalsuite explain`` and the dashboards read these objects (or what
``scores.json`` and ``predictions.parquet`` carry of them). None of them knows a metric by its name, so a new
metric is one object in a module of this package, where ``evalsuite.metrics.METRICS`` finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from evalsuite.statistics import Estimate, Floats, mean_of_sums, mean_sums
from winnow.errors import UserError
from winnow.recipe import StrictModel

Row = dict[str, Any]  # a row of ``predictions.parquet``
Unit = Literal["%", "points", ""]
NormalizerName = Literal["official", "evalai", "none"]
Enough = Literal["scaled", "three"]
BoxForm = Literal["xyxy", "xywh"]
BoxScale = Literal["pixels", "1", "100", "1000"]
ReferenceKind = Literal["text", "letters", "yes_no", "number", "box"]
TokenizerName = Literal["ptb", "13a", "intl", "zh", "char", "ja-mecab", "ko-mecab"]
# What ``Metric.needs`` can name, and how a task gives it.
_NEEDS = {
    "choices": "needs options; `options:` in the task names the key of `meta` that holds them",
    "groups": "needs groups of rows; `group:` in the task names the key of `meta` that holds them",
    "repeats": "needs rows that were asked several times; set `samples: 5` or `repeat: circular` in the task",
    "confidences": "needs the probability of the answers; set `generation.logprobs: true`",
    "facts": "needs facts about its rows; `facts:` in the task names the keys of `meta` that hold them",
    "image_files": "needs the rows' images",
}
RIGHT_FROM = 0.5  # a graded score, like VQA accuracy, counts as right from here on
SHORT_ANSWERS = {
    "predictions": "one short answer a question.",
    "references": "a list of accepted answers for each.",
}  # inputs of a ``HubModule``


class MetricOptions(StrictModel):
    """What a task file can set of a metric; each metric lists the options it takes.

    Attributes:
        variant: the rule, of metrics that have several. ``multiple_choice``, ``mmmu``, ``pope`` and ``mme``
            score the answer as the task's extraction reads it; a variant reads the raw reply by its own rule
            instead.
        normalizer: how answers are normalised before they are compared.
        unanimous, enough: see ``evalsuite.metrics.vqa_accuracy``.
        tokenize: tokeniser of captions, see ``evalsuite.metrics.tokenizers``.
        of: the metric that says which rows are right, of metrics that count right rows in groups; null takes
            ``multiple_choice`` where rows have options, else ``accuracy``.
        by: keys of the task's ``facts`` whose values make a group; none takes the task's ``group``.
        k: of pass@k.
        bins: of equal width between 0 and 1, for the expected calibration error.
        tolerance: share of the reference by which a number may be off.
        reference_box, predicted_box: corners of a box, or a corner with width and height.
        reference_scale, predicted_scale: what a box's coordinates are divided by to be shares of the image:
            its width and height in ``pixels``, or 1, 100 or 1000.
        model: of metrics that embed: a folder with an open_clip checkpoint, or ``hf-hub:OWNER/NAME``; null takes the
            one that published numbers are of.
        unit: of a metric of your own: ``%`` for a share from 0 to 1, ``points``, or '' for any other number.
        arguments, result: of a module of ``evaluate``: what ``compute`` takes besides, and the key of its result.
    """

    variant: str | None = None
    normalizer: NormalizerName = "official"
    unanimous: Literal["normalize", "raw"] = "normalize"
    enough: Enough = "scaled"
    tokenize: TokenizerName = "ptb"
    of: str | None = None
    by: tuple[str, ...] = ()
    k: Annotated[int, Field(ge=1)] = 1
    bins: Annotated[int, Field(ge=1, le=1000)] = 15
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    reference_box: BoxForm = "xyxy"
    predicted_box: BoxForm = "xyxy"
    reference_scale: BoxScale = "pixels"
    predicted_scale: BoxScale = "pixels"
    model: str | None = None
    unit: Unit = "%"
    arguments: dict[str, str | int | float | bool] = Field(default_factory=dict)
    result: str | None = None


@dataclass(frozen=True)
class Answers:
    """The rows of one task, ready to score.

    Attributes:
        ids: sample ids.
        texts: extracted answers, None where the status is not ok.
        references: accepted answers of each row.
        raws: raw replies of rows whose status is ok or unparsed, None for the others: what variants
            that read by their own rule read.
        choices: options of each row, empty where it has none.
        slices: slice name → value of each row.
        images: what image each row is about, as text.
        groups: which rows belong together: rows asked several times share their base id, or rows share the
            value of the task's ``group`` key.
        repeats: 0 for the first time a row is asked, 1, 2 … for the following.
        confidences: probability of the answer's tokens, 0 to 1; None where it was not asked for.
        facts: what the task keeps of each row's ``meta`` for its metrics.
        image_files: absolute paths of each row's images; one that is not there is left out.
        verdicts: what a judge said of each row (``evalsuite.judge.judged``), None where it was not asked.
    """

    ids: Sequence[str]
    texts: Sequence[str | None]
    references: Sequence[Sequence[str]]
    raws: Sequence[str | None] = ()
    choices: Sequence[Sequence[str]] = ()
    slices: Sequence[Mapping[str, str]] = ()
    images: Sequence[str] = ()
    groups: Sequence[str] = ()
    repeats: Sequence[int] = ()
    confidences: Sequence[float | None] = ()
    facts: Sequence[Mapping[str, Any]] = ()
    image_files: Sequence[Sequence[str]] = ()
    verdicts: Sequence[Mapping[str, Any] | None] = ()


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One number of a metric on all rows of a task.

    Attributes:
        per_row: (rows,) score of every row, higher for a better one, NaN where the metric does not apply. A row
            without an answer scores 0, or the worst there is: silence never pays.
        sums: (rows, k); the number for any set of rows is ``estimate`` of the sum over them.
        estimate: (m, k) → (m,).
        variant: what exactly was computed, for the report.
        binary: every row is right or wrong, so that McNemar's test applies.
    """

    per_row: Floats
    sums: Floats
    estimate: Estimate
    variant: str
    binary: bool = False


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What one number of a metric means.

    Attributes:
        title: its name for people.
        unit: ``%``: a share from 0 to 1, shown × 100; ``points``: a sum, shown with one decimal; ``""``: shown
            with two decimals.
        top: the value of a perfect score, or None if there is none.
        best_row: the highest score of a single row.
        right_from: a row is right from this score on; None: the number does not say whether a row is right.
        mean_of_rows: the number for a set of rows is the mean of its rows' scores.
        lower_is_better: a lower number is better, as of CHAIR.
    """

    title: str
    unit: Unit = "%"
    top: float | None = 1.0
    best_row: float = 1.0
    right_from: float | None = None
    mean_of_rows: bool = True
    lower_is_better: bool = False


@dataclass(frozen=True, kw_only=True)
class MetricColumn(Scores, Quantity):
    """One metric column of ``predictions.parquet`` and its entry in ``scores.json``.

    Attributes:
        name: of the column.
        right: (rows,) 1 for a right row, 0 for a wrong one, NaN where the column does not judge the row or
            the row has no answer.
        warning: what makes the number doubtful; see ``Metric.warn``.
    """

    name: str
    right: Floats
    warning: str | None = None


@dataclass(frozen=True)
class Reading:
    """One rule applied to one reply.

    Attributes:
        rule: whose rule.
        text: the reply after normalising, or None if it was not read.
        matched: what it was found equal to, with how often; '' for nothing.
        score: 0 to 1, or None where the rule scores no single row.
    """

    rule: str
    text: str | None
    matched: str
    score: float | None


ReadRow = Callable[[Row, MetricOptions, str], Reading]  # the row, the options, the name of the rule
OtherTool = Callable[[Row, MetricOptions], Reading]
Warn = Callable[[Answers, MetricOptions], str | None]


@dataclass(frozen=True)
class HubModule:
    """A metric as a Hugging Face ``evaluate`` module; see ``evalsuite.hf_modules``.

    Attributes:
        name: of the module.
        about: one sentence.
        citation, url: of the metric's source.
        score: the function. With ``whole_set`` it takes the columns as mappings from row to value and returns
            a dataclass with ``per_sample``; else it scores one row.
        columns: inputs and what they are: ``predictions``, ``references`` and more.
        lists: those of the columns whose every entry is a list of texts.
        options: further arguments of ``score``.
        example: a doctest; ``metric`` is the loaded module.
        gives: what it returns.
    """

    name: str
    about: str
    citation: str
    url: str
    score: Callable[..., Any]
    columns: Mapping[str, str]
    example: str
    gives: str = "the mean and per_sample, in the order given."
    options: Mapping[str, str] = field(default_factory=dict)
    whole_set: bool = False
    lists: tuple[str, ...] = ("references",)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric.

    Attributes:
        name: as task files write it.
        about: one sentence, with the source.
        numbers: suffix of the column → what the number means; a metric with one number has the suffix ''.
        score: the numbers of a task's rows by suffix; a number that does not apply to the rows is left out.
        options: the fields of ``MetricOptions`` it takes.
        variants: values of the option ``variant``.
        whole_set: a row's score depends on the other rows: on the references of all (CIDEr), or on the rows
            of its group.
        reads_raw: whether a variant reads the raw reply instead of the extracted answer.
        references: what its references must be: free text, letters of options, yes or no, numbers or boxes.
        of_judge: it only counts what a judge said, so that it cannot agree or disagree with the judge.
        needs: fields of ``Answers`` without which it cannot score, such as ``choices`` or ``confidences``.
        warn: what makes its numbers doubtful on these rows under these options, as one sentence; None if nothing
            does. Only references, choices and the like are looked at, so it can be asked before any answer is there.
        read_row: how its rule reads one reply, for ``evalsuite explain``.
        other_tools: how the benchmark's own code and other tools would read the same reply.
        modules: the metric as Hugging Face modules.
    """

    name: str
    about: str
    numbers: Mapping[str, Quantity]
    score: Callable[[Answers, MetricOptions], dict[str, Scores]]
    options: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    whole_set: bool = False
    reads_raw: bool = False
    references: ReferenceKind = "text"
    of_judge: bool = False
    needs: tuple[str, ...] = ()
    warn: Warn | None = None
    read_row: ReadRow | None = None
    other_tools: tuple[OtherTool, ...] = ()
    modules: tuple[HubModule, ...] = ()

    def columns(self, key: str, answers: Answers, options: MetricOptions) -> list[MetricColumn]:
        """The metric's columns under the name ``key`` that the task gives it.

        Raises:
            UserError: a row has no references, or lacks what the metric needs.
        """
        if lacking := self.lacking(answers):
            raise UserError(f"{key}: {lacking}")
        warning = self.warn(answers, options) if self.warn else None
        given = answers.raws if self.reads_raw and options.variant else answers.texts
        answered = np.array([text is not None for text in given], dtype=bool)
        columns = []
        for suffix, scores in self.score(answers, options).items():
            number = self.numbers[suffix]
            right = np.full(len(answered), np.nan)
            if number.right_from is not None:
                judged = answered & np.isfinite(scores.per_row)
                right[judged] = scores.per_row[judged] >= number.right_from
            facts = {**vars(number), "title": number.title + self._label(key, number.title)}
            columns.append(MetricColumn(name=key + suffix, right=right, warning=warning, **facts, **vars(scores)))
        return columns

    def lacking(self, answers: Answers) -> str | None:
        """What it needs and the rows do not have, with how a task gives it; None if nothing."""
        return next((_NEEDS[name] for name in self.needs if not any(getattr(answers, name))), None)

    def _label(self, key: str, title: str) -> str:
        """What tells a second column of the same metric from the first: ``pope_official`` → `` (official)``."""
        if key in (self.name, title):
            return ""
        return f" ({key.removeprefix(f'{self.name}_').replace('_', ' ')})"


def mean_scores(values: Sequence[float] | Floats, variant: str, *, binary: bool = False) -> Scores:
    """Scores whose total is the mean of the rows."""
    per_row = np.array(values, dtype=np.float64)
    return Scores(per_row=per_row, sums=mean_sums(per_row), estimate=mean_of_sums, variant=variant, binary=binary)


def score_each(answers: Answers, score: Callable[[str, Sequence[str]], float]) -> list[float]:
    """``score`` of every extracted answer against its references; 0 for a row without an answer."""
    pairs = zip(answers.texts, answers.references, strict=True)
    return [0.0 if text is None else score(text, references) for text, references in pairs]


def rule_of(options: MetricOptions) -> str:
    """By which rule replies were read, for metrics whose variants read the raw reply."""
    return f"read by the rule {options.variant}" if options.variant else "read by the task's extraction"


def count_matches(text: str, references: Sequence[str], normalize: Callable[[str], str]) -> str:
    """``3 of 10``: how many references equal the normalised text; '' for none."""
    same = sum(normalize(reference) == text for reference in references)
    return f"{same} of {len(references)}" if same else ""


def read_best(row: Row, rule: str, score: Callable[[str, list[str]], float], shown: Callable[[str], str]) -> Reading:
    """The reading of a score that is the best over the references; ``shown`` is the text it compares."""
    text = row["extracted"]
    if text is None:
        return Reading(rule, None, "", 0.0)
    scores = [score(text, [reference]) for reference in row["references"]]
    best = max(scores)
    return Reading(rule, shown(text), row["references"][scores.index(best)] if best else "", best)


def other_tool(name: str, read_row: ReadRow, **options: Any) -> OtherTool:
    """Another tool's rule: one of ours on the whole reply, which those tools do not extract from."""

    def read(row: Row, given: MetricOptions) -> Reading:
        return read_row({**row, "extracted": row["raw"] or ""}, given.model_copy(update=options), name)

    return read


def divide(a: Floats, b: Floats) -> Floats:
    """a / b, 0 where b is 0."""
    result: Floats = np.divide(a, b, out=np.zeros_like(a, dtype=np.float64), where=b > 0)
    return result


def ratio_of_sums(numerator: int, denominator: int) -> Estimate:
    """Estimate that divides one sum by another."""
    return lambda sums: divide(sums[:, numerator], sums[:, denominator])


def in_part(values: Floats, mask: NDArray[np.bool_], variant: str) -> Scores:
    """The mean of the rows that ``mask`` picks; the others are NaN."""
    sums = np.stack([values * mask, mask.astype(np.float64)], axis=1)
    return Scores(per_row=np.where(mask, values, np.nan), sums=sums, estimate=mean_of_sums, variant=variant)


# ---- checks of what metrics are given ------------------------------------------------------------


def check_answers(answers: Sequence[str], what: str = "answers") -> None:
    """Raise UserError unless ``answers`` is a non-empty list of texts."""
    if isinstance(answers, str) or not answers:
        raise UserError(f"{what} must be a non-empty list of texts")


def check_captions(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> None:
    """Refuse what the metrics of whole sets cannot score.

    Raises:
        UserError: nothing to score, ids on one side only, or a prediction without any reference.
    """
    if not predictions:
        raise UserError("there is no prediction to score")
    if lost := predictions.keys() - references.keys():
        raise UserError(f"id {min(map(str, lost))!r}: {len(lost):,} predictions have no references")
    if lost := references.keys() - predictions.keys():
        raise UserError(f"id {min(map(str, lost))!r}: {len(lost):,} references have no prediction; leave them out")
    for sample_id, texts in references.items():
        if isinstance(texts, str) or not texts:
            raise UserError(f"id {sample_id!r}: references must be a non-empty list of texts")


def check_pairs(predictions: Mapping[str, str], labels: Mapping[str, str], known: Sequence[str]) -> None:
    """Refuse predictions without a label, or with an unknown one; case does not matter.

    Raises:
        UserError: nothing to score, an id without a label, or an unknown label.
    """
    if not predictions:
        raise UserError("there is no prediction to score")
    spelled = {label.lower() for label in known}
    for key in predictions:
        if key not in labels:
            raise UserError(f"id {key!r}: the prediction has no reference")
        if labels[key].strip().lower() not in spelled:
            raise UserError(f"id {key!r}: {labels[key]!r} is none of {', '.join(known)}")


def check_variant(variant: str, known: Iterable[str], what: str = "variant") -> None:
    """Raise UserError, naming the known ones, unless ``variant`` is known."""
    known = list(known)
    if variant not in known:
        raise UserError(f"unknown {what} {variant!r}; known: {', '.join(known)}")
