"""A curation of a million rows, then a little more: what each stage costs when little is new.

    python -m benchmarks incremental [--rows 1000000] [--images 1000] [--added 1000] [--export ms-swift] [--compare]

Questions about ``--images`` pictures of 16 pixels are curated in a process of their own: first from nothing (with what
numba compiles once on a machine; the last run, again from nothing, is without), then after one row is appended, one in
the middle is changed, a second file (a tenth of the rows) is removed, and ``--added`` pictures with a row each come in
a third file. CPU seconds are of the process and its workers, with the wall time in brackets, which says little on a
busy machine, and the peak memory of the process; stages under a tenth of a second are left out. The pictures are small:
what photographs would cost more is their decoding (``python -m benchmarks measure``). At the end the files are compared
with those of a run from nothing.

With ``--compare`` each answer is a caption of its own (``python -m benchmarks texts`` says how they are drawn), similar
texts are sought, and the rows are compared with an evaluation set of 1,000 rows, ten of them about pictures of the set.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from benchmarks.bench_texts import captions

_RUN = """
import json, resource, sys
from curate import pipeline
from curate.recipe import CurateRecipe
from winnow import run
from winnow.parquet.tables import look_for_no_pandas

look_for_no_pandas()  # as the command does
cpu = {}
plain = run.Stages.run
def busy():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
def timed(stages, name, action):
    began = busy()
    plain(stages, name, action)
    cpu[name] = round(busy() - began, 2)
run.Stages.run = timed
done = pipeline.run(CurateRecipe.model_validate(json.loads(sys.argv[1])), "recipe.yaml", workers=2)
peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open(sys.argv[2], "w") as file:  # longer runs say on stdout how far they are
    json.dump([cpu, done.seconds, peak], file)
