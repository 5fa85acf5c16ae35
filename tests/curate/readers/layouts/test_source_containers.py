"""Image folders, WebDataset shards and patterns of files."""

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.readers import open_source
from curate.readers.images.store import content_path
from curate.readers.location import expanded, files_of
from curate.settings.sources import SourceSettings
from tests.curate.make_images import encoded, write
from tests.curate.sets import scene
from winnow.errors import UserError
from winnow.rows.records import BadRow, Sample

JPEG, PNG = encoded(scene(1), "JPEG"), encoded(scene(2))


def opened(location, **options):
    return open_source(SourceSettings(location=str(location), **options))


def packed(members, mode="w"):
    """A tar of (name, bytes) pairs."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as shard:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            shard.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


SHARD = [
    ("000000.jpg", JPEG), ("000000.json", json.dumps({"key": "000000", "caption": "a cat", "width": 64}).encode()),
    ("000000.txt", b"a cat"), ("sub/000001.png", PNG), ("sub/000001.cls", b"7"), ("000002.left.png", PNG),
    ("000002.right.jpg", JPEG), ("000002.question.txt", b"which?"), ("000002.answer.txt", b"left"),
    ("000003.json", b'{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]}'),
]  # fmt: skip


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_webdataset_groups_by_key(tmp_path, mode):
    path = write(tmp_path / ("a.tar" if mode == "w" else "a.tar.gz"), packed(SHARD, mode))
    source = opened(path, source="s")
    first, second, third, fourth = source.rows()
    assert source.layout == "webdataset"
    assert (first.id, first.answers, first.image) == ("s/000000", ("a cat",), (content_path(JPEG),))
    assert first.embedded[content_path(JPEG)] == JPEG
    assert first.meta["width"] == 64
    assert (second.id, second.answer) == ("s/sub/000001", "7")
    assert (third.image, third.question, third.answer) == ((content_path(PNG), content_path(JPEG)), "which?", "left")
    assert (fourth.id, fourth.question, fourth.image) == ("s/000003", "hi", ())


def test_webdataset_patterns_and_splits(tmp_path):
    for name in ("train-000.tar", "train-001.tar", "val-000.tar"):
        write(tmp_path / name, packed([(f"{name[:9]}.jpg", JPEG), (f"{name[:9]}.txt", b"x")]))
    assert len(list(opened(tmp_path / "train-{000..001}.tar").rows())) == 2
    assert len(list(opened(tmp_path / "*.tar").rows())) == 3
    assert {row.split for row in opened(tmp_path).rows()} == {"train", "validation"}
    assert [row.id for row in opened(tmp_path, split="val", source="s").rows()] == ["s/val/val-000"]


def test_nothing_of_a_hostile_shard_is_written(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as shard:
        for name, kind, target in [
            ("../../evil.jpg", tarfile.REGTYPE, ""), ("/abs.txt", tarfile.REGTYPE, ""),
            ("link.jpg", tarfile.SYMTYPE, "/etc/passwd"), ("hard.jpg", tarfile.LNKTYPE, "/etc/passwd"),
            ("dev.jpg", tarfile.CHRTYPE, ""), ("pipe.jpg", tarfile.FIFOTYPE, ""),
        ]:  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            data = PNG if kind == tarfile.REGTYPE else b""
            info.size = len(data)
            shard.addfile(info, io.BytesIO(data))
    path = write(tmp_path / "in" / "a.tar", buffer.getvalue())
    before = sorted(tmp_path.rglob("*"))
    rows = list(opened(path, source="s").rows())
    assert [getattr(row, "image", None) for row in rows] == [(content_path(PNG),), None]  # /abs.txt is no UTF-8
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("cut", [512 + 700, 512 + 1024 + 100, 512 + 1024 + 512 + 10, 2 * (512 + 1024)])
def test_a_truncated_shard_is_one_bad_row_that_says_so(tmp_path, cut):
    whole = packed([("0.question.txt", b"x" * 1000), ("1.question.txt", b"y" * 1000)])
    rows = list(opened(write(tmp_path / "a.tar", whole[:cut]), layout="webdataset").rows())
    assert "truncated" in rows[-1].reason
    assert isinstance(rows[-1], BadRow) and all(isinstance(row, Sample) for row in rows[:-1])


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_mutated_shards_never_raise(tmp_path, data):
    whole = bytearray(packed(SHARD[:6]))
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, 4000))] = data.draw(st.integers(0, 255))
    path = write(tmp_path / "m.tar", bytes(whole))
    list(opened(path, layout="webdataset").rows())


def test_bad_members_cost_their_sample(tmp_path):
    members = [("0.json", b"{"), ("1.txt", b"\xff"), ("2.txt", b"ok"), ("2.txt", b"again"), ("3.question.txt", b"fine")]
    rows = list(opened(write(tmp_path / "a.tar", packed(members))).rows())
    assert [type(row) for row in rows] == [BadRow, BadRow, BadRow, Sample]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_image_folder_with_metadata(tmp_path, kind):
    rows = [{"file_name": "0001.png", "text": "a drawing", "n": 1}, {"file_name": "in/0002.png", "text": "b", "n": 2}]
    folder = tmp_path / "train"
    write(folder / "0001.png", PNG)
    if kind == "jsonl":
        write(folder / "metadata.jsonl", "\n".join(map(json.dumps, rows)).encode())
    elif kind == "csv":
        write(folder / "metadata.csv", b"file_name,text,n\n0001.png,a drawing,1\nin/0002.png,b,2\n")
    else:
        pq.write_table(pa.Table.from_pylist(rows), folder / "metadata.parquet")
    source = opened(tmp_path, source="s")
    first, second = source.rows()
    assert (source.layout, source.image_root) == ("image_folder", tmp_path)
    assert (first.image, first.answers, first.split) == (("train/0001.png",), ("a drawing",), "train")
    assert second.image == ("train/in/0002.png",)
    assert first.id.startswith("s/train/")


def test_image_folder_with_several_images_labels_and_conversations(tmp_path):
    turns = [{"role": "user", "content": "<image><image>which?"}, {"role": "assistant", "content": "a"}]
    rows = [
        {"file_names": ["a.png", "b.png"], "question": "q", "answer": "x"},
        {"file_name": "c.png", "label": 3},
        {"file_name": "d.png"},
        {"file_names": ["a.png", "b.png"], "messages": turns},
    ]
    write(tmp_path / "metadata.jsonl", "\n".join(map(json.dumps, rows)).encode())
    both, labelled, plain, talk = opened(tmp_path).rows()
    assert both.image == talk.image == ("a.png", "b.png")
    assert (labelled.answer, labelled.meta["label"]) == ("3", 3)
    assert (plain.answers, len(plain.conversations)) == ((), 1)
    assert talk.answer == "a"


def test_class_folders(tmp_path):
    for name in ("train/cat/1.jpg", "train/dog/1.jpg", "test/dog/2.JPEG", "train/notes.txt"):
        write(tmp_path / name, JPEG)
    rows = list(opened(tmp_path, source="pets").rows())
    assert [(row.image[0], row.answer, row.split) for row in rows] == [
        ("test/dog/2.JPEG", "dog", "test"), ("train/cat/1.jpg", "cat", "train"), ("train/dog/1.jpg", "dog", "train"),
    ]  # fmt: skip
    assert [row.answer for row in opened(tmp_path, split="test").rows()] == ["dog"]
    assert len({row.id for row in rows}) == 3


def test_a_folder_with_another_table_is_not_guessed_to_be_images(tmp_path):
    write(tmp_path / "images" / "1.jpg", JPEG)
    write(tmp_path / "rows.jsonl", b'{"image": "1.jpg", "caption": "x"}')
    found = opened(tmp_path)
    assert (found.layout, found.image_root) == ("table", tmp_path / "images")


def test_parquet_of_conversations_and_bytes(tmp_path):
    turns = [{"from": "human", "value": "<image>q"}, {"from": "gpt", "value": "a"}]
    row = {"id": "7", "image": {"bytes": PNG, "path": "p.png"}, "conversations": turns, "score": 0.5}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    source = opened(tmp_path / "a.parquet", source="s")
    (sample,) = source.rows()
    assert source.layout == "table"
    assert (sample.id, sample.image, sample.answer) == ("s/7", (content_path(PNG),), "a")
    assert (sample.embedded, sample.meta) == ({content_path(PNG): PNG}, {"score": 0.5})


def test_a_folder_of_parquet_files_by_split(tmp_path):
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        write(tmp_path / "data" / f"{name}.parquet", b"")
        pq.write_table(
            pa.table({"id": [name], "image": ["a.png"], "caption": ["x"]}), tmp_path / "data" / f"{name}.parquet"
        )
    assert [row.split for row in opened(tmp_path).rows()] == ["test", "train", "train"]
    assert len(list(opened(tmp_path, split="train").rows())) == 2
    assert len(list(opened(tmp_path / "data" / "train-*.parquet").rows())) == 2


@pytest.mark.parametrize(
    ("pattern", "count", "first", "last"),
    [("a{000..012}.tar", 13, "a000.tar", "a012.tar"), ("{a,b}{3..1}", 6, "a3", "b1"), ("plain", 1, "plain", "plain"),
     ("a{}b", 1, "ab", "ab")],
)  # fmt: skip
def test_braces(pattern, count, first, last):
    found = expanded(pattern)
    assert (len(found), found[0], found[-1]) == (count, first, last)


def test_braces_have_a_limit_and_patterns_match_files_only(tmp_path):
    with pytest.raises(UserError, match="more than 1,000,000 files"):
        expanded("{0..9999}{0..9999}")
    (tmp_path / "x.tar").mkdir()
    assert files_of(str(tmp_path / "*.tar"), (".tar",)) == []


def test_folders_that_say_no_class_are_no_labels(tmp_path):
    for name in ("data/images/test/1.jpg", "data/images/train/2.jpg", "img/3.jpg", "img/cat/4.jpg"):
        write(tmp_path / name, JPEG)
    rows = {row.image[0]: (row.answer, row.split) for row in opened(tmp_path).rows()}
    assert rows == {
        "data/images/test/1.jpg": ("", "test"), "data/images/train/2.jpg": ("", "train"), "img/3.jpg": ("", ""),
        "img/cat/4.jpg": ("cat", ""),
    }  # fmt: skip
    assert [row.image[0] for row in opened(tmp_path, split="test").rows()] == ["data/images/test/1.jpg"]
