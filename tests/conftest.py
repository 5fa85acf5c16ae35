from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.loop import whole_loop

# The models are tiny: with more threads, and other processes on the machine, they would mostly wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# TRL, which losses and masks are compared with, computes by Triton: on CPUs only by its interpreter.
os.environ.setdefault("TRITON_INTERPRET", "1")

# Tests kill processes and never the machine, and what a process has written outlives it without reaching the disk.
os.fsync = lambda _: None

# Examples take as long as the machine is busy: neither a slow one nor slow drawing says anything about the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Tests interrupt the commands they start, which inherit ignored signals from pytest. `nohup`, and `&` in a script,
# start pytest with some of them ignored.
for _signal, _default in {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}.items():
    if signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(_signal, _default)

_SHARE_THE_LOOP = (
    "tests/dashboards/app_pages/test_counts.py",
    "tests/studies/test_proof_end_to_end.py",
    "tests/test_reviewer_day.py",
    "tests/test_whole_loop.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with slow tests first, so that parallel workers finish at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("browser")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker whole files, in the order above, and all files that use ``loop`` to the same worker."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = super()._split_scope(nodeid)
            return "loop" if path in _SHARE_THE_LOOP else path

    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.fixture(scope="session")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of one small run of every stage; its recipes lie beside it."""
    data = tmp_path_factory.mktemp("loop") / "data"
    whole_loop(data)
    return data
