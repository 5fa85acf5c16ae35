"""Preference pairs for TRL's DPOTrainer, and for ``method: dpo`` of ``finetune``.

The rejected answer of a row is its own (``rejected``), else what a reviewer has corrected, else what an evaluated model
answered wrongly. Rows with none of these are rejected.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from curate.exports.json_lines import write_lines
from curate.exports.rows import Format, Row, Target, Unfit
from curate.exports.trl import LOAD, trl_record
from winnow.errors import UserError
from winnow.rows.records import Sample
from winnow.run import read_manifest


def pair_record(row: Row, paths: list[str], target: Target) -> tuple[str, dict[str, Any]]:
    """A row as a preference pair for TRL."""
    sample = row.sample
    if not any(sample.meta.get(key) for key in ("rejected", "rejected_messages", "rejected_images")):
        sample = _corrected_pair(sample) or _mistaken_pair(sample, target)
    return trl_record(replace(row, sample=sample), paths, target)


def _corrected_pair(sample: Sample) -> Sample | None:
    """The corrected answer against the former one, in the turn that was corrected; None if none was."""
    before = sample.meta.get("before_correction")
    if not isinstance(before, dict) or not isinstance(former := before.get("answer"), str):
        return None
    if "question" in before:
        raise Unfit("its question was corrected too, so the former answer need not be wrong")
    if not former.strip():
        raise Unfit("the answer that was corrected is empty")
    first = next(number for number, turn in enumerate(sample.conversations) if turn.role == "assistant")
    meta = {key: value for key, value in sample.meta.items() if key != "turn_fields"}
    return replace(sample, conversations=sample.conversations[: first + 1], meta={**meta, "rejected": former})


def _mistaken_pair(sample: Sample, target: Target) -> Sample:
    mistake = target.mistakes.get(sample.id)
    asked = [turn.role for turn in sample.conversations if turn.role != "system"]
    if mistake is None or mistake[0] != sample.question or asked != ["user", "assistant"]:
        raise Unfit("it has no rejected answer: none of its own, no correction, no wrong reply to its question")
    return replace(sample, meta={**sample.meta, "rejected": mistake[1]})


def read_mistakes(evaluation: Path) -> dict[str, tuple[str, str]]:
    """sample_id → question and reply of each row that an evaluation's first metric calls wrong.

    Raises:
        UserError: the folder is no finished evaluation.
    """
    path = evaluation / "predictions.parquet"
    if read_manifest(evaluation, finish_with="evalsuite run RECIPE").get("stage") != "evalsuite" or not path.is_file():
        raise UserError(f"{evaluation}: is not an evaluation; give a folder that `evalsuite run` made")
    found = {}
    with pq.ParquetFile(path) as file:
        right = [name for name in file.schema_arrow.names if name.endswith("_right")]
        for batch in file.iter_batches(columns=["sample_id", "question", "raw", "status", *right]):
            for line in batch.to_pylist():
                verdict = next((line[name] for name in right if line[name] is not None), None)
                reply = (line["raw"] or "").strip()
                if line["status"] == "ok" and verdict is False and reply:
                    found[line["sample_id"]] = line["question"], reply
    return found


FORMATS = {
    "trl-dpo": Format(
        functools.partial(write_lines, record_of=pair_record, kinds=("preference",)),
        {"preference": LOAD % "DPOTrainer"},
    )
}
