"""Archives that claim or unpack to far more than they are cost their rows, in bounded memory."""

import bz2
import gzip
import io
import lzma
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.readers.files import arrow, tar
from curate.readers.files.json import RawRow
from curate.readers.files.zip import BoundedZip
from curate.readers.layouts import webdataset
from tests.curate import sets
from winnow.rows.records import BadRow

ROOT = Path(__file__).parents[3]
READ = """
import sys
from pathlib import Path
from curate.readers.layouts.webdataset import _groups
def peak():  # not that of getrusage, which a process inherits from the one that starts it
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
before = peak()
for key, group in _groups(Path(sys.argv[1])):
    print(key[:40], group if isinstance(group, str) else sorted(group))
print((peak() - before) // 1024)
"""


def header(name, size, kind=tarfile.REGTYPE):
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def written(path, *parts, zeros=0):
    """A shard of raw parts, then so many MiB of zeros, packed with xz if its name says so."""
    with path.open("wb") if path.suffix != ".xz" else lzma.open(path, "wb", preset=0) as file:
        for part in parts:
            file.write(part)
        for _ in range(zeros):
            file.write(bytes(1 << 20))
    return path


def groups(path):
    """Each group's line, and the MiB that reading took."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=100, check=True
    )
    *lines, used = done.stdout.splitlines()
    return lines, int(used)


# A damaged shard costs its last sample, whose other members may have followed.
GOOD = header("a.txt", 512) + b"x" * 512 + header("b.txt", 512) + b"x" * 512
HEADERS = {
    "long name": header("././@LongLink", 3 << 30, tarfile.GNUTYPE_LONGNAME),
    "long link": header("././@LongLink", 1 << 40, tarfile.GNUTYPE_LONGLINK),
    "PAX": header("pax", 2 << 30, tarfile.XHDTYPE),
    "global PAX": header("pax", 2 << 30, tarfile.XGLTYPE),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_header_of_gigabytes_costs_the_rest_of_the_shard(tmp_path, kind):
    lines, used = groups(written(tmp_path / "s.tar.xz", GOOD, HEADERS[kind], zeros=300))
    assert lines[0] == "a ['txt']"
    assert "a header of" in lines[1] and "the rest of the shard could not be read" in lines[1]
    assert used < 100


def test_headers_without_an_end_are_not_followed(tmp_path):
    long = header("././@LongLink", 512, tarfile.GNUTYPE_LONGNAME) + b"n" * 512
    lines, _ = groups(written(tmp_path / "s.tar", GOOD, *[long] * 5000))
    assert lines[0] == "a ['txt']" and "more than 16 headers" in lines[1]


def test_global_headers_that_add_up_are_not_kept(tmp_path):
    parts = []
    for number in range(3000):
        text = (b"1000 k%d=" % number).ljust(999, b"v") + b"\n"
        parts.append(header("pax", len(text), tarfile.XGLTYPE) + text.ljust(1024, b"\0"))
        parts.append(header(f"{number}.txt", 0))
    lines, used = groups(written(tmp_path / "s.tar", *parts))
    assert "headers" in lines[-1] and used < 100


def test_headers_that_add_up_over_all_members_end_the_shard(tmp_path, monkeypatch):
    monkeypatch.setattr(tar, "_HEADERS_ALWAYS", 5 << 20)
    text = b"9 abcd=\n\n" * 100_000
    parts = []
    for number in range(8):
        parts += [header("pax", len(text), tarfile.XHDTYPE), text, bytes(-len(text) % 512), header(f"{number}.txt", 0)]
    groups = dict(webdataset._groups(written(tmp_path / "s.tar.xz", *parts)))
    assert [groups[key] for key in "0123"] == [{"txt": b""}] * 4
    assert "headers of more than 5,242,880 bytes together" in groups["4"] and len(groups) == 5


def test_a_sample_of_gigabytes_costs_itself(tmp_path):
    parts = []
    for number in range(5):
        parts += [header(f"k.{number}.bin", 60 << 20), bytes(60 << 20)]
    lines, used = groups(written(tmp_path / "s.tar", *parts, GOOD))
    assert lines[0] == "k its members have 314,572,800 bytes, more than 268,435,456"
    assert lines[1] == "a ['txt']" and len(lines) == 4, "what follows is read"
    assert used < 500


def test_a_shard_that_unpacks_to_far_more_than_it_has_is_not_read_to_its_end(tmp_path):
    member = header("big.bin", 4 << 30)
    lines, used = groups(written(tmp_path / "s.tar.xz", GOOD, member, zeros=4))
    assert lines[0] == "a ['txt']"
    assert "unpacks to more than 1,073,741,824 bytes" in lines[1]
    assert used < 100


@pytest.mark.parametrize(("ending", "packed"), [("bz2", bz2.compress), ("xz", lzma.compress)])
def test_what_is_passed_over_is_not_unpacked_at_once(tmp_path, ending, packed):
    path = tmp_path / f"s.tar.{ending}"
    path.write_bytes(packed(header("__passed.bin", 128 << 20) + bytes(128 << 20) + GOOD + bytes(1024)))
    lines, used = groups(path)
    assert lines == ["a ['txt']", "b ['txt']"]
    assert used < 60


@pytest.mark.parametrize("size", [-1, -(1 << 40)])
def test_a_negative_size_is_damage(tmp_path, size):
    member = bytearray(header("b.txt", 0))
    member[124:136] = b"\xff" + (256**11 + size).to_bytes(11, "big")
    member[148:156] = b"        "
    member[148:156] = b"%06o\0 " % sum(member[:512])
    lines, _ = groups(written(tmp_path / "s.tar", GOOD, bytes(member)))
    assert lines[0] == "a ['txt']" and "could not be read" in lines[1]


def test_sparse_members_are_said(tmp_path):
    lines, _ = groups(written(tmp_path / "s.tar", GOOD, header("b.txt", 0, tarfile.GNUTYPE_SPARSE)))
    assert lines[0] == "a ['txt']" and "sparse" in lines[1]


def test_an_image_of_a_zip_that_unpacks_to_far_more_is_not_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "images.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        packed.writestr("a.bmp", bytes(300 << 20))
        sets.scene(1).save(file := io.BytesIO(), "PNG")
        packed.writestr("b.png", file.getvalue())
    from curate.readers.images.packed import PackedImages

    images = PackedImages([tmp_path / "images.zip"])
    assert str(images.read("a.bmp")).startswith("too_large_bytes:")
    assert images.read("b.png") == file.getvalue()


def test_a_zip_that_lies_about_its_sizes(tmp_path):
    with zipfile.ZipFile(path := tmp_path / "images.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.bmp", bytes(64 << 20))
    data = path.read_bytes()
    real = struct.pack("<I", 64 << 20)
    assert data.count(real) >= 1
    path.write_bytes(data.replace(real, struct.pack("<I", 1000)))
    from curate.readers.images.packed import PackedImages

    found = PackedImages([path]).read("a.bmp")
    assert found is None or len(found) <= 1000


_ENTRY = struct.Struct("<4s4B4HL2L5H2L")


def zip_of(path, entries, *, long=False, stated=None, size=None):
    """A zip file with the same member so often, whose end states what it is told, also as zip64."""
    name = b"a.png"
    listed = _ENTRY.pack(b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 33, 0, 0, 0, len(name), 0, 0, 0, 0, 0, 0) + name
    first = b"PK\3\4" + bytes(26)
    count, size = entries if stated is None else stated, entries * len(listed) if size is None else size
    with path.open("wb") as file:
        file.write(first + listed * entries)
        if long:
            place = file.tell()
            file.write(struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, len(first)))
            file.write(struct.pack("<4sLQL", b"PK\6\7", 0, place, 1))
            count, size = 0xFFFF, 0xFFFFFFFF
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, size, len(first), 0))
    return path


@pytest.mark.parametrize("stated", [None, 1])
@pytest.mark.parametrize("long", [False, True])
def test_a_zip_of_a_million_members_is_refused_before_they_are_listed(tmp_path, monkeypatch, long, stated):
    from curate.readers.images.packed import PackedImages

    made = []
    monkeypatch.setattr(zipfile, "ZipInfo", lambda *arguments: made.append(arguments))
    images = PackedImages([zip_of(tmp_path / "images.zip", 1_000_000, long=long, stated=stated)])
    assert images.read("a.png") is None and not made
    assert "more than 500,000 files" in images.notes()[0]


def test_a_zip_that_states_a_list_of_gigabytes_is_refused(tmp_path):
    # Its middle is a hole: ZipFile looks for the list by the size that the end states.
    end = zip_of(tmp_path / "end.zip", 0, long=True, size=5 << 30).read_bytes()[30:]
    with (path := tmp_path / "images.zip").open("wb") as file:
        file.seek(6 << 30)
        file.write(end)
    with pytest.raises(zipfile.BadZipFile, match="its list of members has 5,368,709,120 bytes"):
        BoundedZip(path, 5)


# Python writes no name that begins with a zero.
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)


@given(
    members=st.dictionaries(NAMES, st.binary(max_size=9), max_size=8),
    edits=st.lists(st.tuples(st.integers(1, 400), st.binary(min_size=1, max_size=9)), max_size=3),
)
@settings(max_examples=100, deadline=None)
def test_whatever_a_zip_says_it_is_read_as_by_zipfile_or_refused(members, edits):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    data = bytearray(buffer.getvalue())
    for place, text in edits:
        at = max(0, len(data) - place)
        data[at : at + len(text)] = text
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        refused, listed, trouble = [], [], None
        try:
            with zipfile.ZipFile(file.name) as packed:
                listed = [(info.filename, info.header_offset, info.file_size) for info in packed.infolist()]
        except Exception as error:  # noqa: BLE001 (whatever it is, ours must be the same)
            trouble = repr(error)
        try:
            with BoundedZip(Path(file.name), 5) as packed:
                found = [(info.filename, info.header_offset, info.file_size) for info in packed.infolist()]
        except Exception as error:  # noqa: BLE001
            refused.append(repr(error))
    if len(listed) > 5:
        assert "more than 5 files" in refused[0]
    elif refused:
        assert refused[0] == trouble or "more than 5 files" in refused[0] or "its list of members" in refused[0]
    else:
        assert found == listed and trouble is None


def test_the_usual_shards_are_read_as_ever(tmp_path):
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("a.txt", "ü" * 90 + ".txt"):
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = 3, {"comment": "c" * 2000}
            tar.addfile(member, io.BytesIO(b"cat"))
    assert [group for _, group in webdataset._groups(path)] == [{"txt": b"cat"}, {"txt": b"cat"}]


READ_TABLE = """
import sys
from pathlib import Path
from curate.readers.files.rows import iter_rows
from winnow.errors import UserError
try:
    for row in iter_rows(Path(sys.argv[1])):
        print(str(row)[:200])
