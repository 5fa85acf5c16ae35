"""Seconds and memory of ``evalsuite score`` on a million stored predictions, on one core.

    python -m benchmarks scoring [--rows 1000000] [--captions 40000] [--peer FILE]

Three evaluations are generated as a run leaves them: short answers with ten references each and two metrics, letters
of options, and captions with five references. Each is scored in a process of its own that may use one core; the
peak is the largest resident set of that process. ``--peer`` is the ``vqaEval.py`` of the VQA challenge
(GT-Vision-Lab/VQA, PythonEvaluationTools/vqaEvaluation), which is timed on a sample of the same rows; its total
must equal ours.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.bench_metrics import REFERENCES, captions, vocabulary
from evalsuite.metrics import vqa_accuracy
from evalsuite.store import BASE_SCHEMA, PREDICTIONS, TIMINGS
from evalsuite.tasks.spec import TaskSpec, dumped
from winnow.run import write_manifest

PEOPLE = 10
_PART = 50_000  # rows of a row group
_OPENINGS = (
    "what is",
    "what color is",
    "how many",
    "is the",
    "is there a",
    "where is",
    "who",
    "why",
    "which",
    "does the",
)
_THINGS = ("dog", "cat", "table", "man", "woman", "bus", "kite", "sign", "plate", "tree", "horse", "laptop", "umbrella")
_CHILD = """
import json, os, resource, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from evalsuite.cli import app
try:
    app(sys.argv[1:])
