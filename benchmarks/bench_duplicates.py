"""Near-duplicate search: all pairs within a radius, stars, and what is new against what is stored.

    python -m benchmarks duplicates [--size 1000000] [--radius 4]

In the same run and on the same hashes: NumPy brute force on a part, FAISS's binary indexes, imagededup's two
searches. Every process uses one thread. Times are of CPU, with the wall time in brackets where it differs.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from curate.duplicates.hamming import pairs_between, pairs_within
from curate.duplicates.images.clusters import build_star_clusters
from curate.duplicates.images.fingerprints import ImageFingerprints
from curate.duplicates.images.matching import DuplicateIndex
from curate.settings.copies import MatchSettings

PART = 2000  # rows that are checked against brute force
_IN_MEMORY = 1_000_000  # a thumbnail is 768 bytes; FAISS takes minutes for more
CYTHON_PART, TREE_PART = 5000, 2000  # hashes for imagededup, whose time grows with their square
_CROWD = 1000  # copies of one hash in the skewed set


def planted(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Uniform 64-bit hashes, 1 in 100 with a neighbour at 0 to 6 bits; and the rows (place, neighbour, bits)."""
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    places = 2 * rng.choice(count // 2, count // 100, replace=False)
    bits = rng.integers(0, 7, len(places))
    order = np.argsort(rng.random((len(places), 64)), axis=1)
    masks = np.where(np.arange(64) < bits[:, None], np.uint64(1) << order.astype(np.uint64), np.uint64(0))
    hashes[places + 1] = hashes[places] ^ np.bitwise_or.reduce(masks, axis=1)
    return hashes, np.stack([places, places + 1, bits], axis=1)


def skewed(count: int, rng: np.random.Generator) -> np.ndarray:
    """1% of all hashes are equal to others, 1,000 copies each; another 1% share their upper 40 bits."""
    hashes, _ = planted(count, rng)
    crowd = rng.choice(count, count // 50, replace=False)
    copies, close = np.split(crowd, 2)
    hashes[copies] = hashes[np.resize(copies[: max(1, len(copies) // _CROWD)], len(copies))]
    hashes[close] = (hashes[close] & np.uint64(0xFFFFFF)) | np.uint64(0xABCDEF0123000000)
    return hashes


def timed(call: Callable[[], Any]) -> tuple[Any, float, str]:
    """Result, seconds of CPU, and both times in words."""
    busy, started = _busy(), time.perf_counter()
    made = call()
    busy, wall = _busy() - busy, time.perf_counter() - started
    return made, busy, f"{busy:.2f} s" if wall < 1.1 * busy else f"{busy:.2f} s ({wall:.1f} s of wall time)"


def _busy() -> float:
    """CPU time of this process and of those that it started and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def brute_force(hashes: np.ndarray, radius: int, part: int) -> np.ndarray:
    """Pairs (i < j) whose i is among the first ``part`` rows, in lexicographic order."""
    found = []
    for i in range(min(part, len(hashes))):
        near = np.flatnonzero(np.bitwise_count(hashes[i] ^ hashes[i + 1 :]) <= radius) + i + 1
        found.append(np.stack([np.full(len(near), i), near], axis=1))
    return np.concatenate(found)


def bench_pairs(name: str, hashes: np.ndarray, radius: int, rows: np.ndarray | None) -> float:
    """Print time, memory and what was found; returns the seconds."""
    pairs, seconds, words = timed(lambda: pairs_within(hashes, radius))
    memory = peak_memory()
    expected, brute, _ = timed(lambda: brute_force(hashes, radius, PART))
    first = pairs[: np.searchsorted(pairs[:, 0], PART)]
    checks = [f"first {PART:,} rows equal brute force: {'yes' if np.array_equal(first, expected) else 'NO'}"]
    if rows is not None:
        within = rows[rows[:, 2] <= radius]
        keys = pairs[:, 0] * len(hashes) + pairs[:, 1]
        found = np.isin(within[:, 0] * len(hashes) + within[:, 1], keys, assume_unique=True).sum()
        checks.append(f"{found:,} of {len(within):,} planted pairs found")
    whole = brute * len(hashes) / PART / 2
    print(
        f"pairs_within, {name}: {len(hashes):,} hashes, radius {radius}: {len(pairs):,} pairs in {words};"
        f" {'; '.join(checks)}; NumPy brute force would take {whole:,.0f} s: {whole / seconds:,.0f} times as long;"
        f" peak memory so far {memory:,} MB",
        flush=True,
    )
    return seconds


def bench_faiss(hashes: np.ndarray, radius: int) -> None:
    """FAISS: exact search of all pairs within ``radius`` by its hash tables, and by brute force on a part."""
    import faiss  # here, so that its memory and imagededup's are not counted above

    faiss.omp_set_num_threads(1)
    codes = hashes.astype("<u8").view(np.uint8).reshape(-1, 8)
    _, ours, _ = timed(lambda: pairs_within(hashes, radius))
    chunks = min(radius + 1, 3)  # of 21 bits; each searched within `flips` bits, so that no pair escapes
    flips = (radius + 1 + chunks - 1) // chunks - 1

    def tables() -> int:
        index = faiss.IndexBinaryMultiHash(64, chunks, 64 // chunks)
        index.nflip = flips
        index.add(codes)
        return int((index.range_search(codes, radius + 1)[0][-1] - len(codes)) // 2)

    pairs, seconds, words = timed(tables)
    print(
        f"FAISS IndexBinaryMultiHash ({chunks} × {64 // chunks} bits, {flips} flipped): {len(hashes):,} hashes:"
        f" {pairs:,} pairs in {words}: {seconds / ours:.1f} times as long as pairs_within ({ours:.2f} s)",
        flush=True,
    )
    flat = faiss.IndexBinaryFlat(64)
    flat.add(codes)
    _, seconds, _ = timed(lambda: flat.range_search(codes[:PART], radius + 1))
    whole = seconds * len(codes) / PART
    print(f"FAISS IndexBinaryFlat: {PART:,} queries in {seconds:.2f} s; all would take {whole:,.0f} s:"
          f" {whole / ours:,.0f} times as long", flush=True)  # fmt: skip


def bench_imagededup(hashes: np.ndarray, radius: int) -> None:
    """Both searches of imagededup on the first hashes."""
    from imagededup.handlers.search.retrieval import HashEval

    logging.disable(logging.INFO)
    for method, part in (("brute_force_cython", CYTHON_PART), ("bktree", TREE_PART)):
        part = min(part, len(hashes))
        named = {f"{k}.jpg": f"{value:016x}" for k, value in enumerate(hashes[:part].tolist())}

        def search(named: dict[str, str] = named, method: str = method) -> int:
            found = HashEval(named, named, _distance, verbose=False, threshold=radius, search_method=method,
                             num_dist_workers=0)  # fmt: skip
            return sum(len(near) for near in found.retrieve_results().values()) // 2

        pairs, seconds, words = timed(search)
        ours_pairs, ours, _ = timed(partial(pairs_within, hashes[:part], radius))
        print(
            f"imagededup {method}: {part:,} hashes: {pairs:,} pairs in {words}; pairs_within:"
            f" {len(ours_pairs):,} in {ours:.4f} s: {seconds / ours:,.0f} times as fast",
            flush=True,
        )


def _distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def bench_new(hashes: np.ndarray, radius: int, rng: np.random.Generator) -> None:
    """A thousand new hashes, half of them neighbours of stored ones, against all."""
    new = rng.integers(0, 2**64, 1000, dtype=np.uint64)
    new[:500] = hashes[rng.choice(len(hashes), 500, replace=False)] ^ np.uint64(0b111)
    pairs, _, words = timed(lambda: pairs_between(new, hashes, radius))
    print(f"pairs_between, 1,000 new hashes and {len(hashes):,}, radius {radius}: {len(pairs):,} pairs in {words}",
          flush=True)  # fmt: skip


def bench_stars(name: str, hashes: np.ndarray, noise: np.ndarray, settings: MatchSettings) -> None:
    """Stars over images whose thumbnails are equal where their hashes are."""
    images = np.lib.stride_tricks.as_strided(noise, (len(hashes), 768), (1, 1))
    _, number = np.unique(hashes, return_inverse=True)
    looks = ImageFingerprints.of(hashes, hashes, images[number], np.full(len(hashes), 640))
    stars, _, words = timed(lambda: build_star_clusters(DuplicateIndex(looks, settings), np.arange(len(hashes))))
    print(
        f"stars, {name}: {len(hashes):,} images, hash {settings.hash}, radius {settings.radius}:"
        f" {len(stars.member):,} belong to another one, {words}",
        flush=True,
    )


def peak_memory() -> int:
    """Peak resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1_000_000, help="number of hashes")
    parser.add_argument("--radius", type=int, default=4)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    hashes, rows = planted(asked.size, rng)
    uneven = skewed(asked.size, rng)
    bench_pairs("random with planted neighbours", hashes, asked.radius, rows)
    bench_pairs("skewed", uneven, asked.radius, None)
    bench_new(hashes, asked.radius, rng)
    bench_new(hashes, 2 * asked.radius, rng)
    part = min(asked.size, _IN_MEMORY)
    noise = rng.integers(0, 256, part + 767, dtype=np.uint8)
    repeated = hashes[:part].copy()
    repeated[rng.choice(part, part // 2, replace=False)] = repeated[0]
    one_hash = MatchSettings(hash="phash", radius=asked.radius)
    bench_stars("random", hashes[:part], noise, one_hash)
    bench_stars("skewed", uneven[:part], noise, one_hash)
    bench_stars("half of all hashes equal", repeated, noise, one_hash)
    bench_stars("half of all hashes equal", repeated, noise, MatchSettings())
    for peer, compare in (("faiss", bench_faiss), ("imagededup", bench_imagededup)):
        if importlib.util.find_spec(peer):
            compare(hashes[:part], asked.radius)
        else:
            print(f"{peer} is not installed: pip install -e '.[peers]'")


if __name__ == "__main__":
    main()
