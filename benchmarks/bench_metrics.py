"""Caption metrics against pycocoevalcap, its Java tokeniser included, on as many captions as Flickr8k has.

python -m benchmarks.bench_metrics [--images N]

The peer is timed in the same run where Java and pycocoevalcap are there; the scores must be equal.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import os
import random
import shutil
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from evalsuite.metrics import anls, bleu, cider, rouge_l, vqa_accuracy
from evalsuite.metrics.ptb_tokenizer import _cached_tokens, _tokens_of_caption, ptb_tokenize

REFERENCES = 5
_SYLLABLES = str.split("ba co di fu ga he ka lo mi nu pa re sa to vi wa ze ri sta gre shi pla tra blu ing er on ed le")
_COMMON = str.split(
    "a a a the in on of and with is to his her two man dog woman red black white people are boy girl standing running"
    " ball grass water street snow young playing t-shirt man's through by wearing holding it while into"
)


def vocabulary(count: int, draw: random.Random) -> list[str]:
    """As many different made-up words."""
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(draw.choice(_SYLLABLES) for _ in range(draw.randint(2, 4)))] = None
    return list(words)


def captions(images: int, draw: random.Random) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Predictions and five references an image: about 11 words, common ones half the time, a full stop at the end."""
    rare = vocabulary(8000, draw)
    weights = list(np.cumsum(1 / np.arange(1, len(rare) + 1)))

    def words(topic: list[str]) -> str:
        length = max(3, round(draw.gauss(9.8, 3)))
        chosen = [draw.choice(topic) if draw.random() < 0.45 else draw.choice(_COMMON) for _ in range(length)]
        chosen.append(draw.choice(topic))  # after "a." the original looks across the line break, ours does not
        return " ".join(chosen).capitalize() + draw.choice((" .", ".", ".", ""))

    predictions, references = {}, {}
    for number in range(images):
        topic = draw.choices(rare, cum_weights=weights, k=6)
        predictions[str(number)] = words(topic)
        references[str(number)] = [words(topic) for _ in range(REFERENCES)]
    return predictions, references


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Result and seconds of CPU, those of a child (Java) included: what other jobs do changes them little."""
    before = os.times()
    result = work()
    after = os.times()
    return result, sum(after[:4]) - sum(before[:4])


def peer_scores(predictions: dict[str, str], references: dict[str, list[str]]) -> dict[str, tuple[Any, float]]:
    """pycocoevalcap's steps: (result, seconds of CPU) each."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        gts = {key: [{"caption": text} for text in texts] for key, texts in references.items()}
        res = {key: [{"caption": text}] for key, text in predictions.items()}
        tokens, seconds = timed(lambda: (PTBTokenizer().tokenize(gts), PTBTokenizer().tokenize(res)))
        found = {"tokenise": (tokens, seconds)}
        for name, scorer in (("bleu", Bleu(4)), ("rouge_l", Rouge()), ("cider", Cider())):
            found[name] = timed(lambda scorer=scorer: scorer.compute_score(*tokens))
    return found


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=8091)
    images = parser.parse_args().images
    predictions, references = captions(images, random.Random(0))
    texts = [*predictions.values(), *(text for listed in references.values() for text in listed)]
    ptb_tokenize("é and ascii")  # compiles the patterns
    _cached_tokens.cache_clear()
    _, tokenising = timed(lambda: [ptb_tokenize(text) for text in texts])
    _cached_tokens.cache_clear()
    _tokens_of_caption.cache_clear()
    clock = time.perf_counter()
    ours = {
        "bleu": timed(lambda: bleu(predictions, references)),
        "rouge_l": timed(lambda: rouge_l(predictions, references)),
        "cider": timed(lambda: cider(predictions, references)),
    }
    clock = time.perf_counter() - clock
    total = sum(seconds for _, seconds in ours.values())
    print(
        f"{images:,} images, {len(texts):,} captions, seconds of CPU; ours: tokenise {tokenising:.2f}, text to scores:"
    )
    print("  " + ", ".join(f"{name} {seconds:.2f}" for name, (_, seconds) in ours.items()), end="")
    print(f"; all three {total:.2f} ({clock:.2f} on the clock)")
    if shutil.which("java") and importlib.util.find_spec("pycocoevalcap"):
        started = time.perf_counter()
        peer = peer_scores(predictions, references)
        compare(peer, ours, tokenising, total)
        print(f"  on the clock {time.perf_counter() - started:.2f} s against {clock:.2f} s")
    else:
        print("  pycocoevalcap or Java is not here: no ratio")
    answers = [["yes"] * 6 + ["no"] * 4] * 20_000
    _, seconds = timed(lambda: [vqa_accuracy(f"answer {n % 5000}", given) for n, given in enumerate(answers)])
    print(f"VQA accuracy: {len(answers) / seconds:,.0f} rows a second", end="; ")
    _, seconds = timed(lambda: [anls("a year of nineteen", ["in the year 1969", "1969"]) for _ in range(20_000)])
    print(f"ANLS: {20_000 / seconds:,.0f} rows a second")


def compare(
    peer: dict[str, tuple[Any, float]], ours: dict[str, tuple[Any, float]], tokenising: float, total: float
) -> None:
    """Print the peer's seconds, the ratios, and the largest difference of any score."""
    seconds = {name: one for name, (_, one) in peer.items()}
    whole = sum(seconds.values())
    print("  pycocoevalcap: " + ", ".join(f"{name} {one:.2f}" for name, one in seconds.items()) + f"; all {whole:.2f}")
    print(f"  ratio: end to end {whole / total:.1f}x, tokenising {seconds['tokenise'] / tokenising:.1f}x", end="; ")
    gaps = []
    for name in ("bleu", "rouge_l", "cider"):
        corpus, each = peer[name][0]
        found = ours[name][0]
        values = np.array(list(found.per_sample.values()))
        gaps.append(np.abs(np.array(found.corpus) - np.array(corpus)).max())
        gaps.append(np.abs(values - (np.array(each).T if name == "bleu" else np.array(each))).max())
    print(f"largest difference of any score, corpus or caption: {max(gaps):.1e}")


if __name__ == "__main__":
    main()
