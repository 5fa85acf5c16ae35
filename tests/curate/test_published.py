"""Results on a real S3 server: whole, the bytes of local ones, resumed by another machine, one writer at a time."""

import json
import os
import re
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import pipeline
from curate.exports.export import export
from curate.exports.rows import open_curated
from curate.recipe import CurateRecipe
from curate.settings.outputs import ExportSettings
from finetune.data.rows import open_image, open_sets
from tests.curate import sets
from tests.object_store import object_store
from winnow.errors import UserError
from winnow.remote import addresses, storage_lock
from winnow.remote.published import bring, brought, published

_EXPORTS = ["jsonl", "llava", "ms-swift", "webdataset", {"to": "parquet", "out": "{base}/exported"}]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with object_store(tmp_path_factory.mktemp("store")) as running:
        running.client.create_bucket(Bucket="bucket")
        yield running


def make(folder: Path) -> None:
    """Rows as JSONL with an image root, a table and two shards with images inside, and an evaluation set."""
    for number in range(6):
        sets.save(folder / f"images/{number}.png", sets.scene(number))
    sets.save(folder / "images/copy.jpg", sets.scene(1), quality=75)
    rows = [sets.row(number, f"{number}.png", f"What is {number}?") for number in range(6)]
    sets.write_lines(folder / "rows.jsonl", [*rows, sets.row(7, "copy.jpg", "What is 1?"), sets.row(8, "gone.png")])
    sets.write_lines(folder / "test.jsonl", [sets.row(1, "5.png", "What is 5?", id="1")])
    images = [{"bytes": sets.jpeg(sets.scene(20 + number)), "path": None} for number in range(3)]
    table = {"image": images, "question": ["a?", "b?", "c?"], "answer": ["x", "y", "z"]}
    pq.write_table(pa.table(table), folder / "table.parquet")
    for shard in range(2):
        with tarfile.open(folder / f"shard-{shard}.tar", "w") as packed:
            for number in range(2):
                name = f"{shard}{number}"
                (folder / "tmp.jpg").write_bytes(sets.jpeg(sets.scene(30 + shard * 2 + number)))
                (folder / "tmp.json").write_text(json.dumps({"question": f"{name}?", "answer": "yes"}))
                packed.add(folder / "tmp.jpg", f"{name}.jpg")
                packed.add(folder / "tmp.json", f"{name}.json")
    (folder / "tmp.jpg").unlink()
    (folder / "tmp.json").unlink()


def recipe(base: str, **changes) -> CurateRecipe:
    """Everything below one place: sources, image root, result and exports."""
    exports = [{**each, "out": f"{base}/exported"} if isinstance(each, dict) else each for each in _EXPORTS]
    values = {
        "name": "set", "out": f"{base}/curated/set", "signals": {"workers": 1}, "rules": sets.RULES, "duplicates": {},
        "sources": [
            {"location": f"{base}/data/rows.jsonl", "image_root": f"{base}/data/images"},
            {"location": f"{base}/data/table.parquet"},
            {"location": f"{base}/data/shard-{{0..1}}.tar"},
        ],
        "contamination": {"against": [{"location": f"{base}/data/test.jsonl", "image_root": f"{base}/data/images"}]},
        "exports": exports, **changes,
    }  # fmt: skip
    return CurateRecipe.model_validate(values)


# The blocks of an export are noted with sizes and checksums of lines, which name places.
_OF_RUNS = re.compile(r"(^|/)(work|\.cache)/|^objects\.json$|^exported/objects\.json$|(^|/)blocks\.json$")
_TIMES = re.compile(rb'\n *"(seconds|packages|git_commit|output_bytes)": (\{[^}]*\}|"[^"]*"|null),?')


