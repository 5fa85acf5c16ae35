"""How each metric reads one reply, step by step.

What the benchmark's own code, lmms-eval and VLMEvalKit would have said to one reply.

Why a row scored as it did: raw, extracted, normalised, matched; by every variant and by other tools.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalsuite.analysis.results import Row, load_evaluation, score_rows
from evalsuite.metrics import (
    anls,
    exact_match,
    gqa_accuracy,
    mmmu_open,
    parse_choice,
    parse_yes_no,
    relaxed_accuracy,
    rouge_l,
    vqa_accuracy,
)
from evalsuite.metrics.gqa import normalized_as
from evalsuite.metrics.multiple_choice import ChoiceVariant
from evalsuite.metrics.normalize import NORMALIZERS, Normalizer, vlmevalkit
from evalsuite.metrics.open_ended import open_candidates
from evalsuite.metrics.tokenizers import caption_tokens
from evalsuite.scoring.settings import MetricSettings, variants_of
from evalsuite.tasks.spec import TaskSpec
from winnow.errors import UserError


@dataclass(frozen=True)
class Reading:
    """One rule applied to one reply.

    Attributes:
        rule: whose rule.
        text: what the reply is after normalising, or None if it was not read.
        matched: what it was found equal to, with how often; '' for nothing.
        score: 0 to 1, or None where the rule gives a row no score.
    """

    rule: str
    text: str | None
    matched: str
    score: float | None


def matches(text: str, answers: Sequence[str], normalize: Normalizer) -> str:
    same = [answer for answer in answers if normalize(answer) == text]
    return f"{len(same)} of {len(answers)}" if same else ""


def _answer(row: Row) -> str | None:
    return row["extracted"]


def _vqa(row: Row, settings: MetricSettings, rule: str) -> Reading:
    text, normalize = _answer(row), NORMALIZERS[settings.normalizer]
    if text is None:
        return Reading(rule, None, "", 0.0)
    answers = row["references"]
    if len(answers) == 1:
        return Reading(
            rule, normalize(text), matches(normalize(text), answers, normalize), _exact(text, answers, settings)
        )
    raw = settings.unanimous == "raw" and len(set(answers)) == 1
    normalize = NORMALIZERS["none"] if raw else normalize
    score = vqa_accuracy(text, answers, normalizer=settings.normalizer, unanimous=settings.unanimous)
    return Reading(rule, normalize(text), matches(normalize(text), answers, normalize), score)


def _exact(text: str, answers: Sequence[str], settings: MetricSettings) -> float:
    return exact_match(text, answers, normalizer=settings.normalizer)


def _accuracy(row: Row, settings: MetricSettings, rule: str) -> Reading:
    text, normalize = _answer(row), NORMALIZERS[settings.normalizer]
    if text is None:
        return Reading(rule, None, "", 0.0)
    found = normalize(text)
    return Reading(rule, found, matches(found, row["references"], normalize), _exact(text, row["references"], settings))


def _best(row: Row, rule: str, score: Callable[[str, list[str]], float], shown: Callable[[str], str]) -> Reading:
    """For scores that are the best over the references."""
    text = _answer(row)
    if text is None:
        return Reading(rule, None, "", 0.0)
    scores = [score(text, [answer]) for answer in row["references"]]
    best = max(scores)
    return Reading(rule, shown(text), row["references"][scores.index(best)] if best else "", best)


def _anls(row: Row, settings: MetricSettings, rule: str) -> Reading:
    return _best(row, rule, anls, lambda text: " ".join(text.lower().split()))


def _relaxed(row: Row, settings: MetricSettings, rule: str) -> Reading:
    variant: Any = settings.variant or "pix2struct"
    return _best(row, rule, lambda text, given: relaxed_accuracy(text, given, variant=variant), str)


def _gqa(row: Row, settings: MetricSettings, rule: str) -> Reading:
    variant: Any = settings.variant or "normalized"
    score = lambda text, given: gqa_accuracy(text, given, variant=variant)  # noqa: E731
    return _best(row, rule, score, lambda text: normalized_as(text, variant))


def _choice(row: Row, settings: MetricSettings, rule: str) -> Reading:
    if not row.get("choices"):
        return _open(row, settings, rule)
    variant: Any = settings.variant
    letter = _answer(row) if variant is None else _letter(row, variant)
    right = letter is not None and letter in row["references"]
    return Reading(rule, letter, letter if right and letter else "", float(right))


def _letter(row: Row, variant: ChoiceVariant) -> str | None:
    return parse_choice(row["raw"] or "", row["choices"], variant=variant, key=row["sample_id"])


def _open(row: Row, settings: MetricSettings, rule: str) -> Reading:
    text = _answer(row)
    if text is None:
        return Reading(rule, None, "", 0.0)
    pieces, numbers = open_candidates(text)
    score = mmmu_open(text, row["references"])
    return Reading(rule, " | ".join([*pieces, *map(str, numbers)]), row["references"][0] if score else "", score)


def _yes_no(row: Row, settings: MetricSettings, rule: str) -> Reading:
    variant: Any = settings.variant
    said = _answer(row) if variant is None else parse_yes_no(row["raw"] or "", variant=variant)
    right = said is not None and said.lower() == row["references"][0].strip().lower()
    return Reading(rule, said, said if right and said else "", float(right))


def _caption(row: Row, settings: MetricSettings, rule: str) -> Reading:
    """Tokens, and the reference that shares most with them (ROUGE-L)."""
    text = _answer(row)
    if text is None:
        return Reading(rule, None, "", None)
    tokens = caption_tokens(settings.tokenize)
    scores = [rouge_l({"": text}, {"": [one]}, tokenize=settings.tokenize).corpus for one in row["references"]]
    return Reading(rule, " ".join(tokens(text)), " ".join(tokens(row["references"][scores.index(max(scores))])), None)


Rule = Callable[[Row, MetricSettings, str], Reading]
RULES: dict[str, Rule] = {
    "accuracy": _accuracy, "vqa_accuracy": _vqa, "anls": _anls, "relaxed_accuracy": _relaxed, "gqa": _gqa,
    "multiple_choice": _choice, "mmmu": _choice, "pope": _yes_no, "mme": _yes_no,
    "bleu": _caption, "rouge_l": _caption, "cider": _caption,
}  # fmt: skip


def _whole(row: Row) -> Row:
    """The row as tools see it that extract nothing: the whole reply is the answer."""
    return {**row, "extracted": row["raw"] or ""}


def _tool(name: str, rule: Rule, **options: Any) -> Callable[..., Reading]:
    """Another tool's rule on the whole reply: one of ours with some options fixed."""
    return lambda row, settings: rule(_whole(row), settings.model_copy(update=options), name)


