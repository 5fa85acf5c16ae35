"""Digests are those of the bytes, whatever was remembered."""

import hashlib
import os
import time

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.digests import Digests


def aged(path, data, seconds=1000):
    """A file whose last change is long past; its inode's change is not, so that the clock is moved instead."""
    path.write_bytes(data)
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


@pytest.fixture
def later(monkeypatch):
    """The clock goes an hour fast: every file is old."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 3600 * 10**9)


@pytest.fixture
def reads(monkeypatch):
    """Paths that were read."""
    found = []
    whole = Digests._read
    monkeypatch.setattr(Digests, "_read", lambda self, path: found.append(str(path)) or whole(self, path))
    return found


def test_an_old_file_is_read_once(tmp_path, later, reads):
    file, table = tmp_path / "a", tmp_path / "work/digests.parquet"
    aged(file, b"x" * 100)
    for _ in range(3):
        digests = Digests(table)
        assert digests.of(file) == hashlib.sha256(b"x" * 100).hexdigest()
        digests.save()
    assert reads == [str(file)]


def test_a_file_of_this_moment_is_read_again(tmp_path, reads):
    file, table = tmp_path / "a", tmp_path / "digests.parquet"
    for letter in (b"a", b"b", b"b"):
        file.write_bytes(letter)
        status = file.stat()
        digests = Digests(table)
        assert digests.of(file) == hashlib.sha256(letter).hexdigest()
        digests.save()
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert reads == [str(file)] * 3


def test_only_what_was_asked_for_is_kept(tmp_path, later):
    table = tmp_path / "digests.parquet"
    for name in "ab":
        aged(tmp_path / name, name.encode())
    digests = Digests(table)
    digests.of(tmp_path / "a"), digests.of(str(tmp_path / "b")), digests.of(tmp_path / "a")
    digests.save()
    assert pq.read_metadata(table).num_rows == 2
    written = table.stat().st_mtime_ns
    digests = Digests(table)
    digests.of(tmp_path / "a"), digests.of(tmp_path / "b")
    digests.save()
    assert table.stat().st_mtime_ns == written
    digests = Digests(table)
    digests.of(tmp_path / "b")
    digests.save()
    assert pq.read_metadata(table).num_rows == 1


@pytest.mark.parametrize("how", ["empty", "cut", "flipped", "other table", "folder"])
def test_a_damaged_table_is_no_harm(tmp_path, later, how):
    file, table = tmp_path / "a", tmp_path / "digests.parquet"
    aged(file, b"content")
    digests = Digests(table)
    digests.of(file)
    digests.save()
    data = table.read_bytes()
    key = data.index(hashlib.sha256(b"content").digest()[:8]) if how == "flipped" else 0
    if how == "folder":
        table.unlink()
        table.mkdir()
    elif how == "other table":
        import pyarrow as pa

        pq.write_table(pa.table({"key": ["text"], "sha256": [1]}), table)
    else:
        flipped = data[:key] + bytes([data[key] ^ 255]) + data[key + 1 :]
        table.write_bytes({"empty": b"", "cut": data[:-9], "flipped": flipped}[how])
    assert Digests(table).of(file) == hashlib.sha256(b"content").hexdigest()


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        Digests(tmp_path / "digests.parquet").of(tmp_path / "pipe")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([b"", b"a", b"b", b"cc"]), st.booleans()), max_size=12))
def test_digests_are_right_after_any_edits(tmp_path_factory, edits):
    folder = tmp_path_factory.mktemp("edits")
    for number, data, keeps_time in edits:
        file = folder / str(number)
        before = file.stat() if file.exists() else None
        file.write_bytes(data)
        if before is not None and keeps_time:
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        digests = Digests(folder / "digests.parquet")
        for path in folder.glob("?"):
            assert digests.of(path) == hashlib.sha256(path.read_bytes()).hexdigest()
        digests.save()
