"""What the benchmark's own code, lmms-eval and VLMEvalKit would have said to one reply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from evalsuite.analysis.explain import RULES, Reading, Rule, matches
from evalsuite.analysis.results import Row
from evalsuite.metrics import vqa_accuracy
from evalsuite.normalize.vqa import vlmevalkit
from evalsuite.scoring.settings import MetricSettings


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
