"""How a task file names a metric and its variant."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import model_validator

from evalsuite.metrics import gqa, multiple_choice, relaxed, yes_no
from evalsuite.metrics.short_answer import NormalizerName
from evalsuite.metrics.tokenizers import TokenizerName
from winnow.errors import UserError
from winnow.recipe import StrictModel

MetricName = Literal[
    "accuracy", "vqa_accuracy", "anls", "relaxed_accuracy", "gqa", "multiple_choice", "mmmu", "pope", "mme",
    "unanswerable", "bleu", "rouge_l", "cider",
]  # fmt: skip
METRIC_NAMES: tuple[str, ...] = get_args(MetricName)
# Variants of metrics that have several rules; the first of ``relaxed_accuracy`` and ``gqa`` is the default.
VARIANTS: dict[str, tuple[str, ...]] = {
    "relaxed_accuracy": relaxed.VARIANTS,
    "gqa": gqa.VARIANTS,
    "multiple_choice": multiple_choice.VARIANTS,
    "mmmu": multiple_choice.VARIANTS,
    "pope": yes_no.VARIANTS,
    "mme": yes_no.VARIANTS,
}
_OPTIONS: dict[str, tuple[str, ...]] = {
    "accuracy": ("normalizer",),
    "vqa_accuracy": ("normalizer", "unanimous"),
    "bleu": ("tokenize",),
    "rouge_l": ("tokenize",),
    "cider": ("tokenize",),
    **dict.fromkeys(VARIANTS, ("variant",)),
}


class MetricSettings(StrictModel):
    """One metric of a task.

    Attributes:
        metric: its name; null takes the key it is listed under. With it, one metric can be listed
            twice in two variants.
        variant: of ``relaxed_accuracy``, ``gqa``, ``multiple_choice``, ``mmmu``, ``pope``, ``mme``. The
            last four take the answer as the task's extraction reads it; a variant reads the raw reply
            by its own rule instead.
        normalizer: of ``accuracy`` and ``vqa_accuracy``: ``official``, ``evalai``, ``none``.
        unanimous: of ``vqa_accuracy``, see there.
        tokenize: of ``bleu``, ``rouge_l`` and ``cider``: ``ptb``, ``zh``, ``ja-mecab``, ``ko-mecab``,
            ``char``, ``13a``, ``intl``.
    """

    metric: MetricName | None = None
    variant: str | None = None
    normalizer: NormalizerName = "official"
    unanimous: Literal["normalize", "raw"] = "normalize"
    tokenize: TokenizerName = "ptb"

    @model_validator(mode="after")
    def _fits(self) -> MetricSettings:
        if self.metric is not None:
            known = VARIANTS.get(self.metric, ())
            if self.variant is not None and self.variant not in known:
                raise ValueError(
                    f"{self.metric} has no variant {self.variant!r}; known: {', '.join(known)}"
                    if known
                    else f"{self.metric} has no variants"
                )
            allowed = _OPTIONS.get(self.metric, ())
            for name in ("normalizer", "unanimous", "tokenize"):
                if getattr(self, name) != type(self).model_fields[name].default and name not in allowed:
                    raise ValueError(f"{name} means nothing to {self.metric}")
        return self


def with_variant(settings: MetricSettings, value: str) -> MetricSettings:
    """The settings with the one option changed that knows ``value``.

    Raises:
        UserError: no option of the metric has that value.
    """
    metric = settings.metric or ""
    values = {"variant": VARIANTS.get(metric, ()), **{name: _values(name) for name in _OPTIONS.get(metric, ())}}
    if metric in VARIANTS:
        values["variant"] = VARIANTS[metric]
    for option in _OPTIONS.get(metric, ()):
        if value in values[option]:
            return MetricSettings.model_validate({**settings.model_dump(), option: value})
    known = [one for option in _OPTIONS.get(metric, ()) for one in values[option]]
    raise UserError(f"{metric} has no variant {value!r}; known: {', '.join(known) or 'none'}")


def variants_of(settings: MetricSettings) -> list[tuple[str, MetricSettings]]:
    """Every variant of a metric by name, each with all other options as they are."""
    metric = settings.metric or ""
    found: list[tuple[str, MetricSettings]] = []
    for option in _OPTIONS.get(metric, ()):
        for value in VARIANTS[metric] if option == "variant" else _values(option):
            if option != "tokenize":
                changed = MetricSettings.model_validate({**settings.model_dump(), option: value})
                found.append((value if option != "unanimous" else f"unanimous {value}", changed))
    return found


def _values(option: str) -> tuple[Any, ...]:
    return get_args(MetricSettings.model_fields[option].annotation) if option != "variant" else ()
