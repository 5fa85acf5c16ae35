"""Texts that are not UTF-8, or packed with gzip: read, and the encoding named; damage is a sentence."""

import codecs
import csv
import gzip
import io
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from curate.readers.files.encoding import encoding_of, open_utf8
from curate.readers.files.json import iter_json
from curate.readers.files.rows import iter_rows, notes_on
from winnow.errors import UserError
from winnow.rows.records import BadRow

FRENCH = "Un garçon mange une crêpe à la fraise"
TEXTS = {
    "cp1252": FRENCH,
    "cp1250": "Duży żółty pies biegnie przez łąkę, a dzieci bawią się piłką obok źródła wody, mężczyzna stoi",
    "cp1251": "Собака бежит по траве, а дети играют в мяч у реки",
    "cp932": "犬が草の上を走る。子供たちはボールで遊んでいる",
    "gb18030": "一只狗在草地上跑，旁边有两个孩子在玩球，天空很蓝",
    "utf-16": FRENCH,
    "utf-16-le": FRENCH,
    "utf-16-be": FRENCH,
    "utf-32": FRENCH,
    "utf-8": FRENCH,
    "utf-8-sig": FRENCH,
}


def table(caption, rows=3):
    return "image,caption\r\n" + "".join(f'{n}.jpg,"{caption}"\r\n' for n in range(rows))


@pytest.mark.parametrize("encoding", TEXTS)
def test_a_table_in_any_usual_encoding_is_read(tmp_path, encoding):
    path = tmp_path / "a.csv"
    path.write_bytes(table(TEXTS[encoding]).encode(encoding))
    assert [row.value for row in iter_rows(path)] == [
        {"image": f"{n}.jpg", "caption": TEXTS[encoding]} for n in range(3)
    ]
    if encoding.startswith("utf-8"):
        assert notes_on(path) == []
    else:
        (note,) = notes_on(path)
        assert f"is not UTF-8 and is read as {encoding}" in note


def test_one_word_of_latin1_is_read_as_western(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("image,caption\na.jpg,café\n".encode("latin-1"))
    assert [row.value["caption"] for row in iter_rows(path)] == ["café"]
    assert encoding_of(path) == "cp1252"


@pytest.mark.parametrize("rows", [1, 3000])
def test_a_zero_byte_costs_no_other_row(tmp_path, rows):
    path = tmp_path / "a.csv"
    path.write_bytes(b"image,caption\na.jpg,a\0b\n" + b"b.jpg,a cat\n" * rows)
    found = [row.value["caption"] for row in iter_rows(path)]
    assert found == ["a\0b", *["a cat"] * rows]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "utf-8-sig"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("lines", [False, True], ids=["array", "lines"])
def test_json_in_another_encoding_is_read(tmp_path, encoding, packed, lines):
    rows = [{"question": f"q{n}", "answer": FRENCH} for n in range(3)]
    texts = [json.dumps(row, ensure_ascii=False) for row in rows]
    data = ("\n".join(texts) if lines else f"[{','.join(texts)}]").encode(encoding)
    path = tmp_path / "a.json"
    path.write_bytes(gzip.compress(data) if packed else data)
    assert [row.value for row in iter_json(path)] == rows


def test_mostly_utf8_stays_utf8_and_the_other_row_is_a_bad_one(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(table(FRENCH).encode() + b"9.jpg,caf\xe9\r\n")
    rows = list(iter_rows(path))
    assert [type(row) is BadRow for row in rows] == [False, False, False, True]
    assert rows[3].reason == "not UTF-8"
    assert notes_on(path) == []


def test_letters_far_behind_ascii_decide_too(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(table("plain", rows=20_000).encode() + b"9.jpg,caf\xe9\r\n")
    assert encoding_of(path) == "cp1252"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_half_a_letter_of_utf16_costs_its_row(tmp_path, encoding):
    path = tmp_path / "a.csv"
    half = "\ud83d".encode(encoding, "surrogatepass")
    path.write_bytes("image,caption\na.jpg,b\nc.jpg,".encode(encoding) + half + "\nd.jpg,e".encode(encoding) + b"\0")
    assert [type(row) is BadRow for row in iter_rows(path)] == [False, True, True]


def test_a_packed_table_is_read_and_a_damaged_one_says_so(tmp_path):
    path = tmp_path / "a.csv.gz"
    data = gzip.compress(table(FRENCH, rows=50_000).encode())
    path.write_bytes(data)
    assert sum(1 for _ in iter_rows(path)) == 50_000
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="gzip file is damaged"):
        list(iter_rows(path))


@settings(max_examples=300, suppress_health_check=list(HealthCheck), deadline=None)
@given(
    st.text(st.characters(codec="utf-8")), st.sampled_from(["utf-16", "utf-8", "utf-8-sig", "utf-32"]), st.booleans()
)
def test_any_text_comes_back(tmp_path, text, encoding, packed):
    path = tmp_path / "a.txt"
    data = ("beginning " * 3 + text).encode(encoding)
    path.write_bytes(gzip.compress(data) if packed else data)
    with open_utf8(path) as handle:
        assert handle.read().removeprefix(codecs.BOM_UTF8).decode() == "beginning " * 3 + text


STARTS = [
    b"",
    b"\x1f\x8b",
    b"PK\x03\x04",
    b"PAR1",
    b"ARROW1\0\0",
    b"\xff\xff\xff\xff",
    b"\xff\xfe",
    b"{",
    b"[",
    b"\0\0",
]


@settings(max_examples=400, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.sampled_from(STARTS), st.binary(max_size=300))
@example(b"\xff\xfe", b"\0\0\0\0\0\1")  # UTF-32 with a number that is no letter
def test_random_bytes_are_rows_or_a_sentence(tmp_path, start, data):
    path = tmp_path / "a"
    path.write_bytes(start + data)
    try:
        notes_on(path)
        list(iter_rows(path))
    except UserError as error:
        assert str(path) in str(error)


@settings(max_examples=200, suppress_health_check=list(HealthCheck), deadline=None)
@given(
    st.lists(
        st.lists(
            st.text(st.characters(codec="cp1252", exclude_characters="\0\r\n"), max_size=8), min_size=2, max_size=2
        )
    )
)
def test_cells_of_a_western_table_come_back(tmp_path, cells):
    path = tmp_path / "a.csv"
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([["né", "b"], *cells])
    path.write_bytes(buffer.getvalue().encode("cp1252"))
    if encoding_of(path) == "cp1252":
        assert [list(row.value.values()) for row in iter_rows(path)] == cells
