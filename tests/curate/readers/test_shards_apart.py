"""Shards are read one by one, and only new ones again: the rows are those of reading the source as a whole."""

import json

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.readers import open_source, units
from curate.readers.images.store import ImageStore
from curate.readers.ingest import Asked, write_rows
from curate.settings.sources import SourceSettings
from tests.curate.readers.layouts.test_source_containers import JPEG, PNG, packed
from winnow.files import sha256_file
from winnow.parquet.table_parts import Parts


def members(key, kind):
    """The members of one sample, or what is wrong in place of one."""
    about = {"caption": f"a cat {key}", "url": f"https://example.org/{key}"}
    return {
        "crawled": [(f"{key}.jpg", JPEG), (f"{key}.json", json.dumps(about).encode()), (f"{key}.txt", b"a cat")],
        "asked": [(f"{key}.png", PNG), (f"{key}.question.txt", b"which?"), (f"{key}.answer.txt", key.encode())],
        "talk": [(f"{key}.json", b'{"messages": [{"role": "user", "content": "hi"}]}')],
        "options": [(f"{key}.json", json.dumps({"question": "one?", "A": "x", "B": "y", "answer": "B"}).encode())],
        "numbered": [(f"{key}.json", json.dumps({"question": "1?", "options": ["x", "y"], "answer": 1}).encode())],
        "no id": [(f"{key}.json", b'{"id": null, "question": "again?", "answer": "yes"}')],
        "bad base64": [(f"{key}.json", b'{"image": "data:image/png;base64,@@@", "caption": "x"}')],
        "broken": [(f"{key}.json", b"{broken")],
        "odd text": [(f"{key}.txt", b"\xff\xfe"), (f"{key}.jpg", JPEG)],
        "odd name": [(f"{key}\udcff.txt", b"x"), (f"{key}a\udcff.json", b"{broken")],
        "twice": [(f"{key}.txt", b"x"), (f"{key}.txt", b"y")],
    }[kind]


KINDS = st.sampled_from(
    [
        "crawled",
        "asked",
        "talk",
        "options",
        "numbered",
        "no id",
        "bad base64",
        "broken",
        "odd text",
        "odd name",
        "twice",
    ]
)
SHARDS = st.tuples(st.lists(KINDS, min_size=1, max_size=6), st.sampled_from(["w", "w", "w:gz"]), st.integers(0, 4))


def put(folder, number, shard):
    """Write a shard, of which some bytes may be missing."""
    kinds, mode, missing = shard
    samples = [member for n, kind in enumerate(kinds) for member in members(f"{number:02}{n:04}", kind)]
    data = packed(samples, mode)
    (folder / f"{number:02}.tar").write_bytes(data[: len(data) // 2] if missing == 4 else data)


def read(folder, location, *, whole=False, **more):
    """The rows and facts of a location, as a run in ``folder`` leaves them, and the notes about its units."""
    source = SourceSettings(location=str(location), source="s", **more)
    rows, asked = Parts(folder / "rows"), Asked(folder / "read", ImageStore(location.parent / "store"), 10**6)
    inside = location if location.is_dir() else location.parent
    digests = [[path.name, sha256_file(path)] for path in sorted(inside.iterdir()) if path.is_file()]
    root, facts = write_rows([(source, open_source(source))], rows, asked, None if whole else [digests])
    batches = list(rows.batches())
    found = pa.Table.from_batches(batches).drop_columns("position").to_pylist() if batches else []
    return (found, root, facts), {note.name for note in (folder / "read").glob("*.json")}


@pytest.mark.parametrize("ids", ["own", "position"])
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_after_any_change_the_rows_are_those_of_reading_the_source_as_a_whole(tmp_path_factory, ids, data):
    folder = tmp_path_factory.mktemp("set")
    location, more = folder / "shards", {"layout": "webdataset", **({"ids": ids} if ids == "position" else {})}
    location.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "_ROWS_A_PART", data.draw(st.sampled_from([2, 100]), label="rows of a part"))
        for step in range(3):
            for number, shard in data.draw(st.dictionaries(st.integers(0, 5), SHARDS, max_size=3), label="new").items():
                put(location, number, shard)
            for number in data.draw(st.sets(st.integers(0, 5), max_size=1 if step else 0), label="gone"):
                (location / f"{number:02}.tar").unlink(missing_ok=True)
            if any(location.iterdir()):
                found, _ = read(folder / "out", location, **more)
                assert found == read(folder / f"whole-{step}", location, whole=True, **more)[0]


def test_only_a_new_or_changed_shard_is_read_again(tmp_path):
    location = tmp_path / "shards"
    location.mkdir()
    for number in range(6):
        put(location, number, (["crawled", "broken", "no id", "odd name", "options"], "w", 0))
    before = read(tmp_path / "out", location)[1]
    assert len(before) == 6
    put(location, 2, (["asked"], "w", 0))
    put(location, 6, (["asked"], "w:gz", 0))
    (location / "04.tar").unlink()
    found, after = read(tmp_path / "out", location)
    assert (len(after), len(after - before)) == (6, 2)
    assert found == read(tmp_path / "whole", location, whole=True)[0]


def test_a_second_shard_that_shows_the_split_of_the_first(tmp_path):
    location = tmp_path / "shards"
    location.mkdir()
    for name in ("train-0.tar", "val-0.tar"):
        put(location, 0, (["asked", "crawled"], "w", 0))
        (location / "00.tar").rename(location / name)
        found, _ = read(tmp_path / "out", location, ids="position")
        assert found == read(tmp_path / f"whole-{name}", location, whole=True, ids="position")[0]