def _left_out(tool: Callable[..., Reading]) -> Callable[..., Reading]:
    """As the tool's code has it: with one reference nobody is left to agree with, and every answer scores 0."""

    def reading(row: Row, settings: MetricSettings) -> Reading:
        found = tool(row, settings)
        return replace(found, score=0.0) if len(row["references"]) == 1 else found

    return reading


def _vlmevalkit_vqa(row: Row, settings: MetricSettings) -> Reading:
    answers = [vlmevalkit(answer) for answer in row["references"]]
    text = vlmevalkit(row["raw"] or "")
    score = 0.0 if len(answers) == 1 else vqa_accuracy(text, answers, normalizer="none")
    return Reading("VLMEvalKit", text, matches(text, row["references"], vlmevalkit), score)


OTHER_TOOLS: dict[str, tuple[Callable[[Row, MetricSettings], Reading], ...]] = {
    "vqa_accuracy": (
        _left_out(_tool("official code", RULES["vqa_accuracy"], normalizer="official", unanimous="raw")),
        _left_out(_tool("lmms-eval", RULES["vqa_accuracy"], unanimous="normalize")),
        _left_out(_vlmevalkit_vqa),
    ),
    "anls": (_tool("lmms-eval, VLMEvalKit", RULES["anls"]),),
    "relaxed_accuracy": (_tool("lmms-eval, VLMEvalKit", RULES["relaxed_accuracy"], variant="pix2struct"),),
    "gqa": (
        _tool("official code", RULES["gqa"], variant="official"),
        _tool("lmms-eval", RULES["gqa"], variant="lmms-eval"),
        _tool("VLMEvalKit", RULES["gqa"], variant="vlmevalkit"),
    ),
    "multiple_choice": (_tool("ScienceQA code", RULES["multiple_choice"], variant="scienceqa"),),
    "mmmu": (
        _tool("official code", RULES["multiple_choice"], variant="mmmu-official"),
        _tool("lmms-eval", RULES["multiple_choice"], variant="lmms-eval"),
    ),
    "pope": (
        _tool("official code", RULES["pope"], variant="official"),
        _tool("lmms-eval", RULES["pope"], variant="exact"),
        _tool("VLMEvalKit", RULES["pope"], variant="vlmevalkit"),
    ),
    "mme": (
        _tool("official code", RULES["pope"], variant="mme"),
        _tool("lmms-eval", RULES["pope"], variant="mme-lmms-eval"),
        _tool("VLMEvalKit", RULES["pope"], variant="vlmevalkit"),
    ),
}


