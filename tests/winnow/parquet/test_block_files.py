"""Files of blocks: the bytes of one that is written at once, whatever is copied from an earlier file, or damaged."""

import json
import os

import hypothesis
import hypothesis.strategies as some
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.files import digest_of, sha256_file
from winnow.parquet import block_files
from winnow.parquet.block_files import open_block_files
from winnow.parquet.footer import group_digests
from winnow.parquet.tables import ROWS_A_GROUP, write_parquet

SCHEMA = pa.schema(
    [
        pa.field("number", pa.int64()),
        pa.field("text", pa.string()),
        pa.field("share", pa.float64()),
        pa.field("yes", pa.bool_()),
        pa.field("texts", pa.list_(pa.string())),
        pa.field("rules", pa.list_(pa.struct([("rule", pa.string()), ("value", pa.float32())]))),
    ],
    metadata={"kept": "too"},
)


def rows(seed, count):
    """Rows with nulls, empty lists and long texts."""
    rng = np.random.default_rng(seed)
    words = [None, "", "a cat", "ä" * 300, "\0", *(f"word {number}" for number in range(seed % 9))]
    texts = [words[k] for k in rng.integers(0, len(words), count)]
    return pa.table(
        {
            "number": rng.integers(-(2**62), 2**62, count),
            "text": texts,
            "share": rng.random(count),
            "yes": rng.random(count) < 0.5,
            "texts": [[text] * (k % 3) for k, text in enumerate(texts)],
            "rules": [[{"rule": text, "value": k}] * (k % 2) for k, text in enumerate(texts)],
        },
        schema=SCHEMA,
    )


def write(folder, blocks):
    """Write (key, rows) as table and as lines; returns how many blocks were copied."""
    copied = 0
    files = {folder / "table.parquet": SCHEMA}
    with open_block_files(folder / "state.json", files, (folder / "lines.txt",)) as ((table,), (lines,)):
        for key, block in blocks:
            group, repeated = table.kept(key), lines.repeat(key)
            copied += (group is not None) + repeated
            table.add(key, group or table.encoded(block))
            if not repeated:
                lines.add(key, text_of(block))
    for file, name in ((table, "table.parquet"), (lines, "lines.txt")):
        assert file.sha256() == sha256_file(folder / name)
    return copied


def text_of(block):
    return json.dumps(block.to_pylist()).encode()


def written(folder):
    """The files, and what is noted of their blocks."""
    noted = json.loads((folder / "state.json").read_text())["files"]
    files = [(folder / name).read_bytes() for name in ("table.parquet", "lines.txt")]
    return [*files, {name: blocks for name, (_, _, blocks) in noted.items()}]


