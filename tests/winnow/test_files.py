"""Atomic writes, locks and digests."""

import hashlib
import json
import multiprocessing
import threading

import filelock
import pytest

from winnow.files import atomic_path, digest_of, locked, sha256_bytes, sha256_file, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


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
