import functools
import os
import signal
import subprocess
import sys
import time

import pytest

from curate.engines.local import LocalPool
from curate.engines.worker import time_limit


def squares(numbers):
    return [number * number for number in numbers]


def fragile(poison, numbers):
    """Dies, as a crashing decoder would, when it meets ``poison``."""
    if poison in numbers:
        os.kill(os.getpid(), signal.SIGSEGV)
    return squares(numbers)


def batches(count, size=3):
    return [list(range(start, min(start + size, count))) for start in range(0, count, size)]


@pytest.mark.slow
def test_results_come_in_order_whatever_the_workers():
    expected = [squares(batch) for batch in batches(50)]
    for workers in (1, 2):
        with LocalPool(workers) as pool:
            assert list(pool.map(squares, batches(50), lambda item: None)) == expected
            assert list(pool.map(squares, iter(()), lambda item: None)) == []


@pytest.mark.slow
def test_an_item_that_kills_its_process_costs_itself():
    with LocalPool(2) as pool:
        found = pool.map(functools.partial(fragile, 7), batches(40), lambda item: f"crash {item}")
        results = [result for batch in found for result in batch]
    assert results == ["crash 7" if number == 7 else number * number for number in range(40)]


def endless(numbers):
    """Hangs, as a decoder in an endless loop would, on the number 7."""
    for number in numbers:
        with time_limit(1):
            if number == 7:
                time.sleep(600)
    return squares(numbers)


@pytest.mark.slow
def test_an_item_that_never_ends_costs_itself():
    with LocalPool(2) as pool:
        found = pool.map(endless, batches(20), lambda item: f"hang {item}")
        results = [result for batch in found for result in batch]
    assert results == ["hang 7" if number == 7 else number * number for number in range(20)]


@pytest.mark.slow
def test_a_time_limit_does_not_end_the_main_process():
    with time_limit(1):
        time.sleep(1.2)


def test_workers_end_with_a_killed_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, time\n"
        "from curate.engines.local import LocalPool\n"
        "def pids(items):\n"
        "    time.sleep(0.2)\n"
        "    return [os.getpid() for _ in items]\n"
        "if __name__ == '__main__':\n"
        "    with LocalPool(2) as pool:\n"
        "        for found in pool.map(pids, ([n] for n in range(10_000)), lambda item: 0):\n"
        "            print(found[0], flush=True)\n"
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        workers = {int(parent.stdout.readline()) for _ in range(6)}
        parent.kill()
    deadline = time.monotonic() + 30
    while (alive := [pid for pid in workers if running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive


def running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
        return stat.read().rpartition(")")[2].split()[0] != "Z"
