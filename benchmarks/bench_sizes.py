"""What a curation costs by its size: measured as far as this machine goes, computed beyond, with the price of a run.

    python -m benchmarks sizes [--rows 100000 1000000] [--computed 100000000 1000000000] [--hashes 1000000]
                               [--cores 256] [--price 0.04] [--image-ms 5.4] [--image-kb 100]

Measured are whole curations of rows about 1,000 pictures of 16 pixels (``benchmarks.bench_incremental``): CPU seconds
of each step with its workers, peak memory of the main process and bytes read and written. 10,000,000 rows take about
15 GB of disk.

Computed is a set with a photograph for each row. Of n rows, where k < m are the two largest sets that were measured:

- steps of rows, bytes and memory: f(n) = f(m) + (n - m) · max(0, f(m) - f(k)) / (m - k), so that what starting costs
  is not counted for each row; of one set alone f(m) · n / m
- images: n · ``--image-ms``, what a photograph of 640 × 480 costs (``python -m benchmarks measure``)
- near-duplicates: CPU of ``pairs_within`` (radius 4) on h = ``--hashes`` random hashes · (n / h)^e, where 2^e is how
  much longer h hashes take than h / 2, e at least 1
- bytes of images: n · ``--image-kb``
- hours: CPU / ``--cores``, if all of them are busy all the time; dollars: CPU hours · ``--price`` for a core and hour

The price is an assumption (about that of a spot machine), and so are the photographs. Deciding and writing run on one
machine: their CPU time is a lower bound of the time of a run.
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.bench_duplicates import timed
from benchmarks.bench_incremental import Ran, picture, row, run_once
from curate.duplicates.hamming import pairs_within

_PICTURES = 1000
_STEPS = ("read", "measure images", "corrections", "measure texts", "duplicates", "decide", "write")


@dataclass(frozen=True)
class Measured:
    """A curation that was run.

    Attributes:
        rows: of its input.
        ran: what its process says of it.
        moved: bytes of its input and of its folder.
    """

    rows: int
    ran: Ran
    moved: int

    def cpu(self) -> dict[str, float]:
        """CPU seconds of each step; ``rest`` is starting, digests, seal and manifest."""
        steps = {name: self.ran.cpu.get(name, 0.0) for name in _STEPS}
        return {**steps, "rest": max(0.0, self.ran.busy - sum(steps.values()))}


@dataclass(frozen=True)
class Assumed:
    """What is assumed of larger sets; see above."""

    cores: int
    price: float
    image_ms: float
    image_kb: float
    pairs: float
    exponent: float
    hashes: int


def measure(rows: int) -> Measured:
    """Curate so many rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        names = [picture(folder / "images", number) for number in range(_PICTURES)]
        with (folder / "rows-1.jsonl").open("w") as handle:
            handle.writelines(row(number, names[number % _PICTURES]) for number in range(rows))
        ran = run_once(folder, "out")
        return Measured(rows, ran, sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))


def computed(rows: int, measured: list[Measured], assumed: Assumed) -> tuple[dict[str, float], float, float]:
    """CPU seconds of each step, bytes of memory and bytes moved."""
    last, before = measured[-1], measured[-2] if len(measured) > 1 else None

    def grown(value: float, earlier: float) -> float:
        if before is None:
            return value * rows / last.rows
        return value + (rows - last.rows) * max(0.0, value - earlier) / (last.rows - before.rows)

    small = before.cpu() if before is not None else {}
    cpu = {name: grown(seconds, small.get(name, 0)) for name, seconds in last.cpu().items()}
    cpu["measure images"] = rows * assumed.image_ms / 1000
    cpu["duplicates"] += assumed.pairs * (rows / assumed.hashes) ** assumed.exponent
    moved = grown(last.moved, before.moved if before is not None else 0) + rows * assumed.image_kb * 1000
    return cpu, grown(last.ran.peak, before.ran.peak if before is not None else 0), moved


def exponent(hashes: int) -> tuple[float, float]:
    """CPU seconds of the search in so many random hashes, and how it grows."""
    drawn = np.random.default_rng(0).integers(0, 2**64, hashes, dtype=np.uint64)
    pairs_within(drawn[:1000], 4)  # compiles
    half, whole = (timed(functools.partial(pairs_within, drawn[:size], 4))[1] for size in (hashes // 2, hashes))
    return whole, max(1.0, math.log2(whole / half))


def line(rows: int, label: str, cpu: dict[str, float], memory: float, moved: float) -> str:
    """A row of the table."""
    times = " | ".join(f"{seconds:,.1f}" if seconds < 1000 else f"{seconds / 3600:,.1f} h" for seconds in cpu.values())
    return f"| {rows:,} | {label} | {times} | {memory / 1e9:,.1f} GB | {moved / 1e9:,.1f} GB |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--computed", type=int, nargs="*", default=[100_000_000, 1_000_000_000])
    parser.add_argument("--hashes", type=int, default=1_000_000)
    parser.add_argument("--cores", type=int, default=256)
    parser.add_argument("--price", type=float, default=0.04)
    parser.add_argument("--image-ms", type=float, default=5.4)
    parser.add_argument("--image-kb", type=float, default=100)
    asked = parser.parse_args()
    load = os.getloadavg()[0]
    measured = []
    print(f"CPU seconds; {os.cpu_count()} cores, load {load:.1f} before\n", flush=True)
    names = [*_STEPS, "rest"]
    print(f"| rows | | {' | '.join(names)} | memory | bytes moved |\n|{'---|' * (len(names) + 4)}")
    for rows in sorted(asked.rows):
        found = measure(rows)
        measured.append(found)
        print(line(rows, f"measured, {found.ran.wall:,.0f} s", found.cpu(), found.ran.peak, found.moved), flush=True)
    pairs, grows = exponent(asked.hashes)
    assumed = Assumed(asked.cores, asked.price, asked.image_ms, asked.image_kb, pairs, grows, asked.hashes)
    priced = []
    for rows in asked.computed:
        cpu, memory, moved = computed(rows, measured, assumed)
        print(line(rows, "computed", cpu, memory, moved))
        hours = sum(cpu.values()) / 3600
        priced.append(
            f"{rows:,} rows, computed: {hours:,.0f} core hours, {hours / asked.cores:,.1f} h on {asked.cores} cores,"
            f" ${hours * asked.price:,.0f} at ${asked.price} a core and hour"
        )
    print(f"\npairs among {asked.hashes:,} hashes: {pairs:.1f} s, grows as n^{grows:.2f}", *priced, sep="\n")


if __name__ == "__main__":
    main()
