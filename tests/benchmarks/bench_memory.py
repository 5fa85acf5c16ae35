"""Peak memory of a whole curation and of deciding again, as rows and images grow.

    python -m tests.benchmarks.bench_memory [--rows 10000 100000] [--images-per-row 1 0.001]

Each size is generated (16-pixel PNG files that all differ), curated in a process of its own, and decided again in
another one; the figure is the largest resident set of that process. A million rows about a thousand pictures:
``--rows 1000000 --images-per-row 0.001``.
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
import resource, sys
from pathlib import Path
from curate import pipeline
from curate.recipe import read_recipe
if __name__ == "__main__":
    getattr(pipeline, sys.argv[1])(read_recipe(Path("recipe.yaml")), "recipe.yaml")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
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
    """``rows`` records about ``images`` different pictures, a thousand pictures a folder."""
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
                {"from": "user", "value": f"How many things are in corner {number // images} of this picture?"},
                {"from": "assistant", "value": str(number % 7)},
            ]
            record = {"id": f"set/train/{number}", "image": f"{at // 1000}/{at}.png", "conversations": turns}
            lines.write(json.dumps(record) + "\n")
    (folder / "recipe.yaml").write_text(_RECIPE)
    (folder / "run.py").write_text(_RUN)


def peak(folder: Path, step: str) -> tuple[int, float]:
    """MiB and seconds of one step of the pipeline."""
    started = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "run.py", step]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE)
    return int(done.stdout.splitlines()[-1]), time.perf_counter() - started


def main() -> None:
    """Print a line for each size and shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--images-per-row", type=float, nargs="+", default=[1.0, 0.001])
    arguments = parser.parse_args()
    for share in arguments.images_per_row:
        for rows in arguments.rows:
            images = max(int(rows * share), 1)
            with tempfile.TemporaryDirectory() as made:
                make_set(Path(made), rows, images)
                for step in ("run", "decide_again"):
                    size, seconds = peak(Path(made), step)
                    label = f"{rows:>9,} rows, {images:>7,} images, {step:<12}"
                    print(f"{label}: {size:,} MiB, {seconds:,.1f} s", flush=True)


if __name__ == "__main__":
    main()
