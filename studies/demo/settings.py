"""Settings of the study: one strict YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from winnow.demo.defects import CORRUPT, Shares
from winnow.demo.easy_vqa import QuestionType
from winnow.recipe import StrictModel, load_recipe

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
BROKEN = "corrupt"  # stands for all kinds of broken file in CORRUPT, in equal parts
_OF_ANSWERS = ("wrong_answer", "contradictory")
DEFECTS = (*(name for name in Shares().named() if name not in CORRUPT), BROKEN)


class Rates(StrictModel):
    """How much of a set has each defect.

    Attributes:
        pictures: share of the train images that are blurred, that are copied and that are broken, a fifth of the last
            in each of five ways; share of the test images that are leaked.
        answers: share of the train questions that are answered wrongly, and that a second row contradicts.
    """

    pictures: Share
    answers: Share

    def together(self) -> Shares:
        """All defects at once."""
        shares = dict.fromkeys(Shares().named(), self.pictures) | dict.fromkeys(CORRUPT, self.pictures / len(CORRUPT))
        return Shares(**shares | dict.fromkeys(_OF_ANSWERS, self.answers))

    def alone(self, defect: str) -> Shares:
        """One defect; ``corrupt`` stands for its five kinds of broken file."""
        names = CORRUPT if defect == BROKEN else (defect,)
        return Shares.only(**{name: share for name, share in self.together().named().items() if name in names})


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


def _known_defect(name: str) -> str:
    if name not in DEFECTS:
        raise ValueError(f"no defect is called {name!r}; choose from {', '.join(DEFECTS)}")
    return name


class Alone(StrictModel):
    """Each defect alone, at the rates of the main comparison.

    Attributes:
        defects: names of ``winnow.demo.defects.Shares``, and ``corrupt`` for its five kinds of broken file.
        trainings: of each set, with the first seeds of the main comparison.
    """

    defects: list[Annotated[str, AfterValidator(_known_defect)]]
    trainings: Count


class StudySettings(StrictModel):
    """The whole study.

    Attributes:
        images: train images of the training sets; null takes all 4,000.
        kinds: types of question that are trained and asked; null takes all.
        rule_images: train images of the set on which the rules are evaluated, with all types of question.
        questions: test questions, the same for every arm; null asks all.
        data_seed: of the injected defects.
        rates: of the defects.
        trainings: of each set in the main comparison, with the seeds 0, 1, 2 …
        ideal: trainings of the set that a curation without a mistake would leave, with the first seeds.
    """

    images: Count | None = None
    kinds: list[QuestionType] | None = None
    rule_images: Count | None = None
    questions: Count | None = None
    data_seed: int = 20
    rates: Rates
    trainings: Count
    ideal: Annotated[int, Field(ge=0)] = 0
    training: Training
    alone: Alone | None = None

    @model_validator(mode="after")
    def _known_seeds(self) -> StudySettings:
        if max(self.ideal, self.alone.trainings if self.alone else 0) > self.trainings:
            raise ValueError("ideal and alone are compared with the main arms, so they cannot have more trainings")
        return self


def read_settings(path: Path) -> StudySettings:
    """Load and check; UserError says what is wrong with it."""
    return load_recipe(path, StudySettings)
