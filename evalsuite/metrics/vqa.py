"""VQA accuracy and exact match: a short answer against the answers of people."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from evalsuite.metrics.base import (
    RIGHT_FROM,
    SHORT_ANSWERS,
    Answers,
    Enough,
    HubModule,
    Metric,
    MetricOptions,
    NormalizerName,
    OtherTool,
    Quantity,
    Reading,
    Row,
    Scores,
    check_answers,
    check_variant,
    count_matches,
    mean_scores,
    other_tool,
    score_each,
)
from evalsuite.metrics.normalize import NORMALIZERS, one_line, vlmevalkit

_ENOUGH = 3  # matching people for full marks


def vqa_accuracy(
    prediction: str,
    answers: Sequence[str],
    *,
    normalizer: NormalizerName = "official",
    unanimous: Literal["normalize", "raw"] = "normalize",
    enough: Enough = "scaled",
) -> float:
    """Share of people who agree with the prediction, full marks from three on (Antol et al. 2015).

    For every answer in turn, min(1, matches among the *other* answers / 3); then the mean. With ten
    answers 1 match gives 0.3, 2 give 0.6, 3 give 0.9, 4 and more give 1.

    With two or three answers there are no three others, and the formula gives at most 1/3 and 2/3. All others
    are enough then: two answers need one other, three need two, so that the score is the share that matches.

    With a single answer nobody is left to agree with, and the formula gives 0 for everything. Exact
    match takes its place, with a warning.

    Args:
        normalizer: ``official`` (VQAv2) or ``evalai`` (TextVQA, VizWiz, OK-VQA).
        unanimous: what to do when all answers are the same string. ``raw`` compares as they stand, as
            the official code does since 2021 ("Yes" against ten times "yes" is then wrong);
            ``normalize`` treats them like all others, as most tools do.
        enough: how many others must agree for full marks. ``scaled``: three, or all where there are fewer;
            ``three``: always three, as the official code has it for ten answers.

    Raises:
        UserError: there is no answer, or the normalizer is unknown.
    """
    _check(answers, normalizer)
    if len(answers) == 1:
        warnings.warn("vqa_accuracy with one answer is exact match: nobody is left to agree with", stacklevel=2)
        return exact_match(prediction, answers, normalizer=normalizer)
    as_it_stands = unanimous == "raw" and len(set(map(one_line, answers))) == 1
    normalize = one_line if as_it_stands else NORMALIZERS[normalizer]
    given = list(map(normalize, answers))
    matches = given.count(normalize(prediction))
    full = min(_ENOUGH, len(given) - 1) if enough == "scaled" else _ENOUGH
    # An answer that matches is left out of its own count.
    without_self = min(1.0, max(0, matches - 1) / full)
    with_all = min(1.0, matches / full)
    return (matches * without_self + (len(given) - matches) * with_all) / len(given)


def exact_match(prediction: str, answers: Sequence[str], *, normalizer: NormalizerName = "official") -> float:
    """1 if the normalised prediction equals any normalised answer, else 0.

    Raises:
        UserError: there is no answer, or the normalizer is unknown.
    """
    _check(answers, normalizer)
    normalize = NORMALIZERS[normalizer]
    wanted = normalize(prediction)
    return float(any(normalize(answer) == wanted for answer in answers))


def _check(answers: Sequence[str], normalizer: str) -> None:
    check_answers(answers)
    check_variant(normalizer, NORMALIZERS, "normalizer")


def _normalisation(options: MetricOptions) -> str:
    return "verbatim" if options.normalizer == "none" else f"{options.normalizer} VQA normalisation"


def _exact(options: MetricOptions) -> Callable[[str, Sequence[str]], float]:
    return lambda text, references: exact_match(text, references, normalizer=options.normalizer)


def _score_exact(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    variant = f"exact match with any reference, {_normalisation(options)}"
    return {"": mean_scores(score_each(answers, _exact(options)), variant, binary=True)}


def _read_exact(row: Row, options: MetricOptions, rule: str) -> Reading:
    text, normalize = row["extracted"], NORMALIZERS[options.normalizer]
    if text is None:
        return Reading(rule, None, "", 0.0)
    found = normalize(text)
    matched = count_matches(found, row["references"], normalize)
    return Reading(rule, found, matched, _exact(options)(text, row["references"]))


def _score_vqa(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    exact = _exact(options)

    def score(text: str, references: Sequence[str]) -> float:
        if len(references) == 1:  # the variant says so, so no warning for each row
            return exact(text, references)
        return _agreement(text, references, options)

    lengths = Counter(map(len, answers.references))
    single, few = lengths[1], sum(lengths[length] for length in range(2, _ENOUGH + 1))
    only_single = single == len(answers.references)
    variant = f"leave-one-out agreement, {_normalisation(options)}, unanimous answers: {options.unanimous}"
    if only_single:
        variant = f"exact match, {_normalisation(options)}: every row has one reference, so agreement is undefined"
    elif single:
        variant += f"; exact match on the {single:,} rows with one reference"
    if few:
        full = "all others are enough" if options.enough == "scaled" else f"of which none can reach {_ENOUGH} others"
        variant += f"; {few:,} rows with two or three references, {full}"
    return {"": mean_scores(score_each(answers, score), variant, binary=only_single)}


def _agreement(text: str, references: Sequence[str], options: MetricOptions) -> float:
    return vqa_accuracy(
        text, references, normalizer=options.normalizer, unanimous=options.unanimous, enough=options.enough
    )


def _warn_few(answers: Answers, options: MetricOptions) -> str | None:
    few = sum(len(references) <= _ENOUGH for references in answers.references)
    if not few:
        return None
    rule = "exact match with one, the share that matches with two or three"
    if options.enough == "three":
        rule = "exact match with one, at most 0.33 with two and 0.67 with three (`enough: three`)"
    return (
        f"vqa_accuracy is made for ten references a row; {few:,} of {len(answers.references):,} rows have at most "
        f"three, which it scores by {rule}; `accuracy` is exact match with any reference"
    )


def _read_vqa(row: Row, options: MetricOptions, rule: str) -> Reading:
    text, references = row["extracted"], row["references"]
    if text is None or len(references) == 1:
        return _read_exact(row, options, rule)
    as_it_stands = options.unanimous == "raw" and len(set(references)) == 1
    normalize = NORMALIZERS["none" if as_it_stands else options.normalizer]
    score = _agreement(text, references, options)
    return Reading(rule, normalize(text), count_matches(normalize(text), references, normalize), score)


def _zero_if_single(tool: OtherTool) -> OtherTool:
    """As the tool's code has it: with one reference nobody is left to agree with, and every answer scores 0."""

    def read(row: Row, options: MetricOptions) -> Reading:
        found = tool(row, options)
        return replace(found, score=0.0) if len(row["references"]) == 1 else found

    return read


