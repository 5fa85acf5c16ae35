import functools
import sys

import pytest

from curate.engines import open_pool
from curate.measure.image_models import measure_with
from curate.measure.images import measure_images
from curate.settings.signals import ClipSettings, MeasureSettings
from tests.curate.engines.test_local_pool import batches, endless, fragile, squares
from tests.curate.make_images import clip_folder, noise, write
from tests.curate.measure.test_image_models import MODEL, digests, measured
from winnow.errors import UserError

pytest.importorskip("ray", reason="the extra `ray` is not installed")


@pytest.fixture(scope="module")
def pool():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        with open_pool("ray", 2) as started:
            yield started


def test_results_come_in_order(pool):
    assert list(pool.map(squares, batches(50), lambda item: None)) == [squares(batch) for batch in batches(50)]
    assert list(pool.map(squares, iter(()), lambda item: None)) == []


def test_an_item_that_kills_its_process_costs_itself(pool):
    found = pool.map(functools.partial(fragile, 7), batches(20), lambda item: f"crash {item}")
    results = [result for batch in found for result in batch]
    assert results == ["crash 7" if number == 7 else number * number for number in range(20)]


@pytest.mark.slow
def test_an_item_that_never_ends_costs_itself(pool):
    found = pool.map(endless, batches(9), lambda item: f"hang {item}")
    results = [result for batch in found for result in batch]
    assert results == ["hang 7" if number == 7 else number * number for number in range(9)]


@pytest.mark.slow
def test_signals_and_models_give_the_same_bytes_as_those_of_local_processes(pool, tmp_path):
    root = tmp_path / "root"
    for number in range(12):
        write(root / f"{number}.png", noise(30 + number, 20, number))
    write(root / "empty.png", b"")
    write(root / "cut.jpg", b"\xff\xd8\xff\xe0 no more")
    paths = sorted(path.name for path in root.iterdir())
    clip = ClipSettings(model=str(clip_folder(tmp_path / "clip")))
    settings = MeasureSettings(workers=1, shard_size=4, cleanvision=True, clip=clip, nsfw="opennsfw", batch_size=3)
    measure_images(paths, root, tmp_path / "local", settings)
    report = measure_images(paths, root, tmp_path / "cluster", settings, pool=pool)
    assert report.images == 14
    local, cluster = (
        {file.name: file.read_bytes() for file in (tmp_path / name).glob("*.parquet")} for name in ("local", "cluster")
    )
    assert len(local) > 3 and local == cluster


def test_tables_of_slow_models_are_the_same_bytes(pool, tmp_path):
    for number in range(9):
        write(tmp_path / "root" / f"{number}.png", noise(30 + number, 20, number))
    spaces = [measured(tmp_path / engine, tmp_path / "root") for engine in ("local", "ray")]
    for engine, space in zip(("local", "ray"), spaces, strict=True):
        measure_with(MODEL, space, tmp_path / "root", MeasureSettings(workers=1, engine=engine))
    assert len(digests(spaces[0])) == 1 and digests(spaces[0]) == digests(spaces[1])


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'winnow-vlm\[ray\]'"):
        open_pool("ray", 2)


@pytest.mark.slow
def test_a_cluster_that_cannot_be_reached(pool, monkeypatch):
    pool._ray.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match="check RAY_ADDRESS"):
        open_pool("ray", None)
