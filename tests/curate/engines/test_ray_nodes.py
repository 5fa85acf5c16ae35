"""A Ray cluster of two real nodes, of which one is killed."""

import functools
import os
import signal
import time
from pathlib import Path

import pytest

from curate.engines import open_pool, run_parts
from tests.curate.engines.test_local_pool import here, parts_of, squares, write_square
from tests.curate.engines.work import BYTES, heavy, once_in, refuses, where
from winnow.errors import UserError

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[3]), prepend=os.pathsep)
        patch.setattr("curate.engines.worker._BASE", 0.1)
        # GPUs that are not there: what is tested is who gets them. Each node numbers its own from 0.
        node = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": 100 << 20}
        started = Cluster(True, head_node_args={**node, "include_dashboard": False})
        patch.setenv("RAY_ADDRESS", started.address)
        second = started.add_node(**node)
        started.wait_for_nodes()
        with open_pool("ray", None) as pool:
            yield pool, second
        started.shutdown()


def test_models_have_a_gpu_each_and_one_that_dies_loses_no_batch(cluster, tmp_path):
    models = cluster[0].models
    found = [one for (one,) in models.map(where, ([[n, n]] for n in range(6)), lambda item: "crash")]
    assert len({process for process, *_ in found}) == len({node for _, node, _ in found}) == 2
    assert [total for *_, total in found] == [0, 2, 4, 6, 8, 10]
    for what in ("SIGKILL", "unreachable"):
        (tmp_path / what).mkdir()
        task = functools.partial(once_in, str(tmp_path / what), what)
        batches = ([[n, n + 1]] for n in range(10))
        again = models.map(task, batches, lambda item: "crash", lambda *lost: lost)
        assert [one for (one,) in again] == [squares([n, n + 1]) for n in range(10)]
        assert (tmp_path / what / "done").exists()


def test_parts_are_those_of_this_process_also_where_a_worker_is_killed(cluster, tmp_path):
    expected, folder = parts_of(tmp_path, here), tmp_path / "cluster"
    folder.mkdir()
    assert parts_of(folder, run_parts(cluster[0], write_square), "SIGKILL") == expected
    assert (folder / "done").exists()


def test_a_sentence_for_the_user_stays_one(cluster):
    with pytest.raises(UserError) as caught:
        list(cluster[0].map(refuses, [[1]], lambda item: None))
    assert str(caught.value) == "this is wrong: mend it"


def test_results_on_a_node_that_dies_are_made_again(cluster, tmp_path):
    pool, second = cluster
    task = functools.partial(heavy, str(tmp_path))
    found = pool.map(task, [[number] for number in range(8)], lambda item: "crash", lambda *lost: lost)
    results = [next(found)]
    while len(list(tmp_path.iterdir())) < 8:
        time.sleep(0.1)
    assert any(path.name.startswith(second.node_id) for path in tmp_path.iterdir())
    time.sleep(1)  # the results of what is under way lie on the two nodes
    os.kill(second.all_processes["raylet"][0].process.pid, signal.SIGKILL)
    results += found
    assert [int(one[0][0]) for one in results] == list(range(8))
    assert all(one[0].shape == (BYTES,) for one in results)
    assert len(list(tmp_path.iterdir())) > 8
