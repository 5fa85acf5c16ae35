"""How a task file names a metric and its variant, and the scoring of a task by all its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import model_validator

from evalsuite.metrics import METRICS
from evalsuite.metrics.base import Answers, MetricColumn, MetricOptions
from winnow.errors import UserError, did_you_mean


class MetricSettings(MetricOptions):
    """One metric of a task.

    Attributes:
        metric: its name; null takes the key it is listed under. With it, one metric can be listed
            twice in two variants.
    """

    metric: str | None = None

    @model_validator(mode="after")
    def _fits(self) -> MetricSettings:
        if self.metric is None:
            return self
        if self.metric not in METRICS:
            raise ValueError(f"no metric {self.metric!r}; {did_you_mean(self.metric, METRICS)}")
        known, allowed = METRICS[self.metric].variants, METRICS[self.metric].options
        if self.variant is not None and self.variant not in known:
            raise ValueError(
                f"{self.metric} has no variant {self.variant!r}; known: {', '.join(known)}"
                if known
                else f"{self.metric} has no variants"
            )
        for name in ("normalizer", "unanimous", "tokenize"):
            if getattr(self, name) != type(self).model_fields[name].default and name not in allowed:
                raise ValueError(f"{name} means nothing to {self.metric}")
        return self


def score(answers: Answers, metrics: Mapping[str, MetricSettings]) -> list[MetricColumn]:
    """All columns of a task, in the order of ``metrics``.

    Raises:
        UserError: a row has no references, or lacks what a metric needs.
    """
    return [
        column
        for key, settings in metrics.items()
        for column in METRICS[settings.metric or key].columns(key, answers, settings)
    ]


def with_variant(settings: MetricSettings, value: str) -> MetricSettings:
    """The settings with the one option changed that knows ``value``.

    Raises:
        UserError: no option of the metric has that value.
    """
    known = {option: option_values(settings.metric or "", option) for option in METRICS[settings.metric or ""].options}
    for option, listed in known.items():
        if value in listed:
            return _changed(settings, option, value)
    every = [name for listed in known.values() for name in listed]
    raise UserError(f"{settings.metric} has no variant {value!r}; known: {', '.join(every) or 'none'}")


def variants_of(settings: MetricSettings) -> list[tuple[str, MetricSettings]]:
    """Every variant of a metric by name, each with all other options as they are; tokenisers are left out."""
    metric = settings.metric or ""
    return [
        (f"unanimous {value}" if option == "unanimous" else value, _changed(settings, option, value))
        for option in METRICS[metric].options
        if option != "tokenize"
        for value in option_values(metric, option)
    ]


def option_values(metric: str, option: str) -> tuple[str, ...]:
    """What an option of a metric can be."""
    if option == "variant":
        return METRICS[metric].variants
    return get_args(MetricOptions.model_fields[option].annotation)


def _changed(settings: MetricSettings, option: str, value: Any) -> MetricSettings:
    return MetricSettings.model_validate({**settings.model_dump(), option: value})
