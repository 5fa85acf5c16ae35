"""The training recipe: one flat, strict YAML, and the stages it resolves to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from curate.config import StrictModel, load_recipe

Part = Literal["lora", "projector"]
Scheduler = Literal["linear", "cosine", "constant", "constant_with_warmup"]
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]


class StageOptions(StrictModel):
    """What a stage may override; a key left out takes the recipe's own value.

    Attributes:
        where: field → allowed value or values; a row is used when every field matches.
            Fields: ``source``, ``split``, ``id`` or ``meta.<key>``.
        train: the parts that learn in this stage.
    """

    name: str = ""
    where: dict[str, str | list[str]] = Field(default_factory=dict)
    train: list[Part] | None = None
    learning_rate: Rate | None = None
    projector_learning_rate: Rate | None = None
    warmup: Annotated[float, Field(ge=0)] | None = None
    scheduler: Scheduler | None = None
    epochs: Rate | None = None
    max_steps: Count | None = None
    batch_size: Count | None = None
    gradient_accumulation: Count | None = None
    join_turns: Count | None = None
    balance_answers: bool | None = None


class TrainRecipe(StrictModel):
    """One run: base model and data in, adapter out.

    Attributes:
        model: folder or hub id of a checkpoint that AutoModelForImageTextToText loads.
        chat_template: Jinja file to use instead of the model's own template; saved with the adapter.
        data: a curated folder (it has a manifest) or a JSONL file of records.
        image_root: folder below which the images lie; a curated folder's manifest names its own.
        quantization: ``nf4`` (4-bit with double quantisation) or ``none``; decoder only.
        compute_dtype: dtype of the frozen weights and of the matrix products.
        lora_rank: 0 trains no LoRA.
        lora_targets: ``all-linear`` or short names such as ``q_proj``; decoder only.
        lora_variant: ``rslora`` scales by alpha/sqrt(rank); ``dora`` also learns magnitudes.
        projector: whether the parts between vision tower and decoder are trained.
        projector_learning_rate: None means ``learning_rate``.
        warmup: below 1 a share of the steps, from 1 on a number of steps.
        epochs, max_steps: ``max_steps`` wins where both are given.
        batch_size: conversations per forward and device.
        join_turns: so many questions about one image become one conversation at most; 1 = off.
        balance_answers: leave out rows until no answer to a question is more frequent than its
            runner-up, so that the question alone does not tell the answer.
        answers: ``first`` trains on the assistant turn, ``sampled`` on a reference drawn
            anew each epoch.
        max_length: tokens per conversation, image tokens included; longer rows are rejected.
        max_reject: largest share of rows that may be rejected before the run is refused.
        save_steps: optimiser steps between checkpoints.
        init_projector: safetensors file with the projector's weights to start from.
    """

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    out: Path | None = None
    seed: int = 0
    model: str
    chat_template: Path | None = None
    data: Path
    image_root: Path | None = None
    quantization: Literal["nf4", "none"] = "nf4"
    compute_dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    lora_rank: Annotated[int, Field(ge=0)] = 16
    lora_alpha: Count = 32
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    lora_targets: Literal["all-linear"] | list[str] = "all-linear"
    lora_variant: Literal["lora", "rslora", "dora"] = "lora"
    projector: bool = True
    init_projector: Path | None = None
    learning_rate: Rate = 2e-4
    projector_learning_rate: Rate | None = None
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup: Annotated[float, Field(ge=0)] = 0.03
    scheduler: Scheduler = "cosine"
    epochs: Rate = 1
    max_steps: Count | None = None
    batch_size: Count = 4
    gradient_accumulation: Count = 1
    join_turns: Count = 1
    balance_answers: bool = False
    answers: Literal["first", "sampled"] = "first"
    max_length: Count = 2048
    max_reject: Annotated[float, Field(ge=0, le=1)] = 0.05
    gradient_checkpointing: bool = False
    num_workers: Annotated[int, Field(ge=0)] = 2
    logging_steps: Count = 10
    save_steps: Count = 200
    stages: list[StageOptions] = Field(default_factory=list)

    @model_validator(mode="after")
    def _something_learns(self) -> TrainRecipe:
        available = self.parts()
        if not available:
            raise ValueError("nothing to train: set lora_rank above 0 or projector to true")
        for number, stage in enumerate(self.stages, start=1):
            if stage.train is not None and (not stage.train or not set(stage.train) <= set(available)):
                raise ValueError(f"stage {number} trains {stage.train}, this recipe offers {available}")
        return self

    def parts(self) -> list[Part]:
        """The parts that this recipe can train."""
        wanted: dict[Part, bool] = {"lora": self.lora_rank > 0, "projector": self.projector}
        return [part for part, on in wanted.items() if on]

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.out or Path("data/runs") / self.name

    def resolved_stages(self) -> list[ResolvedStage]:
        """The stages with every value filled in; a recipe without stages has one."""
        own = self.model_dump(include=set(StageOptions.model_fields) - {"name"})
        resolved = []
        for number, stage in enumerate(self.stages or [StageOptions()], start=1):
            chosen = {key: value for key, value in stage.model_dump().items() if value is not None}
            merged: dict[str, Any] = {**own, "train": self.parts(), **chosen}
            merged["name"] = stage.name or (f"stage {number}" if self.stages else "train")
            if stage.epochs is not None and stage.max_steps is None:
                merged["max_steps"] = None
            merged["projector_learning_rate"] = merged["projector_learning_rate"] or merged["learning_rate"]
            resolved.append(ResolvedStage.model_validate(merged))
        return resolved


class ResolvedStage(StrictModel):
    """A stage with every value known; meanings as in TrainRecipe."""

    name: str
    where: dict[str, str | list[str]] = Field(default_factory=dict)
    train: list[Part]
    learning_rate: float
    projector_learning_rate: float
    warmup: float
    scheduler: Scheduler
    epochs: float
    max_steps: int | None
    batch_size: int
    gradient_accumulation: int
    join_turns: int
    balance_answers: bool


def load(path: Path) -> TrainRecipe:
    """Read a training recipe.

    Raises:
        UserError: no such file, no YAML mapping, an unknown key or a value that does not fit.
    """
    return load_recipe(path, TrainRecipe)
