"""Answers a second: the local backend against a hand-written batched ``generate`` with a KV cache.

The same model, rows, batch size, limits and stop texts; the two run alternately in this process. The hand-written
one sorts by length, pads on the left and stops a row at a token with a stop text. Questions are 3 to 40 words
long. Once with four questions about each image, which the backend computes once, and once with one. The answers
must be the same: they are compared. Takes about three minutes on two cores.

python -m benchmarks.bench_generate [--model FOLDER] [--adapter FOLDER] [--rows N] [--rounds N]
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from evalsuite.backends import Request
from evalsuite.backends.model import Loaded, load_model, load_processor
from evalsuite.backends.stop import cut_at_stop
from evalsuite.backends.transformers import generate_replies, render
from evalsuite.recipe import ModelSettings

BATCH = 32
STOP = (".",)
LIMIT = 16
_WORDS = str.split(
    "is there a red blue green circle triangle in the image what colour does it have and where which one"
)


def make_requests(folder: Path, processor: Any, rows: int, questions: int) -> list[Request]:
    """``rows`` questions, ``questions`` about each image of a coloured shape."""
    rng = random.Random(0)
    requests = []
    for number in range(rows):
        path = folder / f"{questions}-{number // questions}.png"
        if not path.exists():
            image = Image.new("RGB", (64, 64), tuple(rng.randrange(256) for _ in range(3)))
            box = (rng.randrange(20), rng.randrange(20), 40 + rng.randrange(20), 40 + rng.randrange(20))
            ImageDraw.Draw(image).ellipse(box, fill=tuple(rng.randrange(256) for _ in range(3)))
            image.save(path)
        text = " ".join(rng.choices(_WORDS, k=rng.randint(3, 40))) + "?"
        chat = render(processor, text, 1, None)
        requests.append(Request(f"{number}", chat, (str(path),), (str(path),), LIMIT, STOP))
    return requests


def ours(loaded: Loaded, requests: list[Request]) -> dict[str, str]:
    """Answers of the backend by key."""
    parts = generate_replies(loaded, requests, batch_size=BATCH, share_prefix=True, known=lambda key: False)
    return {reply.key: cut_at_stop(reply.raw, STOP)[0] for part in parts for reply in part}


def by_hand(loaded: Loaded, requests: list[Request]) -> dict[str, str]:
    """Answers of a plain loop by key."""
    import torch

    model, processor = loaded.model, loaded.processor
    ending = torch.tensor(
        [token for text, token in processor.tokenizer.get_vocab().items() if any(end in text for end in STOP)]
    )

    def at_stop(written: Any, scores: Any, **_: Any) -> Any:
        return torch.isin(written[:, -1], ending)

    ordered = sorted(requests, key=lambda request: len(request.chat))
    answers: dict[str, str] = {}
    for start in range(0, len(ordered), BATCH):
        rows = ordered[start : start + BATCH]
        batch = processor(
            text=[request.chat for request in rows],
            images=[Image.open(request.images[0]).convert("RGB") for request in rows],
            padding=True, padding_side="left", add_special_tokens=False, return_tensors="pt",
        ).to(model.device, model.dtype)  # fmt: skip
        with torch.inference_mode():
            output = model.generate(
                **batch, max_new_tokens=LIMIT, do_sample=False, use_cache=True, stopping_criteria=[at_stop],
                eos_token_id=sorted(loaded.end_tokens), pad_token_id=processor.tokenizer.pad_token_id,
            )  # fmt: skip
        texts = processor.tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        for request, text in zip(rows, texts, strict=True):
            answers[request.key] = cut_at_stop(text, STOP)[0]
    return answers


def timed(work: Callable[[], dict[str, str]]) -> tuple[dict[str, str], float, float]:
    """The result, seconds by the clock, and CPU seconds of all threads."""
    clock, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - clock, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="data/models/demo-vlm")
    parser.add_argument("--adapter", type=Path, default=None)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if not Path(given.model).is_dir():
        print(f"{given.model} is not there: `make train` makes it, or give another with --model; nothing measured")
        return
    settings = ModelSettings(path=given.model, adapter=given.adapter)
    loaded = load_model(settings, load_processor(settings))
    print(
        f"{'questions an image':>20} {'rows':>6} {'ours, s':>9} {'by hand, s':>11} {'ratio':>6} {'CPU ratio':>10}  same"
    )
    with tempfile.TemporaryDirectory() as folder:
        for questions in (4, 1):
            requests = make_requests(Path(folder), loaded.processor, given.rows, questions)
            ours(loaded, requests[:BATCH])  # warm up
            times: list[tuple[float, float, float, float]] = []
            for _ in range(given.rounds):
                mine, clock, cpu = timed(lambda: ours(loaded, requests))  # noqa: B023  run at once
                theirs, their_clock, their_cpu = timed(lambda: by_hand(loaded, requests))  # noqa: B023
                times.append((clock, their_clock, cpu, their_cpu))
            same = sum(mine[key] == theirs[key] for key in theirs)
            clock, their_clock, cpu, their_cpu = (statistics.median(column) for column in zip(*times, strict=True))
            print(
                f"{questions:>20} {len(requests):>6} {clock:>9.2f} {their_clock:>11.2f} {clock / their_clock:>6.2f} "
                f"{cpu / their_cpu:>10.2f}  {same} of {len(requests)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
