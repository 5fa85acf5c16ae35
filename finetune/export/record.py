"""``export.json``: how an exported model was made, how close it is to the trained one, and which engines take it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finetune.export.worker.job import Method
from winnow.errors import UserError
from winnow.files import write_text

RECORD = "export.json"
FORMAT: Literal[1] = 1
EngineName = Literal["vllm", "lmdeploy", "transformers", "openvino"]
METHODS: tuple[Method, ...] = get_args(Method)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Calibration(_Part):
    """The rows that the quantiser saw.

    Attributes:
        data: the recipe's sets, by name.
        rows: how many; 0: the method takes none.
        seed: of the draw.
        sample_ids: of the rows, in their order.
        left_out: rows that were not drawn from, as the evaluation or the kept prompts have their image.
    """

    data: dict[str, str] = Field(default_factory=dict)
    rows: int = 0
    seed: int = 0
    sample_ids: list[str] = Field(default_factory=list)
    left_out: int = 0


class Agreement(_Part):
    """Outputs on the run's kept prompts against the trained model's; shares from 0 to 1.

    Attributes:
        prompts, tokens: how many prompts and answer tokens were compared.
        held_out: whether no stage was trained on the prompts.
        logit_error: |exported - trained| / |trained|, norms over all logits of the reference answers.
        top_token: answer tokens with the same most likely token.
        answers: prompts with the same greedy answer.
        prompt_tokens: prompts with the same token ids.
    """

    prompts: int
    tokens: int
    held_out: bool
    logit_error: float
    top_token: float
    answers: float
    prompt_tokens: float


class TaskAccuracy(_Part):
    """A task's first metric, of the exported and the trained model on the same questions; scores from 0 to 1.

    Attributes:
        adapter, exported: the scores.
        loss: how much worse the exported model is, positive whichever way the metric runs.
        low, high: 95 % interval of ``loss``, paired, by bootstrap over images; None with fewer than two images.
        p: two-sided; McNemar's exact test where rows are right or wrong and share no image, else the bootstrap's.
        rows, images: how many were compared.
        only_adapter, only_exported: questions that only one of the two has right; None: not right or wrong.
    """

    task: str
    metric: str
    adapter: float
    exported: float
    loss: float
    low: float | None
    high: float | None
    p: float | None
    rows: int
    images: int
    only_adapter: int | None
    only_exported: int | None


class Accuracy(_Part):
    """The verdict on the evaluation tasks.

    Attributes:
        max_loss: largest loss that is let through, from 0 to 1.
        passed: no task's loss is larger.
        settled: no interval reaches across ``max_loss``, so that other questions would hardly change the verdict.
    """

    tasks: list[TaskAccuracy]
    max_loss: float
    passed: bool
    settled: bool


class Speed(_Part):
    """What the exported model took for the evaluation's questions, in batches, in the library that loaded it.

    Attributes:
        tokens_per_second: generated tokens; prompts count in the time.
    """

    library: str
    device: str
    questions: int
    batch_size: int
    seconds: float
    tokens_per_second: float


class Engine(_Part):
    """Whether an engine takes the model.

    Attributes:
        basis: ``run``: it was loaded and asked here; ``rules``: read from the engine's published rules.
        why: a sentence: what was run, or which rule decides.
    """

    accepts: bool
    basis: Literal["run", "rules"]
    why: str


class ExportRecord(_Part):
    """All of ``export.json``.

    Attributes:
        model: folder of the checkpoint, relative to the record.
        base_run: the run of `finetune train`.
        base: model that the run started from.
        adapter: digest of the run's adapter.
        ignored: modules that were not quantised, as regular expressions after ``re:``, or names.
        group_size: weights that share a scale; None: a whole row, or the method has no groups.
        symmetric, act_order: of the weights' grid; None: the method has no such choice.
        size_bytes: of the weight files.
        merged_bytes: of those of the merged model in 16 bit.
        seconds: stage → wall time.
        packages: versions that quantised and loaded it.
        notes: what a server must be given to prepare inputs as in training, as sentences.
    """

    format: Literal[1] = FORMAT
    name: str
    method: Method
    model: str
    base_run: str
    base: str
    adapter: str
    calibration: Calibration
    ignored: list[str]
    group_size: int | None
    symmetric: bool | None
    act_order: bool | None
    size_bytes: int
    merged_bytes: int
    seconds: dict[str, float]
    packages: dict[str, str]
    agreement: Agreement
    accuracy: Accuracy
    speed: Speed
    engines: dict[EngineName, Engine]
    notes: list[str]

    @property
    def passed(self) -> bool:
        """Whether the prompts are the trained model's and no task lost more than was allowed."""
        return self.accuracy.passed and self.agreement.prompt_tokens == 1.0


def write_record(folder: Path, record: ExportRecord) -> None:
    """Write ``export.json`` to ``folder``."""
    write_text(folder / RECORD, record.model_dump_json(indent=2) + "\n")


def read_record(folder: Path) -> ExportRecord:
    """The record of an exported model.

    Raises:
        UserError: there is none, or it is of another version.
    """
    path = folder / RECORD
    try:
        return ExportRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{folder}: has no {RECORD}; make an export with `finetune export RUN --to gptq`") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {place}: {first['msg']}; export the run again") from error
