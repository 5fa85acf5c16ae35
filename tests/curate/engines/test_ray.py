"""One Ray cluster for all: two nodes, of which the second sees none of the command's files and loses power twice."""

import contextlib
import functools
import json
import random
import sys
import threading
import time

import numpy as np
import pytest

from curate import pipeline
from curate.duplicates.images.block_pairs import search_stored
from curate.engines import open_pool, runner_of
from curate.engines.ray import connected
from curate.measure import texts
from curate.measure.image_models import measure_with
from curate.measure.images import measure_images
from curate.recipe import CurateRecipe
from curate.settings.signals import ClipSettings, MeasureSettings
from tests.chaos.cluster import work_on
from tests.chaos.kills import chaos
from tests.curate import sets, test_published
from tests.curate.duplicates.images.test_block_pairs import SETTINGS, parted, read_stored
from tests.curate.engines.test_local_pool import batches, endless, fragile, here, parts_of, squares, write_square
from tests.curate.make_images import clip_folder, noise, write
from tests.curate.measure.test_image_models import MODEL, digests, measured
from tests.curate.one_part import corrected_of
from tests.object_store import object_store
from tests.ray_nodes import can_hide, two_nodes
from winnow.errors import UserError
from winnow.rows.records import Sample, Turn

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
from tests.curate.engines.work import BYTES, busy_until, calls_on, heavy, node_of_part, once_in, refuses, where  # noqa: E402 (imports ray)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not can_hide(), reason="needs namespaces of its own (unshare)")]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The nodes; the driver's cache and all below ``hidden`` are hidden from the second one."""
    folder = tmp_path_factory.mktemp("ray")
    with object_store(folder) as store, two_nodes(folder / "hidden", {"WINNOW_CACHE": str(folder / "second")}) as nodes:
        store.client.create_bucket(Bucket="bucket")
        with pytest.MonkeyPatch.context() as patch, connected(None):
            patch.setenv("WINNOW_CACHE", str(folder / "hidden" / "cache"))
            patch.setattr("curate.engines.worker._BASE", 0.1)
            patch.setattr("curate.engines._FEW", 0)
            nodes.store, nodes.second_cache = store, folder / "second"
            yield nodes


@pytest.fixture
def both(cluster):
    """The cluster, after a node that was killed has joined it again."""
    if cluster.alive() < 2:
        cluster.start_second()
    return cluster


@pytest.fixture
def pool(both):
    with open_pool("ray", None) as started:
        yield started


def test_results_come_in_order(pool):
    assert list(pool.map(squares, batches(50), lambda item: None)) == [squares(batch) for batch in batches(50)]
    assert list(pool.map(squares, iter(()), lambda item: None)) == []


@pytest.mark.parametrize(("function", "poison"), [(functools.partial(fragile, 7), "dies"), (endless, "never ends")])
def test_an_item_that_kills_its_process_costs_itself(pool, function, poison):
    found = pool.map(function, batches(9), lambda item: f"{poison} {item}")
    results = [result for batch in found for result in batch]
    assert results == [f"{poison} 7" if number == 7 else number * number for number in range(9)]


def test_a_sentence_for_the_user_stays_one(pool):
    with pytest.raises(UserError) as caught:
        list(pool.map(refuses, [[1]], lambda item: None))
    assert str(caught.value) == "this is wrong: mend it"


def test_models_have_a_gpu_each_and_one_that_dies_loses_no_batch(pool, tmp_path):
    models = pool.models
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


def test_signals_models_and_texts_are_the_bytes_of_this_machine(both, tmp_path, monkeypatch):
    root = tmp_path / "root"
    for number in range(6):
        write(root / f"{number}.png", noise(30 + number, 20, number))
    write(root / "empty.png", b"")
    write(root / "cut.jpg", b"\xff\xd8\xff\xe0 no more")
    paths = sorted(path.name for path in root.iterdir())
    clip = ClipSettings(model=str(clip_folder(tmp_path / "clip")))
    settings = MeasureSettings(workers=1, shard_size=4, cleanvision=True, clip=clip, nsfw="opennsfw", batch_size=3)
    samples = [Sample(path, (path,), (Turn("user", "What?"), Turn("assistant", str(len(path))))) for path in paths]
    found = {}
    for engine in ("local", "ray"):
        asked, out = settings.model_copy(update={"engine": engine}), tmp_path / engine / "signals"
        assert measure_images(paths, root, out, asked).images == 8
        if engine == "ray":
            monkeypatch.setattr(texts, "clip_model", lambda _: pytest.fail("the command itself loads CLIP for texts"))
        made = texts.measure_text(corrected_of(samples, out.with_name("corrected")), out, asked)
        assert all(row["clip_alignment"] is not None for batch in made.batches() for row in batch.to_pylist()[:6])
        files = [file for file in out.rglob("*") if file.is_file() and file.name != "stat.parquet"]  # times of files
        found[engine] = {file.name: file.read_bytes() for file in files}
    assert {"part-00001.parquet", made.files()[0].name} <= found["local"].keys() == found["ray"].keys()
    assert {name for name in found["local"] if found["local"][name] != found["ray"][name]} == set()