except SystemExit as ended:
    code = ended.code or 0
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([code, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--captions", type=int, default=40_000)
    parser.add_argument("--peer", type=Path)
    options = parser.parse_args()
    print(f"{'':<34}{'rows':>10}{'seconds':>10}{'of CPU':>10}{'peak MB':>10}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        for name, write, rows in (
            ("ten references, two metrics", write_short_answers, options.rows),
            ("letters of four options", write_letters, options.rows),
            ("captions, five references", write_captions, options.captions),
        ):
            folder = Path(temporary) / write.__name__
            write(folder, rows)
            clock, cpu, peak = scored(folder)
            print(f"{name:<34}{rows:>10,}{clock:>10.1f}{cpu:>10.1f}{peak:>10,.0f}", flush=True)
        if options.peer:
            compare_peer(options.peer, Path(temporary) / write_short_answers.__name__)


def scored(folder: Path) -> tuple[float, float, float]:
    """Seconds on the clock and of CPU, and peak MB, of scoring a folder on one core."""
    started = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, "score", str(folder)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    clock = time.perf_counter() - started
    code, cpu, peak = json.loads(done.stdout.splitlines()[-1])
    if code:
        sys.exit(done.stdout + done.stderr)
    return clock, cpu, peak


# ---- evaluations as a run leaves them -------------------------------------------------------------


def write_short_answers(folder: Path, rows: int) -> None:
    """VQA: six of ten people agree on most questions; half of the replies are right, a tenth is a sentence."""
    draw = np.random.default_rng(0)
    words = np.array(["yes", "no", "2", "white", *vocabulary(20_000, random.Random(0))], dtype=object)
    chances = 1 / np.arange(1, len(words) + 1) ** 1.1
    chances /= chances.sum()

    def part(first: int, count: int) -> dict[str, Any]:
        truth = draw.choice(len(words), count, p=chances)
        people = draw.choice(len(words), (count, PEOPLE), p=chances)
        agree = draw.random((count, PEOPLE)) < draw.beta(4, 2, count)[:, None]
        people = np.where(agree, truth[:, None], people)
        said = words[np.where(draw.random(count) < 0.55, truth, draw.choice(len(words), count, p=chances))]
        style = draw.random(count)
        said = np.where(style < 0.2, said + ".", np.where(style < 0.3, "The answer is " + said, said))
        opening, thing = draw.integers(0, len(_OPENINGS), count), draw.integers(0, len(_THINGS), count)
        return {
            "question": [f"{_OPENINGS[a]} the {_THINGS[b]} at {n % 997}?"
                         for n, (a, b) in enumerate(zip(opening, thing, strict=True))],
            "raw": said.tolist(),
            "references": words[people].tolist(),
            "slice_answer_type": [("yes/no", "number", "other")[code % 3] for code in truth],
            "slice_question_type": [_OPENINGS[code] for code in opening],
            "slice_split": [f"part {code}" for code in draw.integers(0, 5, count)],
        }  # fmt: skip

    _write(folder, rows, part, {"extraction": {"kind": "line"}, "metrics": ["vqa_accuracy", "accuracy"],
                                "slices": ["answer_type", "question_type", "split"]})  # fmt: skip


def write_letters(folder: Path, rows: int) -> None:
    """Multiple choice: letters alone, in brackets and in sentences."""
    draw = np.random.default_rng(1)
    names = vocabulary(5_000, random.Random(1))
    styles = (
        "{}",
        "({})",
        "The answer is {}.",
        "{}. {}",
        "I think that it is ({}) because of what stands on the left.",
    )

    def part(first: int, count: int) -> dict[str, Any]:
        options = draw.integers(0, len(names), (count, 4))
        truth, said = draw.integers(0, 4, count), draw.integers(0, 4, count)
        said = np.where(draw.random(count) < 0.5, truth, said)
        style = draw.integers(0, len(styles), count)
        return {
            "question": [f"Which of these stands near the {_THINGS[code % 13]}?" for code in options[:, 0]],
            "raw": [styles[a].format("ABCD"[b], names[c[b]]) for a, b, c in zip(style, said, options, strict=True)],
            "references": [["ABCD"[code]] for code in truth],
            "choices": [[names[code] for code in listed] for listed in options],
            "slice_subject": [f"subject {code}" for code in draw.integers(0, 30, count)],
            "slice_difficulty": [("easy", "medium", "hard")[code] for code in draw.integers(0, 3, count)],
        }

    _write(folder, rows, part, {"extraction": {"kind": "letter"}, "options": "options",
                                "metrics": ["multiple_choice"], "slices": ["subject", "difficulty"]})  # fmt: skip


def write_captions(folder: Path, rows: int) -> None:
    """Captions, one an image."""
    predictions, references = captions(rows, random.Random(2))
    said, given = list(predictions.values()), list(references.values())

    def part(first: int, count: int) -> dict[str, Any]:
        chosen = slice(first, first + count)
        return {"question": ["Describe the image."] * count, "raw": said[chosen], "references": given[chosen],
                "image_keys": [[f"{n:064x}"] for n in range(first, first + count)]}  # fmt: skip

    assert len(given[0]) == REFERENCES
    _write(folder, rows, part, {"metrics": ["cider", "bleu", "rouge_l"]})


def _write(folder: Path, rows: int, part: Callable[[int, int], dict[str, Any]], task: dict[str, Any]) -> None:
    """Predictions of one task, about ten questions an image, and the manifest."""
    folder.mkdir()
    spec = TaskSpec.model_validate({"name": "made", "source": {"location": "nowhere.jsonl"}, **task})
    slices = [pa.field(f"slice_{name}", pa.string()) for name in spec.slice_names]
    schema = pa.schema([*BASE_SCHEMA, *slices])
    with pq.ParquetWriter(folder / PREDICTIONS, schema, compression="zstd") as writer:
        for table in _tables(rows, part, schema):
            writer.write_table(table)
    timings = pa.table({"sample_id": [], "task": [], "seconds": [], "request_key": []})
    pq.write_table(timings.cast(pa.schema([("sample_id", pa.string()), ("task", pa.string()), ("seconds", pa.float64()),
                                           ("request_key", pa.string())])), folder / TIMINGS)  # fmt: skip
    (folder / "scores.json").write_text('{"model": "generated", "tasks": {}}')
    extra = {"task_specs": dumped({spec.name: spec}), "image_root": {spec.name: str(folder)}, "skipped": {}}
    recipe = {"name": "generated", "seed": 0, "baseline": None}
    write_manifest(folder, stage="evalsuite", recipe=recipe, inputs={}, outputs=[folder / PREDICTIONS], counts={},
                   seconds={}, seeds={}, extra=extra)  # fmt: skip


def _tables(rows: int, part: Callable[[int, int], dict[str, Any]], schema: pa.Schema) -> Iterator[pa.Table]:
    for first in range(0, rows, _PART):
        count = min(_PART, rows - first)
        numbers = range(first, first + count)
        ids = [f"made/test/{n:07d}" for n in numbers]
        columns: dict[str, Any] = {
            "sample_id": ids, "group": ids, "repeat": [0] * count, "task": ["made"] * count,
            "image_keys": [[f"{n // 10:064x}"] for n in numbers], "images": [[f"{n // 10}.jpg"] for n in numbers],
            "finish_reason": ["stop"] * count, "input_tokens": [640] * count, "output_tokens": [4] * count,
            "request_key": [f"{n * 7919:064x}" for n in numbers], "content_hash": [f"{n:032x}" for n in numbers],
            "choices": [[]] * count, "reasoning": [""] * count, **part(first, count),
        }  # fmt: skip
        columns["prompt"] = [
            f"<|user|><image>{question}\nAnswer briefly.<|assistant|>" for question in columns["question"]
        ]
        nothing = [None] * count
        yield pa.table([pa.array(columns.get(field.name, nothing), field.type) for field in schema], schema=schema)


# ---- the peer -------------------------------------------------------------------------------------


def compare_peer(file: Path, folder: Path, rows: int = 20_000) -> None:
    """Time the challenge's own code on the first rows, and compare the totals."""
    from tests.evalsuite.peers.borrow import borrowed

    found = pq.read_table(folder / PREDICTIONS, columns=["extracted", "references"]).slice(0, rows).to_pylist()
    pairs = [(row["extracted"], row["references"]) for row in found]
    peer = borrowed(file, "VQAEval")["VQAEval"](SimpleNamespace(getQuesIds=list), None)
    started = time.perf_counter()
    theirs = [peer_accuracy(peer, *pair) for pair in pairs]
    took = time.perf_counter() - started
    started = time.perf_counter()
    ours = [vqa_accuracy(text, given, unanimous="raw") for text, given in pairs]
    mine = time.perf_counter() - started
    print(f"VQA accuracy of {rows:,} rows: {file.name} {took:.2f} s, ours {mine:.2f} s ({took / mine:.1f}x)", end="; ")
    print(f"largest difference {max(abs(a - b) for a, b in zip(theirs, ours, strict=True)):.1e}")


def peer_accuracy(peer: Any, text: str, answers: list[str]) -> float:
    """What ``VQAEval.evaluate`` does with one question."""
    text, given = peer_line(text), [peer_line(answer) for answer in answers]
    if len(set(given)) > 1:
        given = [peer.processDigitArticle(peer.processPunctuation(answer)) for answer in given]
        text = peer.processDigitArticle(peer.processPunctuation(text))
    scores = [min(1.0, sum(other == text for other in given[:n] + given[n + 1 :]) / 3) for n in range(len(given))]
    return sum(scores) / len(scores)


def peer_line(text: str) -> str:
    """As ``VQAEval.evaluate`` begins."""
    return text.replace("\n", " ").replace("\t", " ").strip()


if __name__ == "__main__":
    main()
