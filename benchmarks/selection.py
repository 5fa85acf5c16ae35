"""Time and memory of selections and of clusters on made embeddings: python -m benchmarks.selection 1000000.

Memory is the process's own (RssAnon): the embeddings are a mapped file, whose pages the kernel takes back.
"""

from __future__ import annotations

import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from curate.duplicates.semantic import cluster
from curate.measure.set_embeddings import SetEmbeddings
from curate.selection.greedy import facility_location, k_centre, ranked

_WIDTH, _CENTRES, _BLOCK = 512, 2000, 50_000


def main(count: int) -> None:
    """Print a line for each."""
    with tempfile.NamedTemporaryFile(suffix=".f16") as file:
        random = np.random.default_rng(0)
        centres = random.normal(size=(_CENTRES, _WIDTH))
        for start in range(0, count, _BLOCK):
            size = min(_BLOCK, count - start)
            made = centres[random.integers(0, _CENTRES, size)] + 0.8 * random.normal(size=(size, _WIDTH))
            file.write((made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float16).tobytes())
        file.flush()
        values = np.memmap(file.name, np.float16, "r", shape=(count, _WIDTH))
        found = SetEmbeddings("clip", values, np.arange(count))
        _time("coverage", lambda: ranked(found, found.numbers, k_centre, 0))
        _time("facility", lambda: ranked(found, found.numbers, facility_location, 0))
        _time("semantic, cosine 0.95", lambda: cluster(found, found.numbers, 0.95))
        earlier = np.arange(count - 1000)
        _time("semantic, the last 1,000 are new", lambda: cluster(found, found.numbers, 0.95, earlier))


def _time(name: str, action: Callable[[], object]) -> None:
    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            status = Path("/proc/self/status").read_text(encoding="utf-8")
            most[0] = max(most[0], int(re.findall(r"RssAnon:\s+(\d+)", status)[0]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    wall, cpu = time.monotonic(), time.process_time()
    action()
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    done.set()
    watcher.join()
    print(f"{name}: {wall:.0f} s, {cpu:.0f} s of CPU time, {most[0] / 1024:.0f} MiB", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
