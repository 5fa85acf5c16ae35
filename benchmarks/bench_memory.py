"""Peak memory of each step of a curation, and of deciding again, as rows and images grow.

    python -m benchmarks.bench_memory [--rows 10000 100000] [--images-per-row 1 0.001]

Each size is generated (16-pixel PNG files that all differ), curated in a process of its own, and decided again in
another one. A figure is the largest resident set while the step ran; the process with its libraries, before any work,
is printed as the base. What the largest size takes more than the smallest is printed as bytes a row: an index of the
ids seen (24 to 48 bytes a row, ``winnow.hash_index``) and of the images known is all that has to grow, DuckDB and
everything else works within bounds (``winnow.parquet.tables``). A million rows about a thousand images:
``--rows 100000 1000000 --images-per-row 0.001``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

_RUN = """
import json, re, sys
from pathlib import Path
import duckdb, pyarrow.parquet
from curate import pipeline
from curate.recipe import read_recipe
from winnow.run import Stages

def peak():
    found = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
    Path("/proc/self/clear_refs").write_text("5")  # from here on the peak is a new one
    return found

def watched(stages, name, action):
    peaks["between steps"] = max(peaks.get("between steps", 0), peak())
    plain(stages, name, action)
    peaks[name] = peak()

if __name__ == "__main__":
    peaks, plain, Stages.run = {"base": peak()}, Stages.run, watched
    getattr(pipeline, sys.argv[1])(read_recipe(Path("recipe.yaml")), "recipe.yaml")
    peaks["between steps"] = max(peaks["between steps"], peak())
    print(json.dumps(peaks))
"""
_RECIPE = """
name: memory
out: out
sources: [{location: rows.jsonl, image_root: images}]
rules:
  unreadable: {when: "error IS NOT NULL", action: drop}
  blurry: {when: "sharpness < 25", action: flag}
  refusal: {when: "refusal OR answer_type_mismatch", action: drop}
duplicates: {scope: question}
"""


def make_set(folder: Path, rows: int, images: int) -> None:
    """``rows`` records about ``images`` different images, a thousand images a folder."""
    rng = np.random.default_rng(0)
    for number in range(images):
        path = folder / "images" / f"{number // 1000}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.kron(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8), np.ones((4, 4, 1), np.uint8))
        Image.fromarray(pixels).save(path, compress_level=1)
    with (folder / "rows.jsonl").open("w") as lines:
        for number in range(rows):
            at = number % images
            turns = [
                {"from": "user", "value": f"How many things are in corner {number // images} of this image?"},
                {"from": "assistant", "value": str(number % 7)},
            ]
            record = {"id": f"set/train/{number}", "image": f"{at // 1000}/{at}.png", "conversations": turns}
            lines.write(json.dumps(record) + "\n")
    (folder / "recipe.yaml").write_text(_RECIPE)
    (folder / "run.py").write_text(_RUN)


def peaks_of(folder: Path, stage: str) -> tuple[dict[str, int], float]:
    """MiB of each step of a stage, and seconds of the whole."""
    started = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "run.py", stage]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1]), time.perf_counter() - started


def main() -> None:
    """Print a line for each size and shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--images-per-row", type=float, nargs="+", default=[1.0, 0.001])
    arguments = parser.parse_args()
    for share in arguments.images_per_row:
        largest: dict[str, dict[int, int]] = {}
        for rows in arguments.rows:
            images = max(int(rows * share), 1)
            with tempfile.TemporaryDirectory() as made:
                make_set(Path(made), rows, images)
                for stage in ("run", "decide_again"):
                    peaks, seconds = peaks_of(Path(made), stage)
                    largest.setdefault(stage, {})[rows] = max(peaks.values())
                    steps = ", ".join(f"{name} {size}" for name, size in peaks.items())
                    print(
                        f"{rows:>9,} rows, {images:>7,} images, {stage:<12}: {max(peaks.values()):,} MiB,"
                        f" {seconds:,.1f} s ({steps})",
                        flush=True,
                    )
        few, many = min(arguments.rows), max(arguments.rows)
        for stage, found in largest.items():
            if many > few:
                print(f"{stage}: {(found[many] - found[few]) * 2**20 / (many - few):,.0f} bytes for each further row")


if __name__ == "__main__":
    main()
