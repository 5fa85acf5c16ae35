"""What the workers of a Ray cluster are given to do in tests: they import it by name."""

import json
import os
import tempfile
import time

import numpy as np
import ray

from tests.curate.engines.test_local_pool import once
from winnow.errors import UserError

BYTES = 400_000  # of a result: more than Ray keeps with the caller, so it lies on the node that made it


def heavy(folder, second, numbers):
    """Large results; leaves a file for each call, by the name of its node.

    A node has one CPU: when two calls have begun on the second one, the result of the former lies there. Until then the
    other node keeps its own call, so that the second one is sure to get them; nobody waits in call 0, which is fetched.
    """
    node = ray.get_runtime_context().get_node_id()
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f"{node}-{numbers[0]}-", delete=False):
        while numbers[0] and node != second and len(calls_on(folder, second)) < 2:
            time.sleep(0.05)
        return [np.full(BYTES, number, np.uint8) for number in numbers]


def calls_on(folder, node):
    """What has begun on a node, but for call 0."""
    return [name for name in os.listdir(folder) if name.startswith(node) and "-0-" not in name]  # noqa: PTH208


def busy_until(file):
    """Keeps its node from other work."""
    while not os.path.exists(file):  # noqa: PTH110
        time.sleep(0.05)


def where(batches):
    return [(os.getpid(), ray.get_runtime_context().get_node_id(), sum(batch)) for batch in batches]


def once_in(folder, what, batches):
    return [once(folder, what, batch) for batch in batches]


def refuses(items):
    raise UserError("this is wrong: mend it")


def node_of_part(item):
    """Two files: one beside, and one of what was read, on which node, and whether where the command has it.

    The first call on each node waits for one on another.
    """
    path, (given, marks) = item
    node = ray.get_runtime_context().get_node_id()
    with open(f"{marks}/{node}", "w"):  # noqa: PTH123
        pass
    while len(os.listdir(marks)) < 2:  # noqa: PTH208
        time.sleep(0.05)
    path.with_name(f"{path.name}.beside").write_text("beside")
    path.write_text(json.dumps([given.read_text(), node, "/hidden/" in str(path)]))
