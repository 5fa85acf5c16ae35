"""What the workers of a Ray cluster are given to do in tests: they import it by name."""

import os
import tempfile
import time

import numpy as np
import ray

from tests.curate.engines.test_local_pool import once
from winnow.errors import UserError

BYTES = 400_000  # of a result: more than Ray keeps with the caller, so it lies on the node that made it


def heavy(folder, numbers):
    """Large results; leaves a file for each call, by the name of its node."""
    time.sleep(0.7)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=ray.get_runtime_context().get_node_id(), delete=False):
        return [np.full(BYTES, number, np.uint8) for number in numbers]


def where(batches):
    return [(os.getpid(), ray.get_runtime_context().get_node_id(), sum(batch)) for batch in batches]


def once_in(folder, what, batches):
    return [once(folder, what, batch) for batch in batches]


def refuses(items):
    raise UserError("this is wrong: mend it")
