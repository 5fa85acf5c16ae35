"""What texts cost: the search for nearly the same ones, and the signals of ``measure texts``.

    python -m benchmarks texts [--rows 100000]

``captions`` are drawn from 50,000 words by Zipf's law, every tenth one is an edit of an earlier one; ``template`` fills
two slots of one sentence with every pair of words, so that of a million captions each has 2,000 that are nearly the
same. Each kind is searched as ``similar_texts: {of: [answer], threshold: 0.8}`` does, in a process of its own, whose
peak memory is printed.
"""

from __future__ import annotations

import argparse
import math
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.bench_duplicates import timed
from curate.duplicates.texts.similar_texts import find_similar_texts
from curate.settings.copies import TextSettings
from curate.signals.language import language
from curate.signals.pii import personal_data
from curate.signals.profanity import first_profanity
from curate.signals.text import conversation
from curate.workspace import Workspace

_BLOCK = 10_000
_VOCABULARY = 50_000
_SYLLABLES = [first + second for first in "bdfgklmnprstvz" for second in ("a", "e", "i", "o", "u", "on", "er")]
_TEMPLATE = "a photo of a {} that lies on the table beside the {} in the kitchen"


def captions(rows: int) -> Iterator[list[str]]:
    """Blocks of captions of 8 to 24 words; every tenth has one word replaced in an earlier one of its block."""
    rng = np.random.default_rng(0)
    words = np.array(["".join(rng.choice(_SYLLABLES, rng.integers(1, 5))) for _ in range(_VOCABULARY)])
    shares = 1 / np.arange(10, _VOCABULARY + 10)
    reached = np.cumsum(shares / shares.sum())
    for start in range(0, rows, _BLOCK):
        count = min(_BLOCK, rows - start)
        made = [words[np.searchsorted(reached, rng.random(size))] for size in rng.integers(8, 25, count)]
        for at in range(10, count, 10):
            made[at] = made[at - int(rng.integers(1, 10))].copy()
            made[at][rng.integers(len(made[at]))] = words[rng.integers(_VOCABULARY)]
        yield [" ".join(each) for each in made]


def template(rows: int) -> Iterator[list[str]]:
    """Blocks of captions of one template, all different, in random order."""
    rng = np.random.default_rng(0)
    choices = math.isqrt(rows - 1) + 1
    words = rng.permutation([first + second + third for first, second, third in product(_SYLLABLES, repeat=3)])
    order = rng.permutation(choices * choices)[:rows]
    for start in range(0, rows, _BLOCK):
        one, other = np.divmod(order[start : start + _BLOCK], choices)
        yield [_TEMPLATE.format(*pair) for pair in zip(words[one], words[choices + other], strict=True)]


KINDS: dict[str, Callable[[int], Iterator[list[str]]]] = {"captions": captions, "template": template}


def search(kind: str, rows: int) -> str:
    """What was found, in which time and memory."""
    with tempfile.TemporaryDirectory() as folder:
        space = Workspace(Path(folder))
        space.work.mkdir(parents=True)
        write_rows(space, KINDS[kind](rows))
        settings = TextSettings(of=("answer",), threshold=0.8)
        _, _, seconds = timed(lambda: find_similar_texts(space, settings))
        marked = pq.read_table(space.similar_texts, columns=["answer_cluster", "answer_cluster_place"])
        groups, later = marked["answer_cluster"].unique(), pc.sum(pc.greater(marked["answer_cluster_place"], 1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    found = f"{len(groups):,} groups, {later.as_py() or 0:,} marked"
    return f"{rows:,} rows in {seconds}, peak memory {peak:,} MB; {found}"


def write_rows(space: Workspace, blocks: Iterator[list[str]]) -> None:
    """The columns of the corrected rows that the search reads."""
    schema = pa.schema([(name, pa.string()) for name in _STRINGS])
    start = 0
    space.corrected.folder.mkdir(parents=True)
    with pq.ParquetWriter(space.corrected.folder / "all.parquet", schema) as writer:
        for block in blocks:
            positions = range(start, start + len(block))
            ids = [f"captions/train/{position:09}" for position in positions]
            empty = [""] * len(block)
            writer.write_table(pa.table([ids, empty, block, pa.nulls(len(block), pa.string())], schema))
            start += len(block)
    space.corrected.finish(["all.parquet"])


_STRINGS = ("sample_id", "question_key", "answer_key", "bad_row")


def signals(rows: int) -> Iterator[str]:
    """CPU time of each part of ``measure texts`` for rows of a short question and a caption."""
    texts = [["What is shown in this picture?", answer] for block in captions(rows) for answer in block]
    parts: dict[str, Callable[[list[str]], object]] = {
        "conversation": lambda row: conversation([("user", row[0]), ("assistant", row[1])], 1),
        "personal data": personal_data,
        "profanity": first_profanity,
        "language": lambda row: [language(text) for text in row],
    }
    for name, part in parts.items():
        started = time.process_time()
        for row in texts:
            part(row)
        yield f"{name} {(time.process_time() - started) * 1e6 / rows:.1f} µs"


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    rows = parser.parse_args().rows
    print(f"CPU of one row: {', '.join(signals(min(rows, 20_000)))}", flush=True)
    for kind in KINDS:
        with get_context("spawn").Pool(1) as pool:
            print(f"{kind}: {pool.apply(search, (kind, rows))}", flush=True)


if __name__ == "__main__":
    main()
