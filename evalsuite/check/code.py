"""Metrics that are code: whether they may run, and whether they load, before a model is asked."""

from __future__ import annotations

from collections.abc import Iterator

from evalsuite.check.findings import Finding
from evalsuite.metrics.own import allowing_code, check_loads, is_own
from evalsuite.tasks.spec import TaskSpec
from winnow.errors import UserError


def check_code(spec: TaskSpec, *, allowed: bool) -> Iterator[Finding]:
    """An error for every metric of your own that may not run or cannot be loaded."""
    for settings in spec.metrics.values():
        name = settings.metric or ""
        if is_own(name):
            try:
                with allowing_code(allowed):
                    check_loads(name)
            except UserError as error:
                yield Finding("error", spec.name, str(error), "")
