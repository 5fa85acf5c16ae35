"""The evaluation recipe: which model answers which tasks, and where the answers go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from curate.config import StrictModel

Count = Annotated[int, Field(ge=1)]


class ModelSettings(StrictModel):
    """The model, as ``AutoModelForImageTextToText`` loads it.

    Attributes:
        path: folder or hub id of a checkpoint.
        revision: commit or tag of a hub id.
        adapter: PEFT adapter folder on top of it.
        quantization: ``nf4`` loads the language model in 4-bit NF4 (double quantisation); vision
            tower, projector and output layer stay as they are.
        merge_adapter: ``dequantized`` merges the adapter into the weights the model computes with,
            after 4-bit weights were expanded: the function that was trained, within rounding, and
            much faster on CPUs. ``none`` keeps base and adapter apart.
        dtype: of weights and products; ``auto`` is bfloat16 where the machine computes it natively.
        device: ``auto`` takes a GPU if there is one.
        share_prefix: compute an image once for all questions about it. Only done for models on
            which a check at the start finds the same answers.
    """

    path: str
    revision: str | None = None
    adapter: Path | None = None
    quantization: Literal["none", "nf4"] = "none"
    merge_adapter: Literal["dequantized", "none"] = "dequantized"
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    device: str = "auto"
    share_prefix: bool = True


class EvalRecipe(StrictModel):
    """One run: a model, tasks, an output folder.

    Attributes:
        name: names the output folder ``data/evals/<name>``.
        out: another output folder.
        tasks: names of shipped tasks (``evalsuite tasks`` lists them) or paths of task YAML files.
        limit: ask at most so many rows of each task, drawn with ``seed``; null asks all.
        batch_size: rows in one forward pass.
        seed: of sampling for ``limit`` and of every bootstrap.
        baseline: an earlier evaluation folder to compare with, row by row.
    """

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    out: Path | None = None
    model: ModelSettings
    tasks: Annotated[list[str], Field(min_length=1)]
    limit: Count | None = None
    batch_size: Count = 64
    seed: int = 0
    baseline: Path | None = None

    @model_validator(mode="after")
    def _no_task_twice(self) -> EvalRecipe:
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError("a task is listed twice")
        return self

    @property
    def folder(self) -> Path:
        """The evaluation folder."""
        return self.out or Path("data/evals") / self.name
