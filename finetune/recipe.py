"""The training recipe: one flat, strict YAML file, and the stages that it resolves to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from winnow.recipe import StrictModel, load_recipe

Part = Literal["decoder", "projector", "vision"]
Quantization = Literal["nf4", "int8", "none"]
Scheduler = Literal["linear", "cosine", "constant", "constant_with_warmup"]
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]


class LastBlocks(StrictModel):
    """The last blocks of the vision tower.

    Attributes:
        last_n: their number, counted back from the block whose output the projector reads.
    """

    last_n: Count


class PartRates(StrictModel):
    """A learning rate for each part.

    Attributes:
        decoder, projector, vision: rate of the part; one that is left out takes the decoder's.
    """

    decoder: Rate
    projector: Rate | None = None
    vision: Rate | None = None


def _one_of_the_modes(value: Any) -> Any:
    # Checked before pydantic does, which would report one error for each form of the union.
    if isinstance(value, str) and value not in ("frozen", "lora", "full"):
        raise ValueError("give frozen, lora, full or {last_n: k}")
    return value


def _number_or_parts(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() <= {"projector", "vision"}:
        raise ValueError("rates by part need one for decoder: the parts that are left out take it too")
    if isinstance(value, str):
        try:
            return float(value)  # YAML reads 1e-5 as text
        except ValueError:
            raise ValueError("give a number or {decoder: 2.0e-4, projector: 2.0e-5}") from None
    return value


Vision = Annotated[Literal["frozen", "lora", "full"] | LastBlocks, BeforeValidator(_one_of_the_modes)]
LearningRate = Annotated[Rate | PartRates, BeforeValidator(_number_or_parts)]


class StageOptions(StrictModel):
    """What a stage may override; a key that is left out takes the recipe's value.

    Attributes:
        name: of the stage, in reports; its number by default.
        filter: field → allowed value or values; a row is used when every field matches.
            Fields: ``source``, ``split``, ``data`` (name of a data set), ``id`` or ``meta.<key>``.
        weights: data set or source → its share of the stage's conversations. Rows of names that
            are not listed are left out; a small set is repeated, a large one is sampled.
        replay: share of the conversations that come from the rows of earlier stages.
        train: the parts that learn in this stage.
    """

    RENAMED: ClassVar[dict[str, str]] = {"join_turns": "questions_per_image", "where": "filter", "mix": "weights"}

    name: str = ""
    filter: dict[str, str | list[str]] = Field(default_factory=dict)
    weights: dict[str, Rate] = Field(default_factory=dict)
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
    questions_per_image: Count | None = None
    balance_answers: bool | None = None


class ResolvedStage(StrictModel):
    """A stage with every value filled in; the keys mean what they mean in ``StageOptions`` and ``TrainRecipe``."""

    name: str
    filter: dict[str, str | list[str]]
    weights: dict[str, float]
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
    questions_per_image: int
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


class TrainRecipe(StrictModel):
    """A training run: base model and data in, adapter out.

    Attributes:
        name: names the run folder; letters, digits, ``.``, ``-`` and ``_``.
        out: the run folder; ``data/runs/<name>`` if it is not given.
        seed: of the order of rows, of dropout and of new weights.
        model: folder or hub id of a checkpoint that AutoModelForImageTextToText loads.
        chat_template: Jinja file to use instead of the model's own template; saved with the adapter.
        data: a curated folder (it has a manifest), a JSONL file of records or a curated Parquet
            file; or several of them by name.
        image_root: folder that image paths are relative to; a curated folder's manifest names its own.
        evaluate: name → data as above. After each stage every set gets a loss and a forgetting figure.
        quantization: of the decoder's frozen weights: ``nf4`` (4-bit with double quantisation),
            ``int8`` (LLM.int8) or ``none``.
        compute_dtype: dtype of the frozen weights and of the matrix products.
        decoder: what learns in the language model: ``lora``, ``full`` (with its output head;
            needs quantization ``none``) or ``frozen``.
        lora_rank, lora_alpha: rank of the LoRA matrices, and what their product is scaled with (alpha / rank).
        lora_dropout: share of the inputs of LoRA that is zeroed in training.
        lora_targets: ``all-linear`` or short names such as ``q_proj``.
        lora_variant: ``rslora`` scales by alpha/sqrt(rank); ``dora`` also learns magnitudes; ``lora+``
            lets the B matrices learn 16 times as fast as the A matrices.
        vision: what learns in the vision tower: ``frozen``, ``lora``, ``full`` or ``{last_n: k}``,
            its last k blocks.
        projector: whether the parts between vision tower and decoder are trained.
        learning_rate: a number, or ``{decoder: 2e-4, projector: 2e-5, vision: 2e-6}``.
        warmup: below 1 a share of the steps, from 1 on a number of steps.
        scheduler: how the learning rate changes after the warm-up.
        epochs, max_steps: length of the training; ``max_steps`` wins where both are given.
        batch_size: conversations per forward pass and device.
        gradient_accumulation: forward passes per optimiser step.
        questions_per_image: largest number of questions about an image that share a conversation;
            1 gives every question its own.
        balance_answers: leave out rows until no answer to a question is more frequent than the
            second most frequent, so that the question alone does not give the answer away.
        answers: ``first`` trains on the assistant turn, ``sampled`` on a reference drawn
            for each epoch.
        max_length: tokens per conversation, image tokens included; longer rows are rejected.
        max_pixels: larger images are scaled down to this area, their aspect ratio kept.
        max_reject: largest share of rows that may be rejected; above it the run is refused.
        gradient_checkpointing: compute activations again in the backward pass; slower, less memory.
        num_workers: processes that load data.
        save_steps: optimiser steps between checkpoints.
        report_to: ``tensorboard``, ``wandb`` or any other reporter of transformers' Trainer.
        stages: what follows on each other, each with its own rows and rates; empty is one stage.
    """

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    out: Path | None = None
    seed: int = 0
    model: str
    chat_template: Path | None = None
    data: Path | dict[str, Path]
    image_root: Path | None = None
    evaluate: dict[str, Path] = Field(default_factory=dict)
    quantization: Quantization = "nf4"
    compute_dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    decoder: Literal["lora", "full", "frozen"] = "lora"
    lora_rank: Count = 16
    lora_alpha: Count = 32
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    lora_targets: Literal["all-linear"] | list[str] = "all-linear"
    lora_variant: Literal["lora", "rslora", "dora", "lora+"] = "lora"
    vision: Vision = "frozen"
    projector: bool = True
    learning_rate: LearningRate = 2e-4
    warmup: Annotated[float, Field(ge=0)] = 0.03
    scheduler: Scheduler = "cosine"
    epochs: Rate = 1
    max_steps: Count | None = None
    batch_size: Count = 4
    gradient_accumulation: Count = 1
    questions_per_image: Count = 1
    balance_answers: bool = False
    answers: Literal["first", "sampled"] = "first"
    max_length: Count = 2048
    max_pixels: Count | None = None
    max_reject: Annotated[float, Field(ge=0, le=1)] = 0.05
    gradient_checkpointing: bool = False
    num_workers: Annotated[int, Field(ge=0)] = 2
    save_steps: Count = 200
    report_to: list[str] = Field(default_factory=list)
    stages: list[StageOptions] = Field(default_factory=list)

    @model_validator(mode="after")
    def _something_learns(self) -> TrainRecipe:
        available = self.parts()
        if not available:
            raise ValueError("nothing to train: set decoder, vision or projector")
        for number, stage in enumerate(self.resolved_stages(), start=1):
            if not stage.train or not set(stage.train) <= set(available):
                raise ValueError(f"stage {number} trains {stage.train}, this recipe offers {available}")
            if "vision" in stage.train and stage.vision == "frozen":
                raise ValueError(f"stage {number} trains vision, but its vision mode is frozen")
        if self.stages and self.stages[0].replay:
            raise ValueError("stage 1 has no earlier stage to replay")
        if self.decoder == "full" and self.quantization != "none":
            raise ValueError("decoder: full trains the weights themselves, so it needs quantization: none")
        modes = self.vision_modes()
        if "lora" in modes and len(modes) > 1:
            raise ValueError(
                "vision: one run cannot mix lora with full or last_n; train two runs and merge between them"
            )
        if self.decoder == "full" and "lora" in modes:
            raise ValueError("vision: lora goes with decoder lora or frozen, not with decoder: full")
        return self

    def vision_modes(self) -> list[str]:
        """The vision modes of all stages, ``frozen`` left out."""
        asked = [self.vision if stage.vision is None else stage.vision for stage in self.stages or [StageOptions()]]
        return sorted({"last_n" if isinstance(mode, LastBlocks) else mode for mode in asked} - {"frozen"})

    def last_blocks(self) -> int:
        """The largest ``last_n`` of all stages; 0 if no stage has any."""
        asked = [self.vision, *(stage.vision for stage in self.stages)]
        return max((mode.last_n for mode in asked if isinstance(mode, LastBlocks)), default=0)

    def parts(self) -> list[Part]:
        """The parts that this recipe can train."""
        wanted: dict[Part, bool] = {
            "decoder": self.decoder != "frozen", "projector": self.projector, "vision": bool(self.vision_modes())
        }  # fmt: skip
        return [part for part, on in wanted.items() if on]

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.out or Path("data/runs") / self.name

    def resolved_stages(self) -> list[ResolvedStage]:
        """The stages with every value filled in; a recipe without stages resolves to a single stage."""
        own = self.model_dump(include=set(StageOptions.model_fields) - {"name"})
        resolved = []
        for number, stage in enumerate(self.stages or [StageOptions()], start=1):
            chosen = {key: value for key, value in stage.model_dump().items() if value is not None}
            merged: dict[str, Any] = {**own, **chosen}
            offered = [part for part in self.parts() if part != "vision" or merged["vision"] != "frozen"]
            merged["train"] = offered if stage.train is None else stage.train
            merged["name"] = stage.name or (f"stage {number}" if self.stages else "train")
            if stage.epochs is not None and stage.max_steps is None:
                merged["max_steps"] = None
            resolved.append(ResolvedStage.model_validate(merged))
        return resolved


def load(path: Path) -> TrainRecipe:
    """Read a training recipe.

    Raises:
        UserError: no such file, no YAML mapping, an unknown key or a value that does not fit.
    """
    return load_recipe(path, TrainRecipe)
