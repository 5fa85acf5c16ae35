import functools
import os
import signal
import subprocess
import sys
import threading
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.engines import open_pool, run_parts, runner_of
from curate.engines.local import LocalPool
from curate.engines.worker import TRIES, Unreachable, time_limit
from winnow.errors import UserError
from winnow.parquet.table_parts import Parts, PartTask


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


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("curate.engines.worker._BASE", 0.01)


def slow_squares(numbers):
    time.sleep(0.02)
    return squares(numbers)


@pytest.mark.slow
def test_workers_killed_from_outside_lose_nothing(impatient):
    """All workers are killed again and again, wherever they are: starting, waiting, working, sending."""
    with LocalPool(2) as pool:
        found, results = pool.map(slow_squares, batches(600), lambda item: f"crash {item}"), []
        for number, batch in enumerate(found):
            results += batch
            if number % 20 == 3:
                for worker in pool._all:
                    if worker._process is not None:
                        worker._process.kill()
    assert results == [number * number for number in range(600)]


def killed_by(name, numbers):
    """The signal comes from the process itself here; that of the system's memory killer looks the same."""
    if 7 in numbers:
        os.kill(os.getpid(), getattr(signal, name))
    return squares(numbers)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGHUP"])
def test_an_item_whose_workers_are_always_killed_is_lost_and_no_other(impatient, monkeypatch, name):
    monkeypatch.setattr("curate.engines.worker.TRIES", 2)  # each starts a process
    with LocalPool(2) as pool:
        found = pool.map(functools.partial(killed_by, name), batches(20), lambda item: "crash", lambda *lost: lost)
        results = [result for batch in found for result in batch]
    assert results.pop(7)[0] == 7
    assert results == [number * number for number in range(20) if number != 7]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL"])
def test_a_fault_is_the_items(impatient, name):
    with LocalPool(2) as pool:
        found = pool.map(functools.partial(killed_by, name), batches(12), lambda item: "crash", lambda *lost: "lost")
        assert [result for batch in found for result in batch][6:9] == [36, "crash", 64]


def leaves(numbers):
    """As a C library that calls ``exit``."""
    if 7 in numbers:
        os._exit(3)
    return squares(numbers)


@pytest.mark.slow
def test_a_process_that_ends_by_itself_is_no_killed_one(impatient):
    with LocalPool(2) as pool:
        found = pool.map(leaves, batches(9), lambda item: "crash", lambda *lost: "lost")
        assert [result for batch in found for result in batch][6:] == [36, "crash", 64]


