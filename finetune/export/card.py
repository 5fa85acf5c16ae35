"""The card of an exported model: how it was made, what it lost, and which engines take it."""

from __future__ import annotations

from pathlib import Path

import yaml

from finetune.export.questions import accuracy_sentences
from finetune.export.record import ExportRecord
from winnow.files import write_text
from winnow.remote.downloads import plain_name

_KINDS = {
    "gptq": "W4A16 by GPTQ", "rtn": "W4A16 by rounding to nearest", "awq": "W4A16 by AWQ", "fp8": "FP8, dynamic",
    "int8": "INT8 W8A8, dynamic", "openvino-int4": "OpenVINO, 4-bit weights",
    "openvino-int8": "OpenVINO, 8-bit weights", "merged": "16 bit, merged",
}  # fmt: skip


def write_card(folder: Path, record: ExportRecord) -> None:
    """Write ``README.md``, with front matter for the hub."""
    front = {
        "base_model": plain_name(record.base),
        "pipeline_tag": "image-text-to-text",
        "tags": ["winnow", record.method],
    }
    share = record.size_bytes / record.merged_bytes
    agreement, speed = record.agreement, record.speed
    engines = "\n".join(
        f"| {name} | {'yes' if engine.accepts else 'no'} | {'run' if engine.basis == 'run' else 'read from its rules'} "
        f"| {engine.why} |"
        for name, engine in record.engines.items()
    )
    text = f"""---
{yaml.safe_dump(front, sort_keys=False).rstrip()}
---
# {record.name}

{_KINDS[record.method]}, exported by Winnow from `{record.base_run}`, a fine-tuned `{record.base}`.
{record.size_bytes / 1e6:,.1f} MB of weights, {share:.0%} of the merged model's.

## How it was made

{_made(record)}

## Against the trained model

{"".join(f"- {sentence}{chr(10)}" for sentence in accuracy_sentences(record.accuracy))}- on {agreement.prompts} \
{"held-out" if agreement.held_out else "training"} prompts: same prompt tokens {agreement.prompt_tokens:.0%}, same \
greedy answer {agreement.answers:.0%}, same top token {agreement.top_token:.1%}, relative logit error \
{agreement.logit_error:.4f}
- {speed.questions:,} questions took {speed.seconds:,.1f} s in {speed.library} on {speed.device}, in batches of \
{speed.batch_size}: {speed.tokens_per_second:,.1f} generated tokens per second, prompts included

## Engines

| engine | takes it | how that is known | why |
|---|---|---|---|
{engines}
{_notes(record)}"""
    write_text(folder / "README.md", text)


def _made(record: ExportRecord) -> str:
    if record.method == "merged":
        return "The adapter was added to the weights that it was trained on. Nothing is quantised."
    lines = []
    if record.group_size is not None:
        lines.append(f"- groups of {record.group_size} weights share a scale")
    if record.symmetric is not None:
        lines.append(f"- {'symmetric' if record.symmetric else 'asymmetric'} weights")
    if record.act_order:
        lines.append("- act order: static, columns by the size of their inputs")
    if record.ignored:
        lines.append("- whole: " + ", ".join(f"`{pattern}`" for pattern in record.ignored))
    else:
        lines.append("- the language model alone; its output layer in 8 bits")
    if record.calibration.rows:
        data = ", ".join(f"`{place}`" for place in record.calibration.data.values())
        lines.append(
            f"- calibrated on {record.calibration.rows} rows of {data}, drawn with seed {record.calibration.seed} from "
            "those that were trained on, with their images; no row with an image of the evaluation"
        )
    else:
        lines.append("- no calibration")
    versions = ", ".join(f"{name} {version}" for name, version in record.packages.items())
    return "\n".join([*lines, f"- {versions}"])


def _notes(record: ExportRecord) -> str:
    if not record.notes:
        return ""
    return "\nServers must prepare inputs as training did:\n\n" + "".join(f"- {note}\n" for note in record.notes)
