"""Loads a checkpoint as a server would and asks it: ``python -m finetune.export.worker.answer JOB``.

It runs in a process of its own, with the library that will serve the checkpoint, and takes processor, chat template and
weights from the checkpoint's folder alone.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from finetune.export.worker.job import Answered, AnswerJob, Asked, Scored

LOGITS, OUTPUTS, REPLIES = "logits.safetensors", "outputs.json", "replies.jsonl"


def load(job: AnswerJob) -> tuple[Any, Any]:
    """Model and processor of the folder."""
    from transformers import AutoProcessor
    from transformers.utils import logging

    logging.disable_progress_bar()
    processor = AutoProcessor.from_pretrained(job.model, trust_remote_code=False)
    processor.tokenizer.padding_side = "left"
    if job.library == "openvino":
        from optimum.intel import OVModelForVisualCausalLM

        model = OVModelForVisualCausalLM.from_pretrained(job.model, trust_remote_code=False)
        if hasattr(model.config, "image_seq_length"):  # with fewer, optimum-intel takes each for a whole image
            model.config.image_seq_length = 1
        return model, processor
    from transformers import AutoModelForImageTextToText

    loaded: Any = AutoModelForImageTextToText.from_pretrained(
        job.model, dtype="auto", device_map={"": job.device}, trust_remote_code=False, use_safetensors=True,
        output_loading_info=True,
    )  # fmt: skip
    model, found = loaded
    # transformers loads such a checkpoint with a warning, and with random numbers in the place of what it misses.
    if wrong := sorted(map(str, [*found["missing_keys"], *found["unexpected_keys"], *found["mismatched_keys"]])):
        sys.exit(f"{len(wrong)} tensors are missing, not expected or of another shape, first {wrong[0]}")
    return model.eval(), processor


def score_prompts(job: AnswerJob, model: Any, processor: Any) -> None:
    """Write logits on the reference answers, greedy answers and prompt tokens of the prompts."""
    import torch
    from safetensors.torch import save_file

    logits, answers, tokens = [], [], []
    for prompt in job.prompts:
        inputs = _on(model, prompt_inputs(processor, prompt))
        length = inputs["input_ids"].shape[1]
        tokens.append(inputs["input_ids"][0].tolist())
        with torch.inference_mode():
            scores = model(**continued(inputs, prompt.continuation)).logits[0].float().cpu()
            generated = model.generate(
                **inputs, do_sample=False, max_new_tokens=job.max_new_tokens, eos_token_id=job.end_tokens,
                pad_token_id=processor.tokenizer.pad_token_id, return_dict_in_generate=True, output_logits=True,
            )  # fmt: skip
        # The logits at a place predict the token behind it.
        places = [length + place - 1 for place in prompt.predicted][: job.compared_tokens]
        logits.append(scores[places])
        chosen = generated.sequences[0, length:].tolist()
        best = torch.cat([torch.as_tensor(step) for step in generated.logits]).float().topk(2).values
        text = processor.tokenizer.decode(chosen, skip_special_tokens=True).strip()
        answers.append({"text": text, "tokens": chosen, "margins": (best[:, 0] - best[:, 1]).tolist()})
    save_file({"logits": torch.cat(logits).contiguous()}, job.out / LOGITS)
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
    outputs = {"answers": answers, "prompt_tokens": tokens, "packages": versions}
    (job.out / OUTPUTS).write_text(json.dumps(outputs), encoding="utf-8")


def prompt_inputs(processor: Any, prompt: Scored) -> dict[str, Any]:
    """The processor's tensors for one prompt."""
    output = processor(
        text=[prompt.text], images=[_opened(prompt.images)] if prompt.images else None,
        text_kwargs={"return_tensors": "pt", "add_special_tokens": prompt.add_special_tokens},
        images_kwargs={"return_tensors": "pt"},
    )  # fmt: skip
    return dict(output)


def continued(inputs: dict[str, Any], tokens: list[int]) -> dict[str, Any]:
    """The inputs with further text tokens behind them."""
    import torch

    shape = inputs["input_ids"].shape
    grown = {}
    for name, value in inputs.items():
        if getattr(value, "shape", None) == shape:
            fill = torch.tensor([tokens]) if name == "input_ids" else torch.full((1, len(tokens)), _fill(name))
            value = torch.cat([value, fill.to(value.device, value.dtype)], dim=1)
        grown[name] = value
    return grown