def once(folder, what, numbers):
    """Does ``what`` the first time that it meets 7, in any process."""
    if 7 in numbers:
        try:
            os.close(os.open(f"{folder}/done", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return squares(numbers)
        if what == "unreachable":
            raise Unreachable("the share is away")
        os.kill(os.getpid(), getattr(signal, what))
    return squares(numbers)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["SIGKILL", "SIGSEGV", "unreachable"])
def test_what_goes_wrong_once_is_no_loss(impatient, tmp_path, what):
    with LocalPool(2) as pool:
        found = pool.map(functools.partial(once, str(tmp_path), what), batches(12), lambda item: "crash")
        assert [result for batch in found for result in batch] == squares(range(12))
    assert (tmp_path / "done").exists()


def away(calls, numbers):
    calls.extend(number for number in numbers if number % 4 == 3)
    if any(number % 4 == 3 for number in numbers):
        raise Unreachable("the share is away")
    return squares(numbers)


def test_a_store_that_stays_away_costs_its_items_and_says_why(impatient):
    calls = []
    with LocalPool(1) as pool:
        found = pool.map(functools.partial(away, calls), batches(12), lambda item: "crash", lambda *lost: lost)
        results = [result for batch in found for result in batch]
        assert results[3] == (3, "the share is away") and results[4:7] == [16, 25, 36]
        assert calls.count(3) == TRIES + 1 == calls.count(11)  # in its batch, then alone
        with pytest.raises(UserError, match="the share is away; run again"):
            list(pool.map(functools.partial(away, calls), batches(12), lambda item: "crash"))


def test_a_store_that_is_down_is_not_waited_for_by_each_of_a_million_items(impatient):
    calls = []
    numbers = [[3, 7, 11]] * 20
    with LocalPool(1) as pool:
        list(pool.map(functools.partial(away, calls), numbers, lambda item: "crash", lambda *lost: lost))
    assert len(calls) < 3 * 20 * 2 + TRIES + 1


def raises(numbers):
    raise ValueError("it is odd")


def answers_with_a_lock(numbers):
    return [threading.Lock() for _ in numbers]


@pytest.mark.slow
def test_what_a_function_raises_is_raised_here_with_where_it_was():
    with LocalPool(2) as pool:
        with pytest.raises(ValueError, match="it is odd") as caught:
            list(pool.map(raises, batches(9), lambda item: None))
        assert "in raises" in caught.value.__notes__[0]
        with pytest.raises(TypeError, match="cannot be sent"):
            list(pool.map(answers_with_a_lock, batches(3), lambda item: None))
        assert list(pool.map(squares, batches(6), lambda item: None)) == [[0, 1, 4], [9, 16, 25]]


@pytest.mark.slow
def test_no_process_outlives_its_pool():
    with LocalPool(2) as pool:
        found = pool.map(slow_squares, batches(60), lambda item: None)
        next(found)
        processes = [worker._process for worker in pool._all if worker._process]
    assert processes and not any(process.is_alive() for process in processes)


def write_square(item):
    path, (number, folder, what) = item
    if what:
        once(folder, what, [number])
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    pq.write_table(pa.table({"square": [number * number]}), temporary)
    temporary.replace(path)


def parts_of(folder, run, what=None, marks=None):
    tasks = [PartTask(number, (number, str(marks or folder), what)) for number in range(10)]
    parts = Parts(folder / "parts")
    args = {task.name: task.args for task in tasks}
    list(run([(parts.folder / name, args[name]) for name in parts.missing(args)]))
    parts.finish(list(args))
    return {path.name: path.read_bytes() for path in [*parts.files(), parts.folder / "parts.json"]}


def here(items):
    for item in items:
        yield write_square(item)


@pytest.mark.slow
def test_parts_are_the_same_bytes_in_any_number_of_processes_also_where_one_is_killed(impatient, tmp_path):
    expected = parts_of(tmp_path / "here", here)
    assert len(expected) == 11
    for workers, what in ((1, None), (2, None), (2, "SIGKILL"), (2, "SIGSEGV")):
        folder = tmp_path / f"{workers}{what}"
        folder.mkdir()
        with LocalPool(workers) as pool:
            assert parts_of(folder, run_parts(pool, write_square), what) == expected


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_many_parts_are_made_by_processes_and_few_are_not(tmp_path, monkeypatch, workers):
    made_by = set()
    monkeypatch.setattr(LocalPool, "__enter__", lambda pool: made_by.add("pool") or pool)
    one_by_one = runner_of("local", workers, tmp_path)(write_square)
    few = parts_of(
        tmp_path / "few", lambda items: [None for at in range(0, 10, 4) for _ in one_by_one(items[at : at + 4])]
    )
    assert not made_by
    assert parts_of(tmp_path / "many", runner_of("local", workers, tmp_path)(write_square)) == few
    assert made_by == ({"pool"} if workers == 2 else set())


def dies(item):
    os.kill(os.getpid(), getattr(signal, item[1][2]))


@pytest.mark.slow
@pytest.mark.parametrize("what", ["SIGKILL", "SIGSEGV"])
def test_a_part_that_cannot_be_made_is_named(impatient, monkeypatch, tmp_path, what):
    monkeypatch.setattr("curate.engines.worker.TRIES", 2)  # each starts a process
    with LocalPool(2) as pool, pytest.raises(UserError, match=r"\.parquet: cannot be made from 0: .*; run again"):
        parts_of(tmp_path, run_parts(pool, dies), what)
    assert not Parts(tmp_path / "parts").exists()


def test_a_pool_of_the_recipe_has_two_processes_at_least():
    with open_pool("local", None) as pool:
        assert len(pool._all) >= 2
