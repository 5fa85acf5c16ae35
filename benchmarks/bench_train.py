"""Seconds a training step: Winnow against a minimal hand-written loop, and against TRL's SFTTrainer if installed.

The same tiny model, batches, masks and optimiser for all; the peers run alternately in this process. Ratios are of
CPU time, which other processes on the machine change least; data loading workers are not counted.
Joined conversations against one question per row: answers trained per second. Takes about two minutes.
A toy's step is so short that everything around the model shows; ``--model data/models/demo-vlm`` takes a real one.

python -m benchmarks.bench_train [--steps N] [--width W | --model FOLDER]
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import logging
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

from tests.finetune.toys import GENERATION, build_processor, llava_config, record, write_rows

LORA = 8
BATCH = 4
ROUNDS = 2
QUESTIONS = 4
RATE = 1e-4


def make_model(folder: Path, width: int) -> Path:
    """A random LLaVA: 8 + 2 blocks, 16,384 tokens."""
    import torch
    from transformers import LlavaForConditionalGeneration

    processor = build_processor(GENERATION)
    config = llava_config(processor.tokenizer)
    text = config.text_config
    text.hidden_size, text.intermediate_size, text.num_hidden_layers = width, 3 * width, 8
    text.vocab_size = 16384
    text.num_attention_heads, text.num_key_value_heads, text.head_dim = width // 64, width // 64, 64
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).bfloat16().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def make_rows(folder: Path, images: int) -> Path:
    """Four questions about each of ``images`` squares."""
    rng = random.Random(0)
    rows: list[dict[str, Any]] = []
    for number in range(images):
        Image.new("RGB", (64, 64), tuple(rng.randrange(256) for _ in range(3))).save(folder / f"{number}.png")
        for question in range(QUESTIONS):
            words = " ".join(rng.choices(["red", "green", "blue", "square", "is", "what"], k=24))
            rows.append(record(len(rows), f"{number}.png", f"<image>\n{words} {question}?", "a red square"))
    file: Path = write_rows(folder / "rows.jsonl", rows)
    return file


def recipe_of(model: Path, data: Path, out: Path, steps: int, questions_per_image: int) -> Any:
    from finetune.recipe import TrainRecipe

    return TrainRecipe(
        name="bench", out=out, model=str(model), data=data, quantization="none", lora_rank=LORA, lora_dropout=0.0,
        projector=False, batch_size=BATCH, questions_per_image=questions_per_image, learning_rate=RATE,
        scheduler="constant", warmup=0, max_steps=steps, num_workers=1, save_steps=10**6, max_length=512,
    )  # fmt: skip


def ours(recipe: Any) -> tuple[float, float]:
    """Median CPU seconds a step, and answers per CPU second, of Winnow's own trainer."""
    import torch

    from finetune.training import run as training
    from finetune.training.trainer import SampleLossTrainer

    stamps: list[float] = []
    answers = 0
    original = SampleLossTrainer.training_step

    def timed(self: Any, model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
        nonlocal answers
        stamps.append(time.process_time())
        answers += len(inputs["rows"])
        return original(self, model, inputs, *rest, **options)

    SampleLossTrainer.training_step = timed  # type: ignore[method-assign]
    try:
        shutil.rmtree(recipe.folder, ignore_errors=True)
        training.train(recipe)
    finally:
        SampleLossTrainer.training_step = original  # type: ignore[method-assign]
    torch.set_grad_enabled(True)
    return _median(stamps), answers / (len(stamps) * _median(stamps))


def by_hand(recipe: Any) -> float:
    """Median CPU seconds a step of the shortest loop that learns the same from the same batches."""
    import torch
    from torch.utils.data import DataLoader

    from finetune.data.collate import IGNORED, Collator
    from finetune.data.plan import input_digests, make_plan
    from finetune.data.rows import open_rows
    from finetune.model.load import load_processor
    from finetune.training.run import load_learner
    from winnow.run import Stages

    rows, processor = open_rows(recipe), load_processor(recipe.model)
    inputs = input_digests(recipe, rows)
    (schedule,) = make_plan(recipe, rows, processor, stages=Stages(recipe.folder), inputs=inputs).schedules
    dataset: Any = schedule  # a list is enough
    loader: Any = DataLoader(dataset, BATCH, collate_fn=Collator(processor, rows.image_root), num_workers=1)
    model = load_learner(recipe).model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0, fused=True)
    stamps = []
    for batch in itertools.islice(loader, recipe.max_steps):
        stamps.append(time.process_time())
        labels = batch.pop("labels")
        for key in ("owners", "rows", "epochs"):
            batch.pop(key)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(**batch, use_cache=False).logits
        wanted = labels[:, 1:] != IGNORED
        loss: Any = torch.nn.functional.cross_entropy(logits[:, :-1][wanted].float(), labels[:, 1:][wanted])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad()
    return _median(stamps)