def results(read, names, base: str) -> dict[str, bytes]:
    """Every file of a result and of its exports, without times, by name; places are named alike."""
    found = {}
    for name in names:
        if not _OF_RUNS.search(name.removeprefix("curated/set/")):
            data = read(name).replace(base.encode(), b"<base>")
            if name.endswith("manifest.json"):
                data = _TIMES.sub(b"", data)
                data = re.sub(rb'"[0-9a-f]{64}"', b'"<digest>"', data)  # of what names a place
            found[name] = data
    return found


def of_folder(folder: Path) -> dict[str, bytes]:
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    wanted = [name for name in names if name.startswith(("curated/", "exported/"))]
    return results(lambda name: (folder / name).read_bytes(), wanted, str(folder))


def of_store(store, prefix: str) -> dict[str, bytes]:
    names = [key.removeprefix(f"{prefix}/") for key in store.keys("bucket", f"{prefix}/")]
    wanted = [name for name in names if name.startswith(("curated/", "exported/"))]
    return results(lambda name: store.body("bucket", f"{prefix}/{name}"), wanted, f"s3://bucket/{prefix}")


@pytest.fixture(scope="module")
def data(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    make(folder / "data")
    return folder


@pytest.fixture(scope="module")
def local(data):
    pipeline.run(recipe(str(data)), "recipe.yaml")
    return of_folder(data)


@pytest.fixture(scope="module")
def remote(store, data):
    store.upload(data / "data", "bucket", "whole/data")
    with store.requests() as seen:
        pipeline.run(recipe("s3://bucket/whole"), "recipe.yaml")
    return seen


def test_a_result_on_a_bucket_has_the_bytes_of_a_local_one(store, local, remote):
    there = of_store(store, "whole")
    assert there.keys() == local.keys()
    # What names a place inside Parquet, where texts are compressed, is compared in the texts made from it.
    assert {name for name in local if local[name] != there[name]} == set()


def test_readers_see_whole_results_only(remote):
    written = [(method, path) for method, path in remote if method in ("PUT", "DELETE") and "/curated/set/" in path]
    names = [path.removeprefix("/bucket/whole/curated/set/") for _, path in written]
    ours = [name for name in names if not name.startswith("lock.json")]
    assert ours[0] == ours[-1] == "objects.json"
    assert ours[-2] == "manifest.json"
    assert names.count("manifest.json") == 1


def test_a_second_run_writes_and_fetches_nothing(store, remote):
    with store.requests() as seen:
        outcome = pipeline.run(recipe("s3://bucket/whole"), "recipe.yaml")
    assert outcome.seconds == {}
    changed = {path for method, path in seen if method in ("PUT", "DELETE", "POST")}
    assert changed == {"/bucket/whole/curated/set/lock.json"}
    assert not [path for method, path in seen if method == "GET" and "/images/" in path and "list-type" not in path]


def test_another_machine_finds_it_up_to_date_and_decides_again(store, remote, local, monkeypatch, tmp_path):
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path))
    with store.requests() as seen:
        assert pipeline.run(recipe("s3://bucket/whole"), "recipe.yaml").seconds == {}
    assert not [path for method, path in seen if method == "GET" and path.startswith("/bucket/whole/data/images/")]
    shouting = {**sets.RULES, "shouting": {"when": "question LIKE '%1%'", "action": "drop"}}
    counts = pipeline.decide_again(recipe("s3://bucket/whole", rules=shouting), "recipe.yaml").counts
    assert json.loads(store.body("bucket", "whole/curated/set/manifest.json"))["counts"]["drop"] == counts["drop"]
    pipeline.run(recipe("s3://bucket/whole"), "recipe.yaml")
    assert of_store(store, "whole") == local


