"""Files of rows in the forms that people have: where they lie, how they are packed, what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from finetune.data.rows import Rows, open_image, open_sets
from tests.finetune.toys import record, write_rows
from winnow.errors import UserError

RECORDS = [record(n, f"{n}.png", "<image>\nwhat color?", f"réd {n}") for n in range(3)]


def opened(path: Path, root: Path | None = None) -> Rows:
    return open_sets({"": path}, root)


def lines_of(records: list[dict]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in records).encode()


FORMS = {
    "plain.jsonl": lines_of(RECORDS),
    "marked.jsonl": b"\xef\xbb\xbf" + lines_of(RECORDS),
    "windows.jsonl": b"\r\n" + lines_of(RECORDS).replace(b"\n", b"\r\n\r\n"),
    "packed.jsonl.gz": gzip.compress(lines_of(RECORDS)),
    "utf16.jsonl": lines_of(RECORDS).decode().encode("utf-16"),
    "array.json": json.dumps(RECORDS, indent=1).encode(),
    "packed_array.json": gzip.compress(b"\xef\xbb\xbf" + json.dumps(RECORDS).encode()),
    "inside.json": json.dumps({"version": 1, "data": RECORDS}).encode(),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_samples(tmp_path, name):
    (tmp_path / name).write_bytes(FORMS[name])
    rows = opened(tmp_path / name)
    found = [rows[number] for number in range(len(rows))]
    assert [(row.id, row.image, row.answer) for row in found] == [
        (row["id"], (row["image"],), row["answers"][0]) for row in RECORDS
    ]
    assert rows.where(1) == f"{tmp_path / name} row 2"


def test_rows_of_other_tools(tmp_path):
    """ms-swift's messages beside LLaVA's conversations."""
    swift = {
        "messages": [{"role": "user", "content": "<image>red?"}, {"role": "assistant", "content": "yes"}],
        "images": ["0.png"],
    }
    llava = {
        "id": 7, "image": "1.png",
        "conversations": [{"from": "human", "value": "<image>\nblue?"}, {"from": "gpt", "value": "no"}],
    }  # fmt: skip
    (tmp_path / "rows.json").write_text(json.dumps([swift, llava, swift]))
    rows = opened(tmp_path / "rows.json")
    assert rows[1].id == "7" and rows[0].id != rows[2].id and rows[0].conversations == rows[2].conversations
    assert [(row.image, row.answer) for row in (rows[0], rows[1])] == [(("0.png",), "yes"), (("1.png",), "no")]


def test_a_bad_element_costs_itself(tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps([RECORDS[0], [1], RECORDS[2]]))
    rows = opened(tmp_path / "rows.json")
    assert rows[2].id == RECORDS[2]["id"]
    with pytest.raises(UserError, match=r"rows.json row 2: not a JSON object"):
        rows[1]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("cut.json", json.dumps(RECORDS).encode()[:-40], "byte"),
        ("table.csv", b"image,question\n0.png,red?\n", "is not JSON; give JSON lines"),
        ("pickle.json", b"\x80\x04\x95", "pickle"),
        ("packed.jsonl", b"BZh91AY", "bunzip2"),
        ("cut.gz", gzip.compress(lines_of(RECORDS))[:-20], "gzip file is damaged"),
        ("empty.jsonl", b"\n \n", "holds no rows"),
        ("empty.json", b"[]", "holds no rows"),
    ],
)
def test_what_is_refused(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}.*{words}"):
        opened(tmp_path / name)


def test_an_overlong_row_costs_itself(tmp_path):
    long = record(9, None, "q" * (65 << 20), "a")
    rows = opened(write_rows(tmp_path / "rows.jsonl", [RECORDS[0], long, RECORDS[2]]))
    assert len(rows) == 3 and rows[2].id == RECORDS[2]["id"]
    with pytest.raises(UserError, match=r"row 2: not a JSON object .is longer than 64 MiB; store its images as files"):
        rows[1]


def test_absolute_paths_inside_the_root_are_relative_to_it(tmp_path):
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    names = [
        f"{tmp_path}/data/images/a.png", f"file://{tmp_path}/data/images/a.png", f"{tmp_path}/link/images/a.png",
        f"{tmp_path}/data/images/../images/a.png", "images/a.png",
    ]  # fmt: skip
    inside = [record(number, name, "q", "a") for number, name in enumerate(names)]
    videos = record(10, None, "<video>q", "a") | {"meta": {"videos": [f"{tmp_path}/data/v.mp4", [names[0], "b.png"]]}}
    rows = opened(write_rows(tmp_path / "data" / "rows.jsonl", [*inside, videos]), tmp_path / "link")
    assert [rows[number].image for number in range(len(names))] == [("images/a.png",)] * len(names)
    assert rows[len(names)].meta["videos"] == ["v.mp4", ["images/a.png", "b.png"]]


def test_absolute_paths_outside_the_root_say_what_to_set(tmp_path):
    (tmp_path / "data").mkdir()
    names = [f"{tmp_path}/a.png", f"{tmp_path}/data/../a.png", f"{tmp_path}/data-other/a.png", "/etc/hosts"]
    records = [record(number, name, "q", "a") for number, name in enumerate(names)]
    rows = opened(write_rows(tmp_path / "data" / "rows.jsonl", records))
    for number in range(len(names)):
        with pytest.raises(ValueError, match=r"outside_root .*set image_root to a folder that holds all files"):
            open_image(rows.image_root, rows[number].image[0])
    with pytest.raises(ValueError, match="curate run"):
        open_image(rows.image_root, "data:image/png;base64,iVBORw0KGgo=")


def test_sets_with_roots_of_their_own_take_absolute_paths(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        path = f"{tmp_path}/{name}/a.png"
        write_rows(
            tmp_path / name / "rows.jsonl", [record(name, path, "q", "a"), record(f"{name}b", "a.png", "q", "a")]
        )
    rows = open_sets({name: tmp_path / name / "rows.jsonl" for name in ("one", "two")}, None)
    assert [rows[n].image for n in range(4)] == [("one/a.png",)] * 2 + [("two/a.png",)] * 2