"""
_NOUNS = [f"{noun} {letter}" for noun in ("cat", "dog", "bus", "tree", "chair", "plate") for letter in "abcdefghij"]
_QUESTIONS = ("What color is the {}?", "How many {}s are there?", "Is there a {}?", "What is next to the {}?")
_ANSWERS = ("yes", "no", "red", "blue", "2", "3", "at the table", "a white frisbee")
_HELD = 1000  # rows of the evaluation set
_COMPARED = ("samples.jsonl", "samples.parquet", "ledger.jsonl", "decisions.parquet", "duplicates.parquet")


def row(number: int, image: str, caption: str | None = None) -> str:
    """One question with ten votes, or with a caption."""
    chance = random.Random(number)
    votes = [caption] if caption else chance.choices(_ANSWERS, k=10)
    turns = [
        {"from": "user", "value": chance.choice(_QUESTIONS).format(chance.choice(_NOUNS))},
        {"from": "assistant", "value": votes[0]},
    ]
    record = {"id": f"vqa/train/{number}", "image": image, "conversations": turns, "answers": votes}
    return json.dumps({**record, "source": "vqa", "split": "train", "meta": {"answer_type": "other"}}) + "\n"


def picture(path: Path, number: int) -> str:
    """A 16-pixel picture that no other number has."""
    pixels = random.Random(number).randbytes(768)
    Image.frombytes("RGB", (16, 16), pixels).save(path / f"{number}.png")
    return f"{number}.png"


class Ran(NamedTuple):
    """What a run took.

    Attributes:
        busy, wall: seconds of CPU, with the workers, and of time.
        cpu, seconds: of them, by stage.
        peak: bytes of memory of the main process.
    """

    busy: float
    wall: float
    cpu: dict[str, float]
    seconds: dict[str, float]
    peak: int


def run_once(folder: Path, out: str, exports: Sequence[str] = (), compare: Mapping[str, Any] | None = None) -> Ran:
    """Run the recipe in a process of its own.

    Args:
        compare: more of the recipe.
    """
    recipe = {
        "name": "bench",
        "out": str(folder / out),
        "sources": [{"location": str(folder / "rows-*.jsonl"), "image_root": str(folder / "images")}],
        "rules": {"disputed": {"when": "agreement < 0.3", "action": "flag"}},
        "duplicates": {},
        "exports": [{"to": name} for name in exports],
        **(compare or {}),
    }
    before, began = _cpu(), time.perf_counter()
    said = folder / "ran.json"
    command = [sys.executable, "-c", _RUN, json.dumps(recipe), str(said)]
    # Bytecode is kept, as where Winnow is installed, whatever the environment of this process says.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    return Ran(_cpu() - before, time.perf_counter() - began, *json.loads(said.read_text()))


def comparisons(folder: Path) -> dict[str, Any]:
    """What ``--compare`` adds to the recipe."""
    held = {"location": str(folder / "held.jsonl"), "image_root": str(folder / "images"), "source": "held"}
    return {"similar_texts": {}, "contamination": {"against": [held]}}


def curate(folder: Path, out: str, exports: Sequence[str], compare: Mapping[str, Any]) -> str:
    """Run the recipe; a line about it."""
    ran = run_once(folder, out, exports, compare)
    stages = (f"{name} {spent:.1f} ({ran.seconds[name]:.1f})" for name, spent in ran.cpu.items() if spent >= 0.1)
    return f"{ran.busy:6.1f} s CPU ({ran.wall:.1f} s), {ran.peak / 1e6:,.0f} MB: {', '.join(stages)}"


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def steps(
    folder: Path, rows: int, images: int, added: int, texts: Iterator[str | None]
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each change of the input, by name.

    Args:
        texts: caption of each row that is written, if it has one.
    """
    first, second, third = (folder / f"rows-{number}.jsonl" for number in (1, 2, 3))
    places, most = folder / "images", rows - rows // 10

    def begin() -> None:
        places.mkdir()
        names = [picture(places, number) for number in range(images)]
        for path, numbers in ((first, range(most)), (second, range(most, rows))):
            with path.open("w") as handle:
                handle.writelines(row(number, names[number % images], next(texts)) for number in numbers)
        numbers = range(20 * rows, 20 * rows + _HELD)
        shown = [names[number] for number in range(10)] + [picture(places, number) for number in numbers[10:]]
        (folder / "held.jsonl").write_text("".join(map(row, numbers, shown)))

    def append() -> None:
        with first.open("a") as handle:
            handle.write(row(rows, "0.png", next(texts)))

    def change() -> None:
        lines = first.read_text().splitlines(keepends=True)
        lines[most // 2] = lines[most // 2].replace('"answer_type": "other"', '"answer_type": "OTHER"')
        first.write_text("".join(lines))

    def add() -> None:
        numbers = range(10 * rows, 10 * rows + added)
        third.write_text("".join(row(number, picture(places, number), next(texts)) for number in numbers))

    yield "first run", begin
    yield "again", lambda: None
    yield "one row appended", append
    yield "one row changed", change
    yield "a file removed", second.unlink
    yield f"{added:,} images added", add


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--added", type=int, default=1000)
    parser.add_argument("--export", action="append", default=[], help="also write this export; repeatable")
    parser.add_argument("--compare", action="store_true", help="also seek similar texts and evaluation rows")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = asked.rows + asked.added + 1
        texts = itertools.chain.from_iterable(captions(written)) if asked.compare else itertools.repeat(None, written)
        compare = comparisons(folder) if asked.compare else {}
        for label, change in steps(folder, asked.rows, asked.images, asked.added, texts):
            change()
            print(f"{label:22}{curate(folder, 'grown', asked.export, compare)}", flush=True)
        print(f"{'from nothing':22}{curate(folder, 'fresh', asked.export, compare)}", flush=True)
        exported = (path.relative_to(folder / "fresh") for path in (folder / "fresh/exports").glob("*/*.json*"))
        compared = [*_COMPARED, *(str(path) for path in exported if path.name != "manifest.json")]
        differ = [name for name in compared if _digest(folder / "grown" / name) != _digest(folder / "fresh" / name)]
        print(f"the same files: {'NO: ' + ', '.join(differ) if differ else 'yes'}")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
