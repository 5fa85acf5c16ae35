"""Near-duplicate search at scale: all pairs within a radius, and stars.

python -m tests.benchmarks.bench_duplicates [--hashes N] [--radius R]
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from curate.duplicates import pairs_between, pairs_within
from curate.duplicates.looks import Looks
from curate.duplicates.stars import build_stars
from curate.recipe import MatchSettings

PART = 4000  # rows that are checked against brute force


def random_hashes(count: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform 64-bit hashes with 1 in 100 followed by a neighbour at a planted distance of 0 to 6 bits."""
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    for place in rng.choice(count - 1, count // 100, replace=False):
        flips = rng.choice(64, int(rng.integers(0, 7)), replace=False)
        mask = np.bitwise_or.reduce(np.uint64(1) << flips.astype(np.uint64), initial=np.uint64(0))
        hashes[place + 1] = hashes[place] ^ mask
    return hashes


def dense_hashes(count: int, rng: np.random.Generator) -> np.ndarray:
    """As ``random_hashes``, but 2% share their upper 40 bits."""
    hashes = random_hashes(count, rng)
    crowd = rng.choice(count, count // 50, replace=False)
    hashes[crowd] = (hashes[crowd] & np.uint64(0xFFFFFF)) | np.uint64(0xABCDEF0123000000)
    return hashes


def repeated_hashes(count: int, rng: np.random.Generator) -> np.ndarray:
    """As ``random_hashes``, but half of them are one and the same hash."""
    hashes = random_hashes(count, rng)
    hashes[rng.choice(count, count // 2, replace=False)] = np.uint64(0x8000000000000000)
    return hashes


def timed_pairs(name: str, hashes: np.ndarray, radius: int) -> None:
    """Time ``pairs_within`` and check a part of its pairs against brute force."""
    busy, started = time.process_time(), time.perf_counter()
    pairs = pairs_within(hashes, radius)
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    started = time.perf_counter()
    expected = brute_force(hashes, radius, PART)
    brute = (time.perf_counter() - started) * len(hashes) / PART / 2
    found = pairs[(pairs[:, 0] < PART) | (pairs[:, 1] < PART)]
    equal = found.shape == expected.shape and bool((found == expected).all())
    print(
        f"{name}: {len(hashes):,} hashes, radius {radius}: {len(pairs):,} pairs in {seconds:.2f} s ({busy:.2f} s of"
        f" CPU); all pairs with the first {PART:,} rows equal brute force: {'yes' if equal else 'NO'}; brute force"
        f" would take about {brute:,.0f} s ({brute / seconds:,.0f} times longer); peak memory {peak_memory():,} MB"
    )


def brute_force(hashes: np.ndarray, radius: int, part: int) -> np.ndarray:
    """Pairs (i < j) of which one is among the first ``part`` rows, in lexicographic order."""
    found = []
    for i in range(min(part, len(hashes))):
        near = np.flatnonzero(np.bitwise_count(hashes[i] ^ hashes[i + 1 :]) <= radius) + i + 1
        found.append(np.stack([np.full(len(near), i), near], axis=1))
    return np.concatenate(found)


def timed_stars(name: str, hashes: np.ndarray, radius: int, rng: np.random.Generator) -> None:
    """Time stars over images that carry these hashes; equal hashes have equal thumbnails."""
    _, inverse = np.unique(hashes, return_inverse=True)
    thumbnails = rng.integers(0, 256, (len(hashes), 768), dtype=np.uint8)
    thumbnails = thumbnails[np.minimum(inverse, len(hashes) - 1)]
    busy, started = time.process_time(), time.perf_counter()
    stars = build_stars(
        Looks.of(hashes, hashes, thumbnails, np.full(len(hashes), 640)), MatchSettings(hash="phash", radius=radius)
    )
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    members = int((stars.representative != np.arange(len(hashes))).sum())
    print(
        f"stars, {name}: {len(hashes):,} images, {members:,} belong to another one,"
        f" {seconds:.2f} s ({busy:.2f} s of CPU)"
    )


def peak_memory() -> int:
    """Peak resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hashes", type=int, default=1_000_000)
    parser.add_argument("--radius", type=int, default=4)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    random, dense = random_hashes(asked.hashes, rng), dense_hashes(asked.hashes, rng)
    timed_pairs("random", random, asked.radius)
    started = time.perf_counter()
    added = pairs_between(random_hashes(1000, rng), random, asked.radius)
    seconds = time.perf_counter() - started
    print(f"1,000 new hashes against {len(random):,}: {len(added):,} pairs in {seconds:.2f} s")
    timed_pairs("2% share 40 bits", dense, asked.radius)
    timed_stars("random", random, asked.radius, rng)
    timed_stars("half of all hashes equal", repeated_hashes(asked.hashes, rng), asked.radius, rng)
    timed_stars("2% share 40 bits", dense, asked.radius, rng)


if __name__ == "__main__":
    main()