def test_tables_of_slow_models_are_the_same_bytes(both, tmp_path):
    for number in range(9):
        write(tmp_path / "root" / f"{number}.png", noise(30 + number, 20, number))
    spaces = [measured(tmp_path / engine, tmp_path / "root") for engine in ("local", "ray")]
    for engine, space in zip(("local", "ray"), spaces, strict=True):
        measure_with(MODEL, space, tmp_path / "root", MeasureSettings(workers=1, engine=engine))
    assert len(digests(spaces[0])) == 1 and digests(spaces[0]) == digests(spaces[1])


def test_parts_are_those_of_this_process_also_where_nothing_is_shared_and_a_worker_is_killed(both, tmp_path):
    hidden = both.hidden / "parts"
    marks = tmp_path / "marks"
    marks.mkdir()
    expected = parts_of(tmp_path / "here", here)
    for place, what in ((hidden / "whole", None), (hidden / "killed", "SIGKILL"), (tmp_path / "shared", None)):
        place.mkdir(parents=True)
        run = runner_of("ray", None, place)
        folder = marks if what else place  # both nodes must see that it was done
        assert parts_of(place, run(write_square), what, folder) == expected
    assert (marks / "done").exists()


def test_parts_are_made_by_both_nodes_and_what_they_read_is_brought(both, tmp_path):
    result = both.hidden / "read"
    (result / "given").mkdir(parents=True)
    items = []
    for number in range(8):
        (result / "given" / f"{number}").write_text(f"text {number}")
        items.append((result / "made" / f"{number}", (result / "given" / f"{number}", str(tmp_path))))
    (result / "made").mkdir()
    list(runner_of("ray", None, result)(node_of_part)(items))
    made = [json.loads(path.read_text()) for path, _ in items]
    assert [text for text, *_ in made] == [f"text {number}" for number in range(8)]
    assert len({node for _, node, _ in made}) == 2
    assert {seen for *_, seen in made} == {True, False}
    assert sorted(path.name for path in (result / "made").iterdir()) == sorted(
        [*map(str, range(8)), *(f"{number}.beside" for number in range(8))]
    )


def test_pairs_of_blocks_are_those_of_this_process(both, tmp_path):
    parts = [list(range(5 * number, 5 * number + 5)) for number in range(18)]
    here = search_stored(read_stored(parted(tmp_path / "here", parts)), SETTINGS)
    expected = {path.name: path.read_bytes() for path in (tmp_path / "here").rglob("pairs-*/*.parquet")}
    assert len(expected) > 10
    for place in (tmp_path / "shared", both.hidden / "pairs"):
        found = search_stored(read_stored(parted(place, parts)), SETTINGS, runner_of("ray", None, place))
        assert np.array_equal(here.near, found.near)
        assert {path.name: path.read_bytes() for path in place.rglob("pairs-*/*.parquet")} == expected


@contextlib.contextmanager
def only_the_second(flag):
    """Keep the first node busy until ``flag`` is there, or the block ends."""
    first = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_here(), soft=False)
    task = ray.remote(num_cpus=1, scheduling_strategy=first)(busy_until).remote(str(flag))
    try:
        yield
    finally:
        flag.touch()
        ray.get(task)


def test_a_machine_that_does_not_see_the_images_says_nothing_about_them(both, tmp_path, monkeypatch):
    monkeypatch.setattr("curate.engines.worker.TRIES", 2)
    root = both.hidden / "images"
    for number in range(3):
        write(root / f"{number}.png", noise(30, 20, number))
    with only_the_second(tmp_path / "flag"):
        report = measure_images(["0.png", "1.png", "2.png"], root, tmp_path / "signals", MeasureSettings(engine="ray"))
    assert report.errors == {"not_measured": 3}
    assert "does not see" in (tmp_path / "signals" / "not_measured.json").read_text()


