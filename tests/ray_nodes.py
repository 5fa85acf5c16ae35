"""A Ray cluster of two nodes on this machine, of which the second sees none of the command's files and can lose power.

The second node runs in namespaces of its own: a folder is hidden from it, and its processes die together.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.processes import children, runs

REPO = Path(__file__).parents[1]
_NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
# GPUs that are not there: what is tested is who gets them. Each node numbers its own from 0.
_NODE = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": 100 << 20}
_ENVIRONMENT = {
    "PYTHONPATH": str(REPO),
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A node that refuses connections counts as dead after 5 of these; one that is slow has 10 s for each answer.
    "RAY_health_check_period_ms": "300",
    "RAY_worker_niceness": "0",  # Ray's 15 would leave them nothing beside other tests
}
_START = (
    "import sys; from ray.scripts.scripts import main; sys.argv = ['ray', 'start', '--block', *sys.argv[1:]]; main()"
)


def can_hide() -> bool:
    """Whether this machine lets processes have namespaces of their own."""
    return bool(shutil.which("unshare")) and not subprocess.run([*_NAMESPACES, "true"], capture_output=True).returncode


class Nodes:
    """The cluster.

    Attributes:
        address: for ``RAY_ADDRESS``.
        hidden: the folder that the second node sees as an empty one.
    """

    def __init__(self, head: Any, hidden: Path, environment: Mapping[str, str]) -> None:
        self.address: str = head.address
        self.hidden = hidden
        self._head, self._environment = head, environment
        self._second: subprocess.Popen[bytes] | None = None

    def start_second(self) -> None:
        """Start the second node, and wait until it is part of the cluster."""
        options = [f"--{name.replace('_', '-')}={value}" for name, value in _NODE.items()]
        command = [sys.executable, "-c", _START, f"--address={self.address}", *options]
        hide = f'mount -t tmpfs none "{self.hidden}" && exec "$@"'
        self._second = subprocess.Popen(
            [*_NAMESPACES, "sh", "-c", hide, "sh", *command],
            env={**self._environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        for _ in range(3000):
            if self.alive() == 2:
                return
            assert self._second.poll() is None, "the second node does not start"
            time.sleep(0.1)
        raise AssertionError("the second node does not join")

    def kill_second(self) -> bool:
        """End all processes of the second node at once; False if it is not there. None lives when this returns."""
        if self._second is None:
            return False
        # With the first process of a namespace all others end, and `unshare` waits for them. Were `unshare` killed, it
        # would be gone at once, and they some milliseconds later: enough to hand over all results.
        for first in children(self._second.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(first, signal.SIGKILL)
        self._second.wait()
        self._second = None
        return True

    def workers(self) -> list[int]:
        """Processes of the first node that work, or wait for work."""
        raylet = self._head.head_node.all_processes["raylet"][0].process.pid
        return [child for child in children(raylet) if runs(child, "ray::")]

    def await_end_of_second(self) -> None:
        """Wait until the cluster counts the second node, which was killed, no more."""
        for _ in range(3000):
            if self.alive() == 1:
                return
            time.sleep(0.1)
        raise AssertionError("a killed node is still counted")

    def alive(self) -> int:
        """Nodes that the cluster counts."""
        return len(self._head.global_state._live_node_ids())


@contextlib.contextmanager
def two_nodes(hidden: Path, second: Mapping[str, str]) -> Iterator[Nodes]:
    """The cluster, until the block ends; ``RAY_ADDRESS`` names it, and its workers import what the tests do.

    Args:
        second: what the environment of the second node has more.
    """
    from ray.cluster_utils import Cluster

    hidden.mkdir(parents=True, exist_ok=True)
    before = dict(os.environ)
    os.environ.update(_ENVIRONMENT)
    head = Cluster(True, head_node_args={**_NODE, "include_dashboard": False})
    os.environ["RAY_ADDRESS"] = head.address
    nodes = Nodes(head, hidden, {**os.environ, **second})
    try:
        nodes.start_second()
        yield nodes
    finally:
        nodes.kill_second()
        head.shutdown()
        os.environ.clear()
        os.environ.update(before)