_KILLED = """
import os, signal, sys
from curate import pipeline
from winnow.remote import published, storage
from tests.curate.test_published import recipe

moment, left = sys.argv[2], int(sys.argv[3])
def killed(real):
    def action(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return action

if moment == "put":
    storage.put = killed(storage.put)
else:
    setattr(pipeline.Curation, moment, killed(getattr(pipeline.Curation, moment)))
pipeline.run(recipe(sys.argv[1]), "recipe.yaml")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "after"), [("measure", 0), ("put", 2), ("put", 40)])
def test_a_killed_run_is_finished_by_another_machine(store, data, local, monkeypatch, tmp_path, moment, after):
    prefix = f"killed-{moment}-{after}"
    store.upload(data / "data", "bucket", f"{prefix}/data")
    environment = {**os.environ, "WINNOW_CACHE": str(tmp_path / "first"), "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, "-c", _KILLED, f"s3://bucket/{prefix}", moment, str(after)]
    assert subprocess.run(arguments, env=environment, capture_output=True, check=False).returncode == -9
    assert f"{prefix}/curated/set/manifest.json" not in store.keys("bucket", prefix)
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "second"))
    pipeline.run(recipe(f"s3://bucket/{prefix}"), "recipe.yaml")
    assert of_store(store, prefix) == local
    assert not [key for key in store.keys("bucket", prefix) if Path(key).name.startswith("lock")]


def test_what_is_no_longer_made_is_removed_and_other_objects_stay(store):
    folder = addresses.mirror("s3://bucket/shrinks")
    for names in (["a.txt", "sub/b.txt"], ["a.txt"]):
        with published(folder):
            for name in ["a.txt", "sub/b.txt"]:
                (folder / name).unlink(missing_ok=True)
            for name in names:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(name)
    assert store.keys("bucket", "shrinks") == ["shrinks/a.txt", "shrinks/objects.json"]


def test_a_place_that_holds_something_else_is_left_alone(store, remote):
    store.client.put_object(Bucket="bucket", Key="thesis/chapter.tex", Body=b"all my work")
    with pytest.raises(UserError, match=r"s3://bucket/thesis: holds something else \(chapter.tex\)"):
        pipeline.run(recipe("s3://bucket/whole", out="s3://bucket/thesis"), "recipe.yaml")
    assert store.keys("bucket", "thesis") == ["thesis/chapter.tex"]


def test_only_what_changed_is_written(store):
    folder = addresses.mirror("s3://bucket/changes")
    with published(folder) as save:
        (folder / "a.txt").write_text("one")
        (folder / "b.txt").write_text("two")
        save()
        with store.requests() as seen:
            (folder / "a.txt").write_text("one")  # another time, the same bytes
            (folder / "b.txt").write_text("TWO")
            save()
    put = [path for method, path in seen if method == "PUT"]
    assert put == ["/bucket/changes/b.txt", "/bucket/changes/objects.json"]


def test_the_store_wins_over_a_machine_that_was_behind(store, monkeypatch, tmp_path):
    place = "s3://bucket/behind"

    def on(machine, text):
        monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / machine))
        folder = addresses.mirror(place)
        with published(folder):
            before = {path.name: path.read_text() for path in folder.iterdir()}
            for name in text:
                (folder / name).write_text(text[name])
        return before

    assert on("first", {"a": "1"}) == {}
    assert on("second", {"a": "2", "b": "2"}) == {"a": "1"}
    assert on("first", {}) == {"a": "2", "b": "2"}


def holding(store, **changes):
    """A lock that another run has written."""
    held = json.loads(storage_lock._written("another"))
    body = json.dumps({**held, "owner": "node7:31", "machine": "another", **changes}).encode()
    store.client.put_object(Bucket="bucket", Key="held/lock.json", Body=body)


def test_a_run_at_work_is_named(store, monkeypatch):
    holding(store, machine=storage_lock._machine(), pid=os.getpid())
    folder = addresses.mirror("s3://bucket/held")
    with pytest.raises(UserError, match="s3://bucket/held: node7:31 is at work there since"), published(folder):
        raise AssertionError("not reached")
    holding(store)
    monkeypatch.setattr(storage_lock, "_BEAT", 0.2)
    real = time.sleep

    def beating(seconds):
        real(seconds)
        holding(store, since="later")

    monkeypatch.setattr(time, "sleep", beating)
    with pytest.raises(UserError, match="node7:31 is at work there"), published(addresses.mirror("s3://bucket/held")):
        raise AssertionError("not reached")


@pytest.mark.parametrize("left", [{"pid": 2**22 + 1}, {"machine": "another"}])
def test_the_lock_of_a_killed_run_is_taken_over(store, monkeypatch, left):
    monkeypatch.setattr(storage_lock, "_BEAT", 0.1)
    holding(store, **{"machine": storage_lock._machine(), **left})
    folder = addresses.mirror("s3://bucket/held")
    with published(folder):
        assert json.loads(store.body("bucket", "held/lock.json"))["pid"] == os.getpid()
        (folder / "a.txt").write_text("mine")
    assert store.keys("bucket", "held") == ["held/a.txt", "held/objects.json"]
    store.remove("bucket", "held")


def test_a_run_whose_lock_was_taken_writes_nothing_more(store):
    folder = addresses.mirror("s3://bucket/lost")
    with pytest.raises(UserError, match="s3://bucket/lost: another run has taken over"), published(folder):
        store.client.put_object(Bucket="bucket", Key="lost/lock.json", Body=b'{"token": "another"}')
        (folder / "a.txt").write_text("too late")
    assert store.keys("bucket", "lost") == ["lost/lock.json", "lost/objects.json"]


def test_an_export_of_a_set_on_a_bucket(store, remote, monkeypatch, tmp_path):
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path))
    folder = addresses.mirror("s3://bucket/whole/curated/set")
    bring(folder)
    settings = ExportSettings.model_validate({"to": "trl", "images": "copy", "out": "s3://bucket/whole-trl"})
    assert export(open_curated(folder), settings).fresh
    assert not export(open_curated(folder), settings).fresh
    keys = store.keys("bucket", "whole-trl")
    assert {"whole-trl/manifest.json", "whole-trl/README.md"} <= set(keys)
    assert str(tmp_path).encode() not in store.body("bucket", "whole-trl/README.md")


def test_a_training_reads_a_set_on_a_bucket(store, remote, monkeypatch, tmp_path):
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path))
    rows = open_sets({"train": Path("s3://bucket/whole/curated/set")}, None)
    assert len(rows) == len(store.body("bucket", "whole/curated/set/samples.jsonl").splitlines())
    places = {open_image(rows.image_root, name).size for row in range(len(rows)) for name in rows[row].image}
    assert places == {(64, 64)}


def test_a_place_without_a_result_is_said(store):
    with pytest.raises(UserError, match="s3://bucket/nothing: no such object, and no result"):
        brought(Path("s3://bucket/nothing"))


@pytest.mark.slow
def test_commands_take_the_address_of_a_set(store, remote, monkeypatch, tmp_path):
    place = "s3://bucket/whole/curated/set"
    environment = {**os.environ, "WINNOW_CACHE": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}

    def said(*arguments):
        command = [sys.executable, "-m", "curate", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert str(tmp_path) not in done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "gone.png" in said("explain", "set/train/8", "--curated", place)
    assert "s3://bucket/whole/curated/set/exports/trl/" in said("export", place, "--to", "trl")
    assert "whole/curated/set/exports/trl/manifest.json" in store.keys("bucket", "whole/curated/set/exports/trl")
    assert f"{place} → {place}" in said("diff", place, place).replace("\n", "")
    assert said("plot", place).startswith(f"{place}/plots/index.html: ")
    store.remove("bucket", "whole/curated/set/ledger.jsonl")
    found = said("verify", place)
    assert f"{place}: 1 not as it was made" in found
    assert f"{place}: making again what is damaged or gone: ledger.jsonl" in found
    assert f"{place}: was made again\n{place}: all is as it was made" in found
