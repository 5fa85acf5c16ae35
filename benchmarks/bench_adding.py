"""A thousand images added to a curation of a million: what the search for duplicates costs then.

    python -m benchmarks.bench_adding [--images 1000000] [--added 1000]

Stored signals and rows are generated (random hashes, thumbnails, views and keypoints, 1 in 100 a copy of an earlier
image), as ``curate run`` leaves them after measuring. Timed are the first search, one after the images were added, and
one from the start, whose files must be the same, byte for byte. Times are of CPU, with the wall time in brackets; an
image takes 14 KB of disk meanwhile.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import shutil
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.duplicates.edits.stored_edits import EditedCopies
from curate.duplicates.images.block_pairs import search_stored
from curate.duplicates.images.stored import read_stored
from curate.duplicates.rows import find_duplicates
from curate.duplicates.splits import assign_splits
from curate.kinds import EDITS
from curate.measure.store import image_schema
from curate.settings.copies import DuplicateSettings, MatchSettings, sought
from curate.settings.outputs import SplitSettings
from curate.signals.keypoints import KEPT, KEY_BITS, POINT
from curate.workspace import LOOKS, Workspace

PART = 2048  # images a part, as `shard_size` has it by default
_WIDTH = 768
_VIEW = 60, 80  # height and width


def write_parts(space: Workspace, first: int, count: int, rng: np.random.Generator) -> None:
    """Parts with the images ``first`` to ``first + count`` - 1; the copies are of the 100 images before them."""
    space.signals.mkdir(parents=True, exist_ok=True)
    schema = image_schema(None, {})
    for start in range(first, first + count, PART):
        size = min(PART, first + count - start)
        hashes = rng.integers(0, 2**64, (2, size), dtype=np.uint64)
        pixels = rng.integers(0, 256, (size, _WIDTH), dtype=np.uint8)
        looks = np.concatenate(
            [np.full((size, 2), _VIEW, np.uint8), rng.integers(0, 256, (size, _VIEW[0] * _VIEW[1]), np.uint8)], axis=1
        )
        points = rng.integers(0, 256, (size, KEPT * POINT.itemsize), np.uint8).view(POINT)
        points["unsure"] %= KEY_BITS
        copies = np.flatnonzero(rng.random(size) < 0.01)
        copies = copies[copies >= 100]
        originals = copies - rng.integers(1, 100, len(copies))
        hashes[:, copies] = hashes[:, originals] ^ np.uint64(0b101)
        for values in (pixels, looks, points):
            values[copies] = values[originals]
        known = {
            "image_key": pa.array([_key(number) for number in range(start, start + size)]),
            "phash": pa.array(hashes[0]),
            "dhash": pa.array(hashes[1]),
            "thumbnail": pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(_WIDTH), size, [None, pa.py_buffer(pixels.tobytes())]
            ),
            "look": pa.array([look.tobytes() for look in looks]),
            "keypoints": pa.array([found.tobytes() for found in points]),
            "like_paper": pa.array(np.zeros(size, bool)),
            "width": pa.array(np.full(size, 640, np.int32)),
            "height": pa.array(rng.integers(400, 800, size).astype(np.int32)),
        }
        columns = [known.get(field.name, pa.nulls(size, field.type)) for field in schema]
        number = len(space.image_parts())
        pq.write_table(pa.Table.from_arrays(columns, schema=schema), space.signals / f"part-{number:05d}.parquet")


def _key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def write_rows(space: Workspace, count: int) -> None:
    """One row about each image."""
    space.work.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(":memory:") as connection:
        key, path = "sha256(range::VARCHAR)", "range || '.jpg'"
        for target, query in (
            (
                space.corrected.folder / "all.parquet",
                f"""SELECT 'set/train/' || range AS sample_id, [{path}] AS images,
                    [{key}] AS image_keys, ['yes', 'no'] AS answers, 'what is it' AS question_key,
                    'number ' || range % 3 AS answer_key, '' AS context_key FROM range({count})""",
            ),
            (
                space.paths,
                f"""SELECT {path} AS path, {key} AS image_key, NULL::VARCHAR AS error,
                    NULL::VARCHAR AS error_detail FROM range({count})""",
            ),
            (space.text.folder / "all.parquet", f"SELECT 'set/train/' || range AS sample_id FROM range({count})"),
        ):
            target.parent.mkdir(parents=True, exist_ok=True)
            connection.execute(f"COPY ({query}) TO '{target}' (FORMAT parquet, ROW_GROUP_SIZE 16384)")
    for parts in (space.corrected, space.text):
        parts.state.unlink(missing_ok=True)
        parts.finish(["all.parquet"])


def timed(label: str, space: Workspace, settings: DuplicateSettings) -> list[bytes]:
    """Print what each part of the step costs; returns the files that it writes."""
    _peak()
    marks = [(time.perf_counter(), time.process_time())]
    stored = read_stored(space)
    marks.append((time.perf_counter(), time.process_time()))
    found = search_stored(stored, settings)
    marks.append((time.perf_counter(), time.process_time()))
    EditedCopies(space, set(sought(settings.kinds)) & set(EDITS)).among()
    marks.append((time.perf_counter(), time.process_time()))
    count = len(stored.fingerprints)
    del stored
    find_duplicates(space, settings)
    marks.append((time.perf_counter(), time.process_time()))
    match = MatchSettings(**settings.model_dump(include=set(MatchSettings.model_fields)))
    assign_splits(space, SplitSettings(shares={"train": 0.9, "val": 0.1}), match)
    marks.append((time.perf_counter(), time.process_time()))
    words = [f"{b[1] - a[1]:.2f} s ({b[0] - a[0]:.2f})" for a, b in itertools.pairwise(marks)]
    print(
        f"{label}: {count:,} images: new parts read in {words[0]}, searched in {words[1]} ({len(found.near):,} pairs),"
        f" edited copies in {words[2]}, stars and rows in {words[3]}, splits in {words[4]}; peak memory {_peak():,} MB",
        flush=True,
    )
    return [path.read_bytes() for path in (space.duplicate_images, space.comparable_rows, space.splits)]


def _peak() -> int:
    """Largest resident memory since the last call, in MB."""
    found = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return int(found.split()[1]) // 1024


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--added", type=int, default=1000)
    asked = parser.parse_args()
    rng, settings = np.random.default_rng(0), DuplicateSettings()
    with tempfile.TemporaryDirectory() as folder:
        space = Workspace(Path(folder))
        write_parts(space, 0, asked.images, rng)
        write_rows(space, asked.images)
        timed("first", space, settings)
        write_parts(space, asked.images, asked.added, rng)
        write_rows(space, asked.images + asked.added)
        grown = timed("added", space, settings)
        for kept in ("fingerprints", LOOKS):
            shutil.rmtree(space.work / kept)
        fresh = timed("from the start", space, settings)
        print(f"the same files: {'yes' if fresh == grown else 'NO'}")


if __name__ == "__main__":
    main()
