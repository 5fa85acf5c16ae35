"""Atomic writes, locks and digests."""

import hashlib
import json
import math
import multiprocessing
import os
import subprocess
import sys
import threading
from urllib.parse import unquote

import filelock
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.files import (
    atomic_path,
    digest_of,
    file_name,
    locked,
    open_to_append,
    parse_json,
    read_json,
    read_regular,
    remove_leftovers,
    sha256_bytes,
    sha256_file,
    strict_json,
    write_json,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127])
def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path, name):
    write_text(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("text", ["a/b", "..%2F", "数" * 80, "größe (1).x", "\0\n", "~a:b?*"])
def test_a_text_is_the_name_of_one_file_and_comes_back(tmp_path, text):
    (tmp_path / file_name(text)).touch()
    assert [unquote(path.name) for path in tmp_path.iterdir()] == [text]


def test_json_is_sorted_readable_and_utf8(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": "größe"})
    assert (tmp_path / "a.json").read_bytes() == '{\n  "a": "größe",\n  "b": 1\n}\n'.encode()


def test_digests(tmp_path):
    data = b"x" * (3 << 20)
    (tmp_path / "big").write_bytes(data)
    assert sha256_file(tmp_path / "big") == sha256_bytes(data) == hashlib.sha256(data).hexdigest()
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1}) != digest_of({"a": 1, "b": [2, 1]})
    assert digest_of({"a": "ü"}) == sha256_bytes(
        json.dumps({"a": "ü"}, separators=(",", ":"), ensure_ascii=False).encode()
    )


def hold(path, held, release):
    with locked(path):
        held.set()
        release.wait(60)


@pytest.mark.slow
def test_a_lock_of_another_process_is_respected(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path / "lock", held, release))
    other.start()
    try:
        assert held.wait(60)
        with pytest.raises(filelock.Timeout), locked(tmp_path / "lock", wait=False):
            pass
    finally:
        release.set()
        other.join(60)
    with locked(tmp_path / "lock", wait=False):
        pass


def test_a_lock_keeps_threads_apart(tmp_path):
    inside, most = [], []

    def work():
        for _ in range(20):
            with locked(tmp_path / "lock"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 80 and set(most) == {1}


def test_only_a_regular_file_is_read(tmp_path):
    (tmp_path / "file").write_bytes(b"{}")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert read_regular(tmp_path / "file") == read_regular(tmp_path / "link") == b"{}"
    assert read_json(tmp_path / "file") == {}
    for name in ("folder", "pipe", "missing"):
        with pytest.raises(OSError) as raised:
            read_regular(tmp_path / name)
        assert name in str(raised.value)


@pytest.mark.parametrize("text", ["", "[", "[" * 200_000, '{"a":' * 200_000, b"\xff", "nul"])
def test_what_is_no_json_value_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_json(text)


def test_threads_that_write_one_file_at_once_all_succeed(tmp_path):
    target, together, failed = tmp_path / "file", threading.Barrier(4), []

    def write(number):
        try:
            for _ in range(25):
                together.wait(20)
                with atomic_path(target) as temporary:
                    temporary.write_text(str(number) * 1_000)
                    together.wait(20)
        except (OSError, threading.BrokenBarrierError) as error:
            failed.append(error)
            together.abort()

    threads = [threading.Thread(target=write, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert target.read_text() in {str(number) * 1_000 for number in range(4)}
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_appended_does_not_reach_other_links(tmp_path):
    own, other = tmp_path / "own.bin", tmp_path / "other.bin"
    own.write_bytes(b"abcd")
    os.link(own, other)
    with open_to_append(own, 2) as handle:
        handle.write(b"xyz")
    assert (own.read_bytes(), other.read_bytes()) == (b"abxyz", b"abcd")
    inode = own.stat().st_ino
    with open_to_append(own, 9) as handle:
        handle.write(b"!")
    assert (own.read_bytes(), own.stat().st_ino) == (b"abxyz!", inode)
    assert sorted(tmp_path.iterdir()) == [other, own]


def no_constant(name):
    raise AssertionError(f"{name} is no JSON")


@given(
    st.recursive(
        st.none() | st.floats() | st.text(max_size=3) | st.integers(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    )
)
def test_json_never_holds_what_is_no_json(value):
    def expected(part):
        if isinstance(part, dict):
            return {key: expected(item) for key, item in part.items()}
        if isinstance(part, list):
            return [expected(item) for item in part]
        return None if isinstance(part, float) and not math.isfinite(part) else part

    assert json.loads(strict_json(value), parse_constant=no_constant) == expected(value)
    assert json.loads(strict_json({"a": (value,)}, indent=2, sort_keys=True)) == {"a": [expected(value)]}


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    write = "import os, sys; from pathlib import Path; from winnow.files import atomic_path\n"
    write += "with atomic_path(Path(sys.argv[1])) as made: made.write_text('half'); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", write, tmp_path / "deep" / "a.json"], check=False)
    assert len(list(tmp_path.rglob("*.tmp"))) == 1
    (tmp_path / ".of others.tmp").write_text("")
    with atomic_path(tmp_path / "b.json") as made:
        made.write_text("whole")
        remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".of others.tmp", "b.json", "deep"]
