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


class Training(StrictModel):
    """The budget of every arm, the same for all.

    Attributes:
        steps: optimiser steps.
        batch_size: conversations per step.
        questions_per_image: questions about one image in one conversation.
    """

    steps: Count
    batch_size: Count = 4
    questions_per_image: Count = 12


class Regime(StrictModel):
    """Another budget and set for the main comparison, to see whether its result depends on them.

    Attributes:
        steps, images, kinds: in place of those of the settings.
    """

    steps: Count
    images: Count | None = None
    kinds: list[QuestionType] | None = None


def _known_defect(name: str) -> str:
    known = [*Shares().named(), BROKEN]
    if name not in known:
        raise ValueError(f"no defect is called {name!r}; choose from {', '.join(known)}")
    return name


class Sweep(StrictModel):
    """Each defect alone, at several rates.

    Attributes:
        defects: names of ``winnow.demo.defects.Shares``, and ``corrupt`` for its five kinds of broken file.
        rates: share of the rows' images (of the questions, for answers; of the test images, for leaks).
        seeds: of training, for each.
    """

    defects: list[Annotated[str, AfterValidator(_known_defect)]]
    rates: list[Share]
    seeds: list[int] = Field(default=[0], min_length=1)


class SecondTurn(StrictModel):
    """What a curation gains that uses the losses of the first training.

    Attributes:
        dropped: share of the training rows that the rule drops, highest loss first.
        corrected: rows that the simulated reviewer looks at and corrects from the truth.
        seeds: of training, for each arm.
    """

    dropped: Share = 0.1
    corrected: Count = 500
    seeds: list[int] = Field(default=[0], min_length=1)


class StudySettings(StrictModel):
    """The whole study.

    Attributes:
        images: train images of the training sets; null takes all 4,000. About as many as the steps get to see, so
            that copies are seen twice and corrected rows are trained on.
        kinds: types of question in these sets; null takes all.
        asked: types of test question; null takes all.
        rule_images: train images of the set on which the rules are evaluated.
        questions: test questions, the same for every arm; null asks all 9,673.
        data_seed: of the injected defects.
        seeds: of training, for the three main arms.
        strength: factor on the demo's defect rates in the main comparison.
        also: the main comparison once more for each of these regimes.
    """

    images: Count | None = None
    kinds: list[QuestionType] | None = None
    asked: list[QuestionType] | None = None
    rule_images: Count | None = None
    questions: Count | None = None
    data_seed: int = 20
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1)
    strength: Annotated[float, Field(gt=0, le=4)] = 1.0
    training: Training
    also: list[Regime] = Field(default_factory=list)
    sweep: Sweep | None = None
    second_turn: SecondTurn | None = None

    @model_validator(mode="after")
    def _known_seeds(self) -> StudySettings:
        for name, part in {"sweep": self.sweep, "second_turn": self.second_turn}.items():
            if part and (unknown := sorted(set(part.seeds) - set(self.seeds))):
                raise ValueError(f"{name}: seed {unknown[0]} is compared with arms of that seed, but `seeds` lacks it")
        return self

    def dirty(self) -> Shares:
        """The defects of the main comparison."""
        return scaled(Shares(), self.strength)


def scaled(shares: Shares, factor: float) -> Shares:
    """All shares times ``factor``."""
    return Shares.only(**{name: value * factor for name, value in shares.named().items()})


def alone(defect: str, rate: float) -> Shares:
    """One defect at one rate; ``corrupt`` is spread over the kinds of broken file."""
    if defect == BROKEN:
        return Shares.only(**dict.fromkeys(CORRUPT, rate / len(CORRUPT)))
    return Shares.only(**{defect: rate})


def read_settings(path: Path) -> StudySettings:
    """Load and check; UserError says what is wrong with it."""
    return load_recipe(path, StudySettings)
