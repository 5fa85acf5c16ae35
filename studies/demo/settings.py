"""Settings of the study: one strict YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from winnow.demo.defects import CORRUPT, Shares
from winnow.demo.easy_vqa import QuestionType
from winnow.recipe import StrictModel, load_recipe

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
_OF_ANSWERS = ("wrong_answer", "contradictory")


class Comparison(StrictModel):
    """Dirty, curated and clean sets at some rates of defects.

    Attributes:
        pictures: share of the train images that are blurred, that are copied and that are broken, a fifth of the last
            in each of five ways; share of the test images that are leaked.
        answers: share of the train questions that are answered wrongly, and that a second row contradicts.
        trainings: of each set, with the seeds 0, 1, 2 …
    """

    pictures: Share
    answers: Share
    trainings: Count

    @property
    def name(self) -> str:
        """Tells it from the others."""
        return f"{self.pictures:g}-{self.answers:g}"

    def shares(self) -> Shares:
        """The share of each defect."""
        shares = dict.fromkeys(Shares().named(), self.pictures) | dict.fromkeys(CORRUPT, self.pictures / len(CORRUPT))
        return Shares(**shares | dict.fromkeys(_OF_ANSWERS, self.answers))


class Training(StrictModel):
    """The budget of every arm, the same for all: steps × batch_size rows, none of them twice.

    Attributes:
        steps: optimiser steps.
        batch_size: rows, each a conversation of its own, per step.
    """

    steps: Count
    batch_size: Count

    @property
    def rows(self) -> int:
        """Rows that an arm is trained on."""
        return self.steps * self.batch_size


class StudySettings(StrictModel):
    """The whole study.

    Attributes:
        images: train images of the training sets; null takes all 4,000.
        kinds: types of question that are trained and asked; null takes all.
        rule_images: train images of the set on which the rules are evaluated, with all types of question.
        questions: test questions, the same for every arm; null asks all.
        data_seed: of the injected defects.
        comparisons: one for each pair of rates; all share the clean set and its trainings.
    """

    images: Count | None = None
    kinds: list[QuestionType] | None = None
    rule_images: Count | None = None
    questions: Count | None = None
    data_seed: int = 20
    training: Training
    comparisons: list[Comparison] = Field(min_length=1)


def read_settings(path: Path) -> StudySettings:
    """Load and check; UserError says what is wrong with it."""
    return load_recipe(path, StudySettings)