def by_trl(recipe: Any) -> float | None:
    """Median CPU seconds a step of TRL's SFTTrainer on one question per row; None where it is not installed."""
    if importlib.util.find_spec("trl") is None:
        return None
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from finetune.data.rows import open_rows
    from finetune.model.load import fastest_attention

    rows = open_rows(recipe)
    lines = []
    for number in range(BATCH * recipe.max_steps):
        sample = rows[number % len(rows)]
        messages = [
            {"role": "user", "content": sample.question}, {"role": "assistant", "content": sample.answer}
        ]  # fmt: skip
        lines.append({"images": [str(rows.image_root / sample.image[0])], "messages": messages})
    stamps: list[float] = []

    processors: Any = AutoProcessor  # its methods have no types
    model = AutoModelForImageTextToText.from_pretrained(
        recipe.model, dtype=torch.bfloat16, attn_implementation=fastest_attention(recipe.max_length)
    )
    trainer: Any = SFTTrainer(
        model=model, processing_class=processors.from_pretrained(recipe.model),
        train_dataset=Dataset.from_list(lines),
        args=SFTConfig(
            output_dir=str(recipe.folder / "trl"), max_steps=recipe.max_steps, per_device_train_batch_size=BATCH,
            learning_rate=RATE, lr_scheduler_type="constant", use_cpu=True, bf16=True, max_length=None,
            assistant_only_loss=True, gradient_checkpointing=False, dataloader_num_workers=1, save_strategy="no",
            report_to=[], disable_tqdm=True, logging_steps=10,
        ),
        peft_config=LoraConfig(
            r=LORA, lora_dropout=0.0, task_type="CAUSAL_LM", target_modules=r".*language_model.*_proj"
        ),
    )  # fmt: skip
    step = trainer.training_step

    def timed(*inputs: Any, **options: Any) -> Any:
        stamps.append(time.process_time())
        return step(*inputs, **options)

    trainer.training_step = timed
    trainer.train()
    return _median(stamps)


def _median(stamps: list[float]) -> float:
    """Median gap between steps; the first two, which warm up, are left out."""
    return statistics.median(later - earlier for earlier, later in itertools.pairwise(stamps[2:]))


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--width", type=int, default=256, help="width of the toy's decoder; a multiple of 64")
    parser.add_argument("--model", type=Path, help="a checkpoint instead of the toy")
    chosen = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, data = chosen.model or make_model(folder / "model", chosen.width), make_rows(folder, 96)
        single = recipe_of(model, data, folder / "single", chosen.steps, 1)
        joined = recipe_of(model, data, folder / "joined", chosen.steps, QUESTIONS)
        times: dict[str, list[float]] = {"ours": [], "by hand": [], "TRL": []}
        rates: dict[str, list[float]] = {"single": [], "joined": []}
        for _ in range(ROUNDS):
            seconds, rate = ours(single)
            times["ours"].append(seconds)
            rates["single"].append(rate)
            times["by hand"].append(by_hand(single))
            if chosen.model is None and (theirs := by_trl(single)) is not None:
                times["TRL"].append(theirs)
            rates["joined"].append(ours(joined)[1])
    best = {name: min(values) for name, values in times.items() if values}
    for name, value in best.items():
        print(f"{name}: {value * 1000:.1f} ms of CPU a step, ours takes {best['ours'] / value:.3f} of that")
    if "TRL" not in best:
        print("TRL: left out; it needs `pip install trl`, and the toy, whose chat template marks answers")
    alone, together = max(rates["single"]), max(rates["joined"])
    print(
        f"answers a CPU second: one question per row {alone:.0f}, joined {together:.0f} ({together / alone:.2f} times)"
    )


if __name__ == "__main__":
    main()
