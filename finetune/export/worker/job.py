"""What the workers of an export are told and what they answer, as JSON files.

The workers run in an environment of their own, whose libraries are other versions than Winnow's: this module and
its neighbours import pydantic, torch and what they drive there, and nothing of Winnow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

Method = Literal["gptq", "rtn", "awq", "fp8", "int8", "openvino-int4", "openvino-int8", "merged"]
Library = Literal["transformers", "openvino"]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class QuantiseJob(_Message):
    """A checkpoint to quantise.

    Attributes:
        model: folder of the merged checkpoint, in 16 bit.
        out: folder to write.
        ignored: ``re:`` and a regular expression each, matched from the start of a module's full name.
        decoder: regular expression of the decoder's layers, for AWQ's mappings; None for other methods.
        group_size: weights of a row that share a scale; None: the method has no groups.
        calibration: folder of ``00000.safetensors`` …, the model's inputs for one row each; None: no rows.
        device: of the model while it is quantised.
    """

    format: Literal[1] = 1
    method: Method
    model: Path
    out: Path
    ignored: list[str]
    decoder: str | None
    group_size: int | None
    calibration: Path | None
    device: str


class QuantiseDone(_Message):
    """What the quantiser did.

    Attributes:
        quantised: how many modules are quantised.
        packages: versions that matter.
    """

    quantised: int
    seconds: float
    symmetric: bool | None
    act_order: bool | None
    packages: dict[str, str]


class Scored(_Message):
    """A kept prompt, and the reference answer that logits are asked for.

    Attributes:
        text: the rendered chat.
        images: files, as the processor shall see them.
        add_special_tokens: of the processor's call.
        continuation: token ids from the end of the prompt to the end of the reference answer.
        predicted: places in ``continuation`` whose prediction is compared.
    """

    text: str
    images: list[Path]
    add_special_tokens: bool
    continuation: list[int]
    predicted: list[int]


class Asked(_Message):
    """A question of the evaluation, rendered; fields are as in ``evalsuite.backends.Request``."""

    key: str
    text: str
    images: list[Path]
    max_new_tokens: int
    stop: list[str]


class AnswerJob(_Message):
    """Prompts to score and questions to ask a checkpoint in a fresh process.

    Attributes:
        prompts: their outputs go to ``out/outputs.json`` and ``out/logits.safetensors``.
        questions: file of ``Asked`` lines; replies are appended to ``out/replies.jsonl``, and those there are kept.
        max_new_tokens: of the prompts' greedy answers.
        compared_tokens: most logits of a prompt.
        end_tokens: ids that end an answer.
    """

    format: Literal[1] = 1
    library: Library
    model: Path
    out: Path
    prompts: list[Scored]
    questions: Path
    batch_size: int
    max_new_tokens: int
    compared_tokens: int
    end_tokens: list[int]
    device: str


class Answered(_Message):
    """A line of ``replies.jsonl``; ``tokens`` does not count the end token."""

    key: str
    raw: str
    finish_reason: Literal["stop", "length"]
    input_tokens: int
    tokens: int
    seconds: float