except UserError as error:
    print(error)
print(int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) // 1024)
"""
TABLES = {
    "quoted.csv": (b'id,question\n1,"', b"a", b'"\n2,q\n'),
    "bare.csv": (b"id,question\n1,", b"a", b"\n2,q\n"),
    "blank.csv": (b"id,question\n", b" ", b"\n2,q\n"),
    "header.csv": (b"id,", b"a", b"\n2,q\n"),
    "line.jsonl": (b'{"id": "', b"a", b'"}\n{"id": "2", "question": "q"}\n'),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_a_packed_table_with_a_line_without_end_costs_that_line(tmp_path, name):
    before, byte, after = TABLES[name]
    path = tmp_path / f"{name}.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(before)
        for _ in range(600):
            file.write(byte * (1 << 20))
        file.write(after)
    done = subprocess.run(
        [sys.executable, "-c", READ_TABLE, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=100, check=True
    )
    *lines, used = done.stdout.splitlines()
    assert int(used) < 560
    if name == "header.csv":
        assert "must name the columns" in lines[0]
    else:
        assert "BadRow" in lines[0] and "RawRow" in lines[1] and "2" in lines[1] and len(lines) == 2
        assert "longer than 64 MiB" in lines[0] or name != "line.jsonl"


@pytest.mark.parametrize("kind", ["Parquet", "Arrow", "Parquet with shared texts"])
def test_a_row_that_unpacks_to_too_much_is_bad_and_the_others_are_read(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(arrow, "_LARGEST_ROW", 1 << 20, raising=False)
    answers = pa.array(["cat", "a" * (2 << 20), "dog", "cat"])
    if kind == "Parquet with shared texts":
        answers = answers.dictionary_encode()
    table, path = pa.table({"question": [f"{n}?" for n in range(4)], "answer": answers}), tmp_path / "rows"
    if kind == "Arrow":
        with pa.ipc.new_file(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as file:
            file.write_table(table)
        found = list(arrow.arrow_rows(path))
    else:
        pq.write_table(table, path, compression="zstd")
        found = list(arrow.parquet_rows(path))
    assert path.stat().st_size < 10_000
    assert [row.value["answer"] for row in found if isinstance(row, RawRow)] == ["cat", "dog", "cat"]
    assert isinstance(found[1], BadRow)
    assert found[1].where.endswith("row 2")
    assert found[1].reason == "more than 1,048,576 bytes"