@pytest.mark.parametrize("count", [0, 1, ROWS_A_GROUP, ROWS_A_GROUP + 1, 40 * ROWS_A_GROUP // 10])
def test_row_groups_put_together_are_the_file_that_is_written_at_once(tmp_path, count):
    table = rows(count, count)
    write(tmp_path, [(str(at), table.slice(at, ROWS_A_GROUP)) for at in range(0, count, ROWS_A_GROUP)])
    write_parquet(tmp_path / "plain.parquet", [table], SCHEMA)
    assert written(tmp_path)[0] == (tmp_path / "plain.parquet").read_bytes()


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(runs=some.lists(some.lists(some.integers(0, 60), max_size=40, unique=True), min_size=2, max_size=4))
def test_blocks_that_are_kept_give_the_bytes_of_a_first_run(tmp_path_factory, runs):
    """Blocks come, go and change places; with more than 15 of them the footer's lists have another form."""
    folder, fresh = tmp_path_factory.mktemp("grown"), tmp_path_factory.mktemp("fresh")
    before = set()
    for keys in runs:
        blocks = [(str(key), rows(key, key % 5 + 1)) for key in keys]
        assert write(folder, blocks) == 2 * len(before & set(keys))
        (fresh / "state.json").unlink(missing_ok=True)
        assert write(fresh, blocks) == 0
        assert written(folder) == written(fresh)
        whole = pa.concat_tables([block for _, block in blocks] or [SCHEMA.empty_table()])
        assert pq.read_table(folder / "table.parquet").equals(whole)
        before = set(keys)


BLOCKS = [(str(key), rows(key, 50)) for key in range(6)]


@pytest.mark.parametrize("name", ["table.parquet", "lines.txt", "state.json"])
def test_what_is_damaged_is_made_anew(tmp_path, name):
    write(tmp_path, BLOCKS)
    good = written(tmp_path)
    rng = np.random.default_rng(1)
    data = (tmp_path / name).read_bytes()
    for _ in range(40):
        data = (tmp_path / name).read_bytes()
        broken = bytearray(data)
        broken[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        (tmp_path / name).write_bytes(broken)
        write(tmp_path, BLOCKS)
        assert written(tmp_path)[:2] == good[:2]
    for broken in (data[: len(data) // 2], b"", b"[]", b"{", data + b"more"):
        (tmp_path / name).write_bytes(broken)
        write(tmp_path, BLOCKS)
        assert written(tmp_path) == good
    (tmp_path / name).unlink()
    write(tmp_path, BLOCKS)
    assert written(tmp_path) == good


@pytest.mark.parametrize("place", [3, 4])
def test_a_size_that_is_noted_wrong_is_not_believed(tmp_path, place):
    write(tmp_path, BLOCKS)
    good = written(tmp_path)
    for number in range(len(BLOCKS) + 1):
        files = json.loads((tmp_path / "state.json").read_text())["files"]
        files["table.parquet"][2][number][place] += 1
        (tmp_path / "state.json").write_text(json.dumps({"files": files, "digest": digest_of(files)}))
        write(tmp_path, BLOCKS)
        assert written(tmp_path) == good


def test_files_of_a_killed_run_are_not_taken_for_those_of_the_state(tmp_path, monkeypatch):
    write(tmp_path, BLOCKS)
    with monkeypatch.context() as patched:
        patched.setattr(block_files, "write_state", lambda *_: None)  # killed after the files, before the state
        write(tmp_path, [BLOCKS[4], BLOCKS[0], BLOCKS[2]])
    write(tmp_path, BLOCKS)
    grown = written(tmp_path)
    (tmp_path / "state.json").unlink()
    assert write(tmp_path, BLOCKS) == 0 and written(tmp_path) == grown


def test_a_file_of_lines_of_which_nothing_has_changed_stays_as_it_is(tmp_path):
    lines = tmp_path / "lines.txt"
    write(tmp_path, BLOCKS)
    inode = lines.stat().st_ino
    write(tmp_path, BLOCKS)
    write(tmp_path, [BLOCKS[0], ("another key", BLOCKS[1][1]), *BLOCKS[2:]])
    assert lines.stat().st_ino == inode, "other keys, the same lines"
    write(tmp_path, BLOCKS[:-1])
    assert lines.stat().st_ino != inode and lines.read_bytes() == b"".join(text_of(block) for _, block in BLOCKS[:-1])


def test_damage_that_leaves_the_times_is_not_copied(tmp_path):
    """It is found when a block behind it is another one, and then nothing of the file is believed."""
    write(tmp_path, BLOCKS)
    lines = tmp_path / "lines.txt"
    status, data = lines.stat(), bytearray(lines.read_bytes())
    data[1] ^= 1
    with lines.open("r+b") as file:
        file.write(data)
    os.utime(lines, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(block_files.DamagedError):
        write(tmp_path, [*BLOCKS[:3], ("new", rows(9, 9))])
    assert lines.read_bytes() == data, "a run that ends so leaves what was there"


def test_a_digest_of_each_row_group(tmp_path):
    table = rows(3, 2 * ROWS_A_GROUP + 7)
    write_parquet(tmp_path / "a.parquet", [table], SCHEMA)
    changed = pa.concat_tables([table.slice(0, ROWS_A_GROUP), table.slice(0, ROWS_A_GROUP + 7)])
    write_parquet(tmp_path / "b.parquet", [changed], SCHEMA)
    one, other = group_digests(tmp_path / "a.parquet"), group_digests(tmp_path / "b.parquet")
    assert len(set(one)) == 3
    assert [a == b for a, b in zip(one, other, strict=True)] == [True, False, False]
    assert other[0] == other[1]