def _fill(name: str) -> int:
    return int(name == "attention_mask")


def answer_questions(job: AnswerJob, model: Any, processor: Any) -> None:
    """Append a reply for every question that has none yet, batch by batch."""
    path = job.out / REPLIES
    known = {reply.key for reply in read_replies(path)}
    asked = [Asked.model_validate_json(line) for line in job.questions.read_text(encoding="utf-8").splitlines()]
    # Rows of like length share a batch. Batches depend on the questions alone, so a resumed job gives the same replies.
    asked.sort(key=lambda each: (each.max_new_tokens, each.stop, len(each.images), len(each.text), each.key))
    alike = [list(group) for _, group in groupby(asked, key=lambda each: (each.max_new_tokens, each.stop))]
    size = job.batch_size
    batches = [group[start : start + size] for group in alike for start in range(0, len(group), size)]
    with path.open("a", encoding="utf-8") as file:
        for number, batch in enumerate(batches):
            if all(each.key in known for each in batch):
                continue
            lines = [reply.model_dump_json() + "\n" for reply in _answers(job, model, processor, batch)]
            file.write("".join(lines))
            file.flush()
            print(f"asked {number + 1:,} of {len(batches):,} batches", file=sys.stderr, flush=True)


def _answers(job: AnswerJob, model: Any, processor: Any, batch: list[Asked]) -> Iterator[Answered]:
    import torch

    tokenizer, stops = processor.tokenizer, batch[0].stop
    started = time.monotonic()
    images = [_opened(each.images) for each in batch]
    inputs = processor(
        text=[each.text for each in batch], images=images if any(images) else None, padding=True, padding_side="left",
        add_special_tokens=False, return_tensors="pt",
    )  # fmt: skip
    inputs = _on(model, dict(inputs))
    width = inputs["input_ids"].shape[1]
    with torch.inference_mode():
        output = model.generate(
            **inputs, do_sample=False, num_beams=1, repetition_penalty=1.0, max_new_tokens=batch[0].max_new_tokens,
            eos_token_id=job.end_tokens, pad_token_id=tokenizer.pad_token_id,
            **({"stop_strings": stops, "tokenizer": tokenizer} if stops else {}),
        )  # fmt: skip
    seconds = (time.monotonic() - started) / len(batch)
    lengths = inputs["attention_mask"].sum(dim=1).tolist()
    for each, tokens, length in zip(batch, output[:, width:].tolist(), lengths, strict=True):
        end = next((place for place, token in enumerate(tokens) if token in job.end_tokens), None)
        kept = tokens if end is None else tokens[:end]
        texts = (tokenizer.decode(kept[: place + 1]) for place in range(len(kept)))
        stopped = next((place for place, text in enumerate(texts) if any(stop in text for stop in stops)), None)
        kept = kept if stopped is None else kept[: stopped + 1]
        yield Answered(
            key=each.key, raw=tokenizer.decode(kept), finish_reason="length" if end is stopped is None else "stop",
            input_tokens=int(length), tokens=len(kept), seconds=seconds,
        )  # fmt: skip


def read_replies(path: Path) -> list[Answered]:
    """The whole lines of a file of replies, each key once; a line that a kill cut off is removed from the file."""
    if not path.is_file():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        path.write_bytes(whole)
    found = [Answered.model_validate_json(line) for line in whole.splitlines()]
    return list({reply.key: reply for reply in found}.values())


def _opened(files: list[Path]) -> list[Any]:
    from PIL import Image

    images = []
    for file in files:
        with Image.open(file) as image:
            images.append(image.convert("RGB"))
    return images


def _on(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs on the model's device, floats in its dtype."""
    dtype = getattr(model, "dtype", None)
    return {
        name: value.to(model.device, dtype) if value.is_floating_point() else value.to(model.device)
        for name, value in inputs.items()
    }


def main() -> None:
    """Do a job."""
    job = AnswerJob.model_validate_json(Path(sys.argv[1]).read_bytes())
    model, processor = load(job)
    if not (job.out / OUTPUTS).is_file():
        score_prompts(job, model, processor)
    answer_questions(job, model, processor)


if __name__ == "__main__":
    main()
