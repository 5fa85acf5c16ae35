"""What a task says of its judge: the rubric, and, if the task wants, which model."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from evalsuite.judge.rubric import Rubric, load_rubric
from evalsuite.recipe import JudgeModel


def _rubric(value: Any) -> Any:
    """A name or a path is read now, so that a run keeps the words its judge was asked."""
    return load_rubric(value) if isinstance(value, str) else value


class JudgeSettings(JudgeModel):
    """The judge of a task. ``judge: mm_vet`` alone names the rubric.

    Attributes:
        rubric: a shipped rubric by name, a rubric file by path, or the rubric itself.
    """

    rubric: Annotated[Rubric, BeforeValidator(_rubric)]

    @model_validator(mode="before")
    @classmethod
    def _bare_rubric(cls, value: Any) -> Any:
        return {"rubric": value} if isinstance(value, str) else value


def with_model(settings: JudgeSettings, given: JudgeModel | None) -> JudgeSettings:
    """The settings with the model, and whatever else of it is set, that a recipe gives."""
    if given is None:
        return settings
    changed = {name: getattr(given, name) for name in given.model_fields_set}
    if given.model or given.server:
        changed = {"model": None, "server": None, **changed}
    return settings.model_copy(update=changed)