def _read_as_vlmevalkit(row: Row, options: MetricOptions, rule: str) -> Reading:
    text, references = vlmevalkit(row["extracted"]), [vlmevalkit(reference) for reference in row["references"]]
    score = 0.0 if len(references) == 1 else vqa_accuracy(text, references, normalizer="none", enough="three")
    return Reading(rule, text, count_matches(text, row["references"], vlmevalkit), score)


ACCURACY = Metric(
    name="accuracy",
    about="Exact match with any reference after VQA normalisation.",
    numbers={"": Quantity(title="accuracy", right_from=RIGHT_FROM)},
    score=_score_exact,
    options=("normalizer",),
    read_row=_read_exact,
    modules=(
        HubModule(
            name="exact_match",
            about="Exact match with any answer after VQA normalisation.",
            citation="Antol et al., VQA, ICCV 2015",
            url="https://visualqa.org/evaluation.html",
            score=exact_match,
            columns=SHORT_ANSWERS,
            options={"normalizer": "official, evalai or none."},
            example='metric.compute(predictions=["The dog."], references=[["dog"]])["exact_match"]\n1.0',
        ),
    ),
)

VQA_ACCURACY = Metric(
    name="vqa_accuracy",
    about="Agreement with the answers of ten people, each left out in turn (Antol et al. 2015).",
    numbers={"": Quantity(title="VQA accuracy", right_from=RIGHT_FROM)},
    score=_score_vqa,
    options=("normalizer", "unanimous", "enough"),
    warn=_warn_few,
    read_row=_read_vqa,
    other_tools=(
        _zero_if_single(other_tool("official code", _read_vqa, normalizer="official", unanimous="raw", enough="three")),
        _zero_if_single(other_tool("lmms-eval", _read_vqa, unanimous="normalize", enough="three")),
        other_tool("VLMEvalKit", _read_as_vlmevalkit),
    ),
    modules=(
        HubModule(
            name="vqa_accuracy",
            about="VQA accuracy: agreement with ten people, leave-one-out as the official code does it.",
            citation="Antol et al., VQA, ICCV 2015",
            url="https://visualqa.org/evaluation.html",
            score=vqa_accuracy,
            columns=SHORT_ANSWERS,
            options={
                "normalizer": "official (VQAv2) or evalai (TextVQA, VizWiz, OK-VQA).",
                "unanimous": "normalize, or raw as the official code since 2021.",
                "enough": "scaled, or three as the official code for any number of answers.",
            },
            example=('metric.compute(predictions=["Two."], references=[["2"] * 4 + ["3"] * 6])["vqa_accuracy"]\n1.0'),
        ),
    ),
)
