"""What a stage of training may set, and a stage with every value known."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from winnow.recipe import StrictModel

Part = Literal["decoder", "projector", "vision"]
Scheduler = Literal["linear", "cosine", "constant", "constant_with_warmup"]
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]


class LastBlocks(StrictModel):
    """The last blocks of the vision tower, counted back from the one that feeds the projector."""

    last_n: Count


class PartRates(StrictModel):
    """A learning rate for each part; a part left out takes the decoder's."""

    decoder: Rate
    projector: Rate | None = None
    vision: Rate | None = None


def _one_of_the_modes(value: Any) -> Any:
    # Without it, pydantic complains once for each form.
    if isinstance(value, str) and value not in ("frozen", "lora", "full"):
        raise ValueError("give frozen, lora, full or {last_n: k}")
    return value


def _number_or_parts(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() <= {"projector", "vision"}:
        raise ValueError("a rate for each part needs decoder, which the parts left out take too")
    if isinstance(value, str):
        try:
            return float(value)  # YAML reads 1e-5 as text
        except ValueError:
            raise ValueError("give a number or {decoder: 2.0e-4, projector: 2.0e-5}") from None
    return value


Vision = Annotated[Literal["frozen", "lora", "full"] | LastBlocks, BeforeValidator(_one_of_the_modes)]
LearningRate = Annotated[Rate | PartRates, BeforeValidator(_number_or_parts)]


class StageOptions(StrictModel):
    """What a stage may override; a key left out takes the recipe's own value.

    Attributes:
        where: field → allowed value or values; a row is used when every field matches.
            Fields: ``source``, ``split``, ``data`` (name of a data set), ``id`` or ``meta.<key>``.
        mix: data set or source → weight: its share of the stage's conversations. Rows of names
            that are not listed are left out; a small set is repeated, a large one drawn from.
        replay: share of the conversations that come from the rows of earlier stages.
        train: the parts that learn in this stage.
    """

    name: str = ""
    where: dict[str, str | list[str]] = Field(default_factory=dict)
    mix: dict[str, Rate] = Field(default_factory=dict)
    replay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    train: list[Part] | None = None
    vision: Vision | None = None
    learning_rate: LearningRate | None = None
    warmup: Annotated[float, Field(ge=0)] | None = None
    scheduler: Scheduler | None = None
    epochs: Rate | None = None
    max_steps: Count | None = None
    batch_size: Count | None = None
    gradient_accumulation: Count | None = None
    join_turns: Count | None = None
    balance_answers: bool | None = None


class ResolvedStage(StrictModel):
    """A stage with every value known; meanings as in ``StageOptions`` and ``finetune.recipe.TrainRecipe``."""

    name: str
    where: dict[str, str | list[str]]
    mix: dict[str, float]
    replay: float
    train: list[Part]
    vision: Vision
    learning_rate: LearningRate
    warmup: float
    scheduler: Scheduler
    epochs: float
    max_steps: int | None
    batch_size: int
    gradient_accumulation: int
    join_turns: int
    balance_answers: bool

    @property
    def rates(self) -> dict[Part, float]:
        """Learning rate of each part."""
        given = self.learning_rate
        if not isinstance(given, PartRates):
            return {"decoder": given, "projector": given, "vision": given}
        return {
            "decoder": given.decoder,
            "projector": given.projector or given.decoder,
            "vision": given.vision or given.decoder,
        }
