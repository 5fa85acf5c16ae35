"""The training recipe: one flat, strict YAML file, and the stages that it resolves to."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from finetune.adapter_base import with_adapter_base
from winnow.errors import did_you_mean
from winnow.recipe import Place, StrictModel, parse_recipe
from winnow.strict_yaml import read_mapping, read_texts
from winnow.vlm.inputs import InputSettings

Part = Literal["decoder", "projector", "vision"]
Quantization = Literal["nf4", "int8", "none"]
Scheduler = Literal["linear", "cosine", "constant", "constant_with_warmup"]
Attention = Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"]
Optimizer = Literal[
    "adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_32bit", "paged_adamw_8bit", "ademamix",
    "ademamix_8bit", "paged_ademamix_32bit", "paged_ademamix_8bit", "lion_32bit", "lion_8bit", "paged_lion_32bit",
    "paged_lion_8bit", "adafactor", "sgd", "adagrad", "rmsprop",
]  # fmt: skip
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


class DpoOptions(StrictModel):
    """Options of ``method: dpo``.

    Attributes:
        beta: how strongly the model is held to its start; larger values allow less change.
        loss_type: ``sigmoid`` (DPO) or ``ipo`` (squared, with log-probabilities averaged over tokens).
        sft_weight: weight of the chosen answers' ordinary loss, which is added.
    """

    beta: Rate = 0.1
    loss_type: Literal["sigmoid", "ipo"] = "sigmoid"
    sft_weight: Annotated[float, Field(ge=0)] = 0.0


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
        model: a checkpoint that AutoModelForImageTextToText loads: a folder, ``owner/name`` of the Hugging
            Face hub or ``modelscope:owner/name``, with ``@revision`` to pin it.
        adapter: an adapter to train further, instead of a new one: a folder, or a hub's name as for ``model``. The
            result is one adapter for the same base. ``model:`` may be the adapter itself; then keys that are left
            out come from the run that made it.
        chat_template: Jinja file to use instead of the model's own template; saved with the adapter.
        data: a curated folder (it has a manifest), a file of rows (JSON lines or a JSON array, in any form that
            `curate` reads) or a curated Parquet file; or several of them by name. ``hub:owner/name`` and
            ``modelscope:owner/name`` are downloaded; ``:FILE`` behind it names one file.
        image_root: folder that image paths are relative to and that absolute ones must lie in; a curated
            folder's manifest names its own, a file's is the folder that it lies in.
        evaluate: name → data as above. Before training and after each stage, every set gets a loss and a
            forgetting figure.
        eval_tasks: evalsuite task (name or file) → number of its rows to ask. Scored, with an interval, whenever
            the sets of ``evaluate`` are.
        eval_steps: optimiser steps between evaluations; by default there are none within a stage.
        best: the set or task that decides which step's weights a stage ends with: those of the lowest loss or best
            score (the highest; the lowest of CHAIR and ECE). By default those of its last step.
        patience: end a stage after this many evaluations without a better one.
        keep_checkpoints: how many checkpoints of each stage, the last ones, to keep after the run.
        method: ``sft`` trains on the answers and ignores rejected ones; ``dpo`` trains on preference pairs, so
            every row needs a ``rejected`` answer.
        dpo: options of ``method: dpo``.
        quantization: of the decoder's frozen weights: ``nf4`` (4-bit with double quantisation),
            ``int8`` (LLM.int8) or ``none``.
        max_unquantized: largest share of the decoder's weights, embeddings not counted, that may stay in 16 bit.
        compute_dtype: dtype of the frozen weights and of the matrix products.
        attention: ``attn_implementation`` of transformers. By default transformers chooses, or ``eager`` is used for
            short conversations on a CPU.
        decoder: what learns in the language model: ``lora``, ``full`` (with its output head;
            needs quantization ``none``) or ``frozen``.
        lora_rank, lora_alpha: rank of the LoRA matrices; their product is scaled by alpha / rank.
        lora_dropout: share of LoRA's inputs that is zeroed in training.
        lora_targets: ``all-linear``, routers of experts left out, or short names such as ``q_proj``.
        lora_variant: ``rslora`` scales by alpha/sqrt(rank); ``dora`` also learns magnitudes; ``lora+``
            lets the B matrices learn 16 times as fast as the A matrices.
        vision: what learns in the vision tower: ``frozen``, ``lora``, ``full`` or ``{last_n: k}``,
            its last k blocks.
        projector: whether the parts between vision tower and decoder are trained.
        learning_rate: a number, or ``{decoder: 2e-4, projector: 2e-5, vision: 2e-6}``.
        warmup: below 1 a share of the steps, from 1 on a number of steps.
        scheduler: how the learning rate changes after the warm-up.
        optim: the optimiser, by transformers' name. ``8bit`` ones need a quarter of the memory for their state,
            ``paged`` ones move it to the host's memory when a GPU is full.
        epochs, max_steps: length of the training; ``max_steps`` wins where both are given.
        batch_size: conversations per forward pass and device.
        gradient_accumulation: forward passes per optimiser step.
        packing: join the conversations of a batch to one row without padding; they do not attend to each other.
            Meant for flash attention; without it, the long row's mask can cost more than the padding.
        questions_per_image: largest number of questions about an image that share a conversation;
            1 gives every question its own.
        balance_answers: leave out rows until the most frequent answer to a question is no more frequent than the
            second, so that the question alone does not give the answer away.
        shuffle: ``false`` trains on the rows in the order of the data, as a curriculum or a comparison of two sets
            wants it; the questions of a conversation stand where the first of them does.
        answers: ``first`` trains on the assistant turn, ``sampled`` on a reference drawn
            for each epoch.
        max_length: tokens per conversation, image tokens included; longer rows are rejected.
        max_pixels: larger images are scaled down to this area in pixels, keeping their aspect ratio. If the image
            processor has such a limit, it is set there and saved; else images are scaled before it.
        processor: settings of the image processor that replace the model's own, such as ``size`` or ``max_patches``.
        max_frames: largest number of frames taken from a video, evenly.
        chat_template_kwargs: variables of the chat template, such as ``enable_thinking: false``.
        train_reasoning: whether the reasoning before an answer (a ``<think>`` block or ``reasoning_content``) is
            trained; if not, only the answer after it is.
        max_reject: largest share of rows that may be rejected; above it the run is refused.
        gradient_checkpointing: compute activations again in the backward pass; slower, less memory.
        num_workers: processes that load data.
        save_steps: optimiser steps between checkpoints.
        report_to: ``tensorboard``, ``trackio``, ``wandb``, ``mlflow`` or any other reporter of transformers' Trainer.
        trainer: further arguments for transformers' ``TrainingArguments``: ``weight_decay`` (default 0.01),
            ``max_grad_norm``, ``use_liger_kernel``, ``torch_compile`` … Arguments that other keys of the recipe
            set are refused.
        stages: stages that run one after the other, each with its own rows and rates; empty means one stage.
    """

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    out: Path | None = None
    seed: int = 0
    model: str
    adapter: str | None = None
    chat_template: Path | None = None
    data: Place | dict[str, Place]
    image_root: Path | None = None
    evaluate: dict[str, Path] = Field(default_factory=dict)
    eval_tasks: dict[str, Count] = Field(default_factory=dict)
    eval_steps: Count | None = None
    best: str | None = None
    patience: Count | None = None
    keep_checkpoints: Annotated[int, Field(ge=0)] = 0
    method: Literal["sft", "dpo"] = "sft"
    dpo: DpoOptions = Field(default_factory=DpoOptions)
    quantization: Quantization = "nf4"
    max_unquantized: Annotated[float, Field(ge=0, le=1)] = 0.1
    compute_dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    attention: Attention | None = None
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
    optim: Optimizer = "adamw_torch_fused"
    epochs: Rate = 1
    max_steps: Count | None = None
    batch_size: Count = 4
    gradient_accumulation: Count = 1
    packing: bool = False
    questions_per_image: Count = 1
    balance_answers: bool = False
    shuffle: bool = True
    answers: Literal["first", "sampled"] = "first"
    max_length: Count = 2048
    max_pixels: Count | None = None
    processor: dict[str, Any] = Field(default_factory=dict)
    max_frames: Count = 16
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    train_reasoning: bool = True
    max_reject: Annotated[float, Field(ge=0, le=1)] = 0.05
    gradient_checkpointing: bool = False
    num_workers: Annotated[int, Field(ge=0)] = 2
    save_steps: Count = 200
    report_to: list[str] = Field(default_factory=list)
    trainer: dict[str, Any] = Field(default_factory=dict)
    stages: list[StageOptions] = Field(default_factory=list)

    @model_validator(mode="after")
    def _keys_agree(self) -> TrainRecipe:
        available = self.parts()
        if not available:
            raise ValueError("nothing to train: set decoder, vision or projector")
        stages = self.resolved_stages()
        for number, stage in enumerate(stages, start=1):
            if not stage.train or not set(stage.train) <= set(available):
                raise ValueError(f"stage {number} trains {stage.train}, this recipe offers {available}")
            if "vision" in stage.train and stage.vision == "frozen":
                raise ValueError(f"stage {number} trains vision, but its vision mode is frozen")
        if self.stages and self.stages[0].replay:
            raise ValueError("stage 1 has no earlier stage to replay")
        if self.decoder == "full" and self.adapter is not None:
            raise ValueError("decoder: full trains no adapter; merge the adapter first and give the result as model")
        if self.decoder == "full" and self.quantization != "none":
            raise ValueError("decoder: full trains the weights themselves, so it needs quantization: none")
        self._check_evaluation()
        self._check_method(stages)
        modes = self.vision_modes()
        if "lora" in modes and len(modes) > 1:
            raise ValueError(
                "vision: one run cannot mix lora with full or last_n; train two runs and merge between them"
            )
        if self.decoder == "full" and "lora" in modes:
            raise ValueError("vision: lora goes with decoder lora or frozen, not with decoder: full")
        return self

    def _check_method(self, stages: list[ResolvedStage]) -> None:
        if self.method == "sft" and self.dpo != DpoOptions():
            raise ValueError("dpo: these options need method: dpo")
        if self.method == "dpo" and self.packing:
            raise ValueError("packing goes with method: sft; the two answers of a pair are compared in padded batches")
        if self.method == "dpo" and (self.answers == "sampled" or any(s.questions_per_image > 1 for s in stages)):
            raise ValueError(
                "method: dpo compares two answers of a row, so it needs answers: first and questions_per_image: 1"
            )

    def _check_evaluation(self) -> None:
        named = [*self.evaluate, *self.eval_tasks]
        if twice := self.evaluate.keys() & self.eval_tasks.keys():
            raise ValueError(f"evaluate and eval_tasks both name {min(twice)!r}; give the set another name")
        if self.eval_steps and not named:
            raise ValueError("eval_steps needs something to measure: name sets in evaluate or tasks in eval_tasks")
        if self.best is not None and self.best not in named:
            raise ValueError(
                f"best: {self.best!r} is neither in evaluate nor in eval_tasks: {did_you_mean(self.best, named)}"
            )
        if self.best is not None and self.eval_steps is None:
            raise ValueError("best chooses among steps that were measured; set eval_steps")
        if self.patience is not None and self.best is None:
            raise ValueError("patience waits for a better evaluation; set `best` to the set or task that decides")

    def vision_modes(self) -> list[str]:
        """The vision modes of all stages, ``frozen`` left out."""
        asked = [self.vision if stage.vision is None else stage.vision for stage in self.stages or [StageOptions()]]
        return sorted({"last_n" if isinstance(mode, LastBlocks) else mode for mode in asked} - {"frozen"})

    def joins_questions(self) -> bool:
        """Whether any stage lets several questions share a conversation."""
        return any(stage.questions_per_image > 1 for stage in self.resolved_stages())

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
    def sides(self) -> int:
        """Conversations of a batch that a row becomes: two for a preference pair."""
        return 2 if self.method == "dpo" else 1

    @property
    def input_settings(self) -> InputSettings:
        """What is done to images, videos and chats before and in the processor."""
        return InputSettings(**{f.name: getattr(self, f.name) for f in fields(InputSettings)})

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
        UserError: no such file, no YAML mapping, an unknown key or a value that does not fit; or an adapter that
            cannot be trained further.
    """
    values = with_adapter_base(read_mapping(path))
    return parse_recipe(values, TrainRecipe, where=str(path), texts=read_texts(path))