@dataclass(frozen=True)
class Explained:
    """One metric of a row.

    Attributes:
        name: of the metric in the task.
        score: of the row as the task scores it; None where the metric has no score for a single row.
        variant: what exactly was computed.
        readings: the task's own rule first, then its other variants, then what other tools do.
    """

    name: str
    score: float | None
    variant: str
    readings: list[Reading]


@dataclass(frozen=True)
class Explanation:
    """A row of one task.

    Attributes:
        task: its name.
        row: its columns of ``predictions.parquet``, read and scored anew.
        metrics: every metric of the task.
    """

    task: str
    row: Row
    metrics: list[Explained]


def explain(folder: Path, sample_id: str, task: str | None = None) -> list[Explanation]:
    """The row in every task that holds it, or in one of them.

    Raises:
        UserError: no finished evaluation, or no such row; the nearest ids are named.
    """
    specs, rows = load_evaluation(folder)
    found = []
    for name, spec in specs.items():
        if task not in (None, name):
            continue
        row = next((one for one in rows[name] if one["sample_id"] == sample_id), None)
        if row is not None:
            found.append(explain_row(spec, row))
    if not found:
        near = difflib.get_close_matches(
            sample_id, [row["sample_id"] for listed in rows.values() for row in listed], n=3
        )
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise UserError(f"{folder}: no sample {sample_id!r}{f' in task {task}' if task else ''}{hint}")
    return found


def explain_row(spec: TaskSpec, row: Row) -> Explanation:
    """One row of a task, scored by itself. Metrics of whole tasks keep the value they had in the run."""
    metrics: list[Explained] = []
    read = row
    for name, settings in spec.metrics.items():
        result = score_rows(spec.model_copy(update={"metrics": {name: settings}}), [row])
        read = {**result.rows[0], **read} if metrics else result.rows[0]
        own = next((row[column.name] for column in result.columns if row.get(column.name) is not None), None)
        metrics.append(Explained(name, own, result.columns[0].variant, _readings(result.rows[0], settings)))
    return Explanation(spec.name, read, metrics)


def _readings(row: Row, settings: MetricSettings) -> list[Reading]:
    metric = settings.metric or ""
    rule: Callable[[Row, MetricSettings, str], Reading] | None = RULES.get(metric)
    if rule is None:
        return []
    found = [rule(row, settings, "this task")]
    found += [rule(row, changed, label) for label, changed in variants_of(settings) if changed != settings]
    return found + [tool(row, settings) for tool in OTHER_TOOLS.get(metric, ())]
