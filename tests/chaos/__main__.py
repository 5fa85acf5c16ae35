"""Kill commands at random moments; what they leave is compared byte by byte with what undisturbed ones leave.

python -m tests.chaos [--kills 50] [--seed 0] [curation] [training] [evaluation] [cluster]      `make chaos`

All four, or those that are named, are killed so often each. The cluster needs Ray and namespaces (``unshare``).
"""

from __future__ import annotations

import argparse
import contextlib
import random
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from tests.chaos.cluster import curation_on_nodes
from tests.chaos.curation import curation
from tests.chaos.evaluation import evaluation
from tests.chaos.kills import Work, chaos
from tests.chaos.training import training

_WORKS: dict[str, Callable[[Path, random.Random], AbstractContextManager[Work]]] = {
    "curation": lambda _, chance: contextlib.nullcontext(curation(chance)),
    "training": lambda *_: contextlib.nullcontext(training()),
    "evaluation": lambda folder, _: evaluation(folder),
    "cluster": curation_on_nodes,
}


def main() -> None:
    options = argparse.ArgumentParser(
        "tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("works", nargs="*", metavar="WHAT", help=", ".join(_WORKS))
    asked = options.parse_args()
    if unknown := set(asked.works) - _WORKS.keys():
        options.error(f"{unknown.pop()}: there are {', '.join(_WORKS)}")
    for name in asked.works or _WORKS:
        chance = random.Random(asked.seed)
        with tempfile.TemporaryDirectory() as folder, _WORKS[name](Path(folder), chance) as work:
            done = chaos(work, Path(folder) / "run", asked.kills, chance)
        killed = ", ".join(f"{victim} {n}" for victim, n in sorted(done.items()))
        print(f"{name}: the same bytes after {done.total()} kills: {killed}", flush=True)


if __name__ == "__main__":
    main()
