"""`curate run` on two Ray nodes, out of a bucket and into it; the command, a worker or the second node is killed.

The second node sees none of the command's files. It comes back after it was killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.chaos.kills import Work, kill
from tests.curate import killed_set
from tests.object_store import ObjectStore, object_store
from tests.ray_nodes import Nodes, two_nodes

_BUCKET = "chaos"


@contextlib.contextmanager
def curation_on_nodes(folder: Path, chance: random.Random) -> Iterator[Work]:
    """With a cluster and a store of its own, until the block ends."""
    with object_store(folder) as store, two_nodes(folder / "cache", {"WINNOW_CACHE": str(folder / "second")}) as nodes:
        yield work_on(nodes, store, chance)


def work_on(nodes: Nodes, store: ObjectStore, chance: random.Random) -> Work:
    """On the set of ``tests.curate.killed_set``; the cache of the command is hidden from the second node."""
    store.client.create_bucket(Bucket=_BUCKET)

    def make(folder: Path) -> None:
        killed_set.make(folder)
        store.upload(folder, _BUCKET, "data")
        there = {"image_root": f"s3://{_BUCKET}/data/images"}
        recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
        recipe["sources"] = [{"location": f"s3://{_BUCKET}/data/rows.jsonl", **there}]
        held = {"location": f"s3://{_BUCKET}/data/held.jsonl", **there, "source": "held"}
        recipe |= {"out": f"s3://{_BUCKET}/out", "contamination": {"against": [held]}}
        recipe["signals"] = {"engine": "ray", "shard_size": 8}
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))

    def outputs(_: Path) -> dict[str, Any]:
        names = [name for name in store.keys(_BUCKET, "out/") if not {"work", ".cache"} & {*name.split("/")}]
        assert "out/lock.json" not in names
        found: dict[str, Any] = {name: store.body(_BUCKET, name) for name in names if name != "out/objects.json"}
        manifest = json.loads(found.pop("out/manifest.json"))
        digests = {name: hashlib.sha256(body).hexdigest() for name, body in found.items()}
        return {**digests, **{name: manifest[name] for name in ("counts", "outputs", "inputs")}}

    def worker(_: subprocess.Popen[bytes]) -> bool:
        workers = nodes.workers()
        return bool(workers) and kill(chance.choice(workers))

    def node(_: subprocess.Popen[bytes]) -> bool:
        killed = nodes.kill_second()
        nodes.start_second()
        return killed

    return Work(
        make, lambda: [sys.executable, "-m", "curate", "run", "recipe.yaml"], outputs,
        {"command": lambda command: kill(command.pid), "worker": worker, "node": node}, start_up=1.0,
        clear=lambda _: store.remove(_BUCKET, "out/"),
    )  # fmt: skip
