"""Looking at many files at once finds no file unchanged that looking at each would not."""

import contextlib
import os

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.measure.store import is_unchanged, surely_unchanged
from winnow.files import sha256_bytes

KEY = sha256_bytes(b"abc")
ROWS = st.fixed_dictionaries(
    {
        "path": st.sampled_from(
            ["a", "b", "gone", "folder", "link", "broken", "a\0", "x" * 300, "../a", "folder/../a"]
        ),
        "image_key": st.sampled_from([KEY, KEY, sha256_bytes(b"other"), None]),
        "error": st.sampled_from([None, "missing", "not_an_image"]),
        "size": st.sampled_from([3, 3, 4, None, -1]),
        "mtime_ns": st.sampled_from([10**18, 10**18, 5, None, -1]),
        "ctime_ns": st.sampled_from(["own", "own", 5, None, -1]),
        "racy": st.sampled_from([False, False, True, None]),
    }
)
SCHEMA = pa.schema(
    [("path", pa.string()), ("image_key", pa.string()), ("error", pa.string()), ("size", pa.int64()),
     ("mtime_ns", pa.int64()), ("ctime_ns", pa.int64()), ("racy", pa.bool_())]
)  # fmt: skip


def test_what_is_sure_is_so_and_files_as_they_were_are_sure(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"abc")
        os.utime(tmp_path / name, ns=(10**18, 10**18))
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "broken").symlink_to("nowhere")

    def time_of(path):
        with contextlib.suppress(OSError, ValueError):
            return (tmp_path / path).stat().st_ctime_ns

    @settings(max_examples=150, deadline=None)
    @given(st.lists(ROWS, max_size=6))
    def check(rows):
        rows = [
            row | {"ctime_ns": time_of(row["path"]) if row["ctime_ns"] == "own" else row["ctime_ns"]} for row in rows
        ]
        found = surely_unchanged(pa.Table.from_pylist(rows, SCHEMA), str(tmp_path)).tolist()
        for row, sure in zip(rows, found, strict=True):
            plain = row["image_key"] is not None and row["racy"] is False and row["ctime_ns"] == time_of(row["path"])
            assert sure == (plain and is_unchanged(row, str(tmp_path), 10))

    check()