def make(data, store, prefix):
    """Rows in several files, with bad ones, about images of which some are gone; also on the bucket."""
    test_published.make(data)
    for number in range(40):
        sets.save(data / f"images/more/{number}.png", sets.scene(40 + number, side=160))
    for file in range(5):
        rows = [sets.row(100 + number, f"more/{number}.png", "What?") for number in range(10 * file, 10 * file + 10)]
        sets.write_lines(data / f"more-{file}.jsonl", [*rows, "no JSON"])
    store.upload(data, "bucket", f"{prefix}/data")


def recipe_of(engine, base, place, sources, exports=()):
    """Out of what ``make`` has made below ``base``, into ``place``."""
    more = {"location": f"{base}/data/more-*.jsonl", "image_root": f"{base}/data/images"}
    signals = {"workers": 1, "engine": engine, "shard_size": 8}
    elsewhere = [{"to": "parquet", "out": f"{place}/exported"}] if exports else []
    made = {"out": f"{place}/curated/set", "signals": signals, "exports": [*exports, *elsewhere]}
    values = test_published.recipe(base, **made).model_dump()
    return CurateRecipe.model_validate({**values, "sources": [more, *values["sources"][:sources]]})


def without_engine(files):
    """The files of a result as a recipe makes them that names no engine."""
    return {
        name: body.replace(b'"engine": "ray"', b'"engine": "local"').replace(b"\n  engine: ray\n", b"\n")
        for name, body in files.items()
    }


def test_a_whole_curation_out_of_a_bucket_while_a_node_loses_power(both, tmp_path, monkeypatch):
    make(tmp_path / "data", both.store, "whole")
    base, exports = "s3://bucket/whole", ["jsonl", "llava", "webdataset"]
    with monkeypatch.context() as another:
        another.setenv("WINNOW_CACHE", str(tmp_path / "cache"))
        pipeline.run(recipe_of("local", base, base, 3, exports), "recipe.yaml")
    expected = test_published.of_store(both.store, "whole")
    for made in ("curated", "exported"):
        both.store.remove("bucket", f"whole/{made}/")
    flag = tmp_path / "flag"
    with only_the_second(flag):  # so that it has measured images of the source before it is killed, and some are left
        lost = kill_when(lambda: any(both.second_cache.rglob("whole/curated/set/images/*")), both, flag)
        pipeline.run(recipe_of("ray", base, base, 3, exports), "recipe.yaml")
        lost.join()
    both.await_end_of_second()
    found = without_engine(test_published.of_store(both.store, "whole"))
    assert found.keys() == expected.keys()
    assert {name for name in expected if found[name] != expected[name]} == set()


def test_a_result_that_only_the_command_sees_is_made_by_another_machine(both, tmp_path):
    make(tmp_path / "data", both.store, "alone")
    base = "s3://bucket/alone"
    pipeline.run(recipe_of("local", base, tmp_path, 1), "recipe.yaml")
    hidden = both.hidden / "alone"
    with only_the_second(tmp_path / "flag"):
        pipeline.run(recipe_of("ray", base, hidden, 1), "recipe.yaml")
    expected, found = test_published.of_folder(tmp_path), without_engine(test_published.of_folder(hidden))
    assert found.keys() == expected.keys()
    assert {name for name in expected if found[name] != expected[name]} == set()


def kill_when(begun, nodes, flag):
    def wait():
        while not begun():
            time.sleep(0.05)
        nodes.kill_second()
        flag.touch()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_results_on_a_node_that_dies_are_made_again(both, tmp_path):
    second = next(node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != node_here())
    with open_pool("ray", None) as pool:
        task = functools.partial(heavy, str(tmp_path), second)
        found = pool.map(task, [[number] for number in range(8)], lambda item: "crash", lambda *lost: lost)
        results = [next(found)]
        while len(list(tmp_path.iterdir())) < 8:
            time.sleep(0.1)
        lost = calls_on(tmp_path, second)  # all but the last have ended, and none is fetched
        assert both.kill_second()
        results += found
    assert [int(one[0][0]) for one in results] == list(range(8))
    assert all(one[0].shape == (BYTES,) for one in results)
    assert len(lost) >= 2
    assert len(list(tmp_path.iterdir())) >= 8 + len(lost)


def test_a_curation_is_the_same_bytes_whatever_is_killed(both, tmp_path, monkeypatch):
    monkeypatch.setenv("WINNOW_CACHE", str(both.hidden / "killed-cache"))
    chance = random.Random(1)
    assert chaos(work_on(both, both.store, chance), tmp_path, 2, chance).total() == 2


def node_here():
    return ray.get_runtime_context().get_node_id()


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'winnow-vlm\[ray\]'"):
        open_pool("ray", 2)


def test_a_cluster_that_cannot_be_reached(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match="check RAY_ADDRESS"):
        open_pool("ray", None)
