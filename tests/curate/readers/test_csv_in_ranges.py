"""CSV files cut into ranges: records end where the ``csv`` module says, and the rows are those of the whole file."""

import codecs
import csv
import hashlib
import io
import random
import zlib

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from curate.readers import LAYOUTS, ranges
from curate.readers.files.csv_ends import CsvEnds, csv_header
from curate.settings.sources import SourceSettings
from tests.curate.make_images import encoded, noise
from tests.curate.readers.test_reading_in_ranges import edits, read

PIECES = st.sampled_from(
    ['"', '""', '"""', ",", ";", "\n", "\r\n", "\r", "a", "é", " ", "\0", "\ufeff", "a,b\n", '"x","y"\n']
)


@pytest.fixture(autouse=True)
def short_ranges(monkeypatch):
    monkeypatch.setattr(ranges, "LEAST_ROWS", 2)
    monkeypatch.setattr(ranges, "MOST_ROWS", 5)


def records_of(data, delimiter=","):
    """The bytes of each record, as the ``csv`` module reads them from the lines of a text."""
    read_lines = []

    def lines():
        for line in io.TextIOWrapper(io.BytesIO(data), "utf-8", "surrogateescape", newline=""):
            read_lines.append(line)
            yield line

    found = []
    for _ in csv.reader(lines(), delimiter=delimiter):
        found.append("".join(read_lines).encode("utf-8", "surrogateescape"))
        read_lines.clear()
    return found


def ends_of(data):
    """Where ``csv`` begins a record after LF; not at the end of the file, where any quotes end."""
    ends, at = [], 0
    for record in records_of(data):
        at += len(record)
        ends += [at] if record.endswith(b"\n") and at < len(data) else []
    return ends


@settings(max_examples=400, deadline=None)
@example(text='a,"b\n', cut=3)
@example(text='5" pipe,1\n6" pipe,2\n', cut=1)
@example(text='"a"b"c\n"d"\n', cut=2)
@given(text=st.lists(PIECES, min_size=1, max_size=20).map("".join), cut=st.integers(1, 9))
def test_records_end_where_csv_ends_them_or_nothing_is_said(text, cut):
    data, scan = text.encode(), CsvEnds(",")
    blocks = [data[begin : begin + cut] for begin in range(0, len(data), cut)]
    found = [scan(block) for block in blocks]
    if all(ends is not None for ends in found):
        places = [cut * number + int(end) for number, ends in enumerate(found) for end in ends]
        assert [place for place in places if place < len(data)] == ends_of(data)
    whole = CsvEnds(",")(data)
    assert (whole is None) == any(ends is None for ends in found)


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.lists(PIECES, min_size=1, max_size=4), min_size=1, max_size=8),
    delimiter=st.sampled_from(",;\t|"), end=st.sampled_from(["\n", "\r\n"]),
)  # fmt: skip
def test_a_file_that_csv_has_written_is_always_sure(rows, delimiter, end):
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    data = text.getvalue().encode()
    assert len(CsvEnds(delimiter)(data)) == len(records_of(data, delimiter)) == len(rows)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"a,b\n1,2\n", b"a,b\n"), (codecs.BOM_UTF8 + b'"a","b"\r\n1', codecs.BOM_UTF8 + b'"a","b"\r\n'),
        (b'"a\nb",c\n1', b'"a\nb",c\n'), (b"a,b\r1,2\r\n", None), (b"a,b", None), (b"", None), (codecs.BOM_UTF8, None),
        (b'a,5" pipe\n', None),
    ],
)  # fmt: skip
def test_the_header_is_the_first_record(start, expected):
    assert csv_header(start, ",") == expected


def naive_cut(data, header):
    """Start, end and lines of each range, record by record."""
    found, start, rows = [], 0, []
    records = records_of(data)
    for number, record in enumerate(records):
        rows.append(record)
        size, count = sum(map(len, rows)), len(rows) - (start == 0)
        crc = zlib.crc32(record) % ranges.LEAST_ROWS == 0
        full = count == ranges.MOST_ROWS or size >= ranges._MOST_BYTES
        if number and record.endswith(b"\n") and ((crc and count >= ranges.LEAST_ROWS) or full):
            text = b"".join(rows).decode()
            found.append((start, start + size, len(text.replace("\r\n", "\n").replace("\r", "\n").split("\n")) - 1))
            start, rows = start + size, []
    return found if not rows else [*found, (start, len(data), None)]


@pytest.mark.parametrize("seed", range(30))
def test_files_are_cut_as_record_by_record_and_again_after_an_edit(tmp_path, monkeypatch, seed):
    chance, path = random.Random(seed), tmp_path / "rows.csv"
    least = chance.choice([1, 2, 3, 8])
    limits = {"LEAST_ROWS": least, "MOST_ROWS": least * chance.choice([1, 2, 4])}
    limits |= {"_MOST_BYTES": chance.choice([20, 100, 1000]), "_READ": chance.choice([1, 7, 64, 4096])}
    for name, limit in limits.items():
        monkeypatch.setattr(ranges, name, limit)
    cells = ["x", '"a,b"', '"two\nlines"', '"two\r\nlines"', '"one\rtwo"', '"said ""this"""', "", "é"]
    ends = ["\n", "\n", "\r\n"]
    header = chance.choice([b"a,b\n", b'"a","b"\r\n', codecs.BOM_UTF8 + b'a,"b\nc"\n'])
    rows = [",".join([chance.choice(cells), chance.choice(cells)]) for _ in range(60)]
    rows = [f"{row}{chance.choice(ends)}".encode() for row in rows]
    known = []
    for _ in range(6):
        data = (header + b"".join(rows)).removesuffix(chance.choice([b"", b"\n"]))
        path.write_bytes(data)
        found = ranges._cut_csv(path, known)
        naive = naive_cut(data, header)
        assert [(part.start, part.end) for part in found] == [part[:2] for part in naive]
        assert [part.lines for part in found][:-1] == [part[2] for part in naive][:-1]
        for part in found:
            begun = header if part.start else b""
            assert part.digest == hashlib.sha256(begun + data[part.start : part.end]).hexdigest()
        known, place = found, chance.randrange(len(rows))
        rows[place : place + chance.choice([0, 1, 3])] = [b'"new\nrow",1\n'] * chance.choice([0, 1, 2])
    path.write_bytes(b'a,b\n5" pipe,1\n')
    assert ranges._cut_csv(path, known) is None
    path.write_bytes(b"a,b\n1,2\n")
    monkeypatch.setattr(ranges, "MAX_LINE", 4)
    assert ranges._cut_csv(path) is None


HEADERS = [
    "question_id,image,question,answer",
    '"question_id","image","question","answer"',
    "question_id,image,question,answer,note",
]
RECORDS = [
    lambda n: f"{n},images/a.png,what?,this", lambda n: f'r{n},images/a.png,"which, then?","two\nlines"',
    lambda n: f'q{n},,"said ""this""",yes', lambda n: f"c{n},images/b.png,how?,so\r", ",images/a.png,no id?,again",
    lambda n: f'{n}," images/b.png","a\r\nb",x', lambda n: f"few{n},images/a.png", lambda n: f'{n},a,"b,c', "", " ",
    lambda n: f'{n},images/a.png,5" pipe?,5', lambda n: f"{n},images/a.png,nul\0?,\0", "1,2,3,4,5,6", '"',
    "\r", "\r\n\r",
    lambda n: f'{n},images/ü.png,"ä ö é?",größer', lambda n: f'{n},"data:image/png;base64,@@@",what?,bad',
    lambda n: f'{n},images/a.png,[1] ?,"[""a"", ""b""]"', lambda n: f"m{n},images/a.png,which?,this,noted",
]  # fmt: skip
records = st.lists(st.tuples(st.sampled_from(RECORDS), st.integers(0, 30)), min_size=1, max_size=14)


def text_of(header, rows, end):
    return end.join([header, *(row(number) if callable(row) else row for row, number in rows)])


@pytest.mark.parametrize("ids", ["own", "position"])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_after_any_edits_the_rows_are_those_of_reading_the_file_as_a_whole(tmp_path_factory, ids, data):
    folder = tmp_path_factory.mktemp("set")
    for name in ("a", "b", "ü"):
        (folder / "images").mkdir(exist_ok=True)
        (folder / "images" / f"{name}.png").write_bytes(encoded(noise(8, 8)))
    location = folder / "rows.csv"
    more = {"layout": "table", **({"ids": ids} if ids == "position" else {})}
    header = data.draw(st.sampled_from(HEADERS), label="header")
    end, encoding = (
        data.draw(st.sampled_from(["\n", "\n", "\r\n", "\r"])),
        data.draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "cp1252", "utf-16"]), label="encoding"),
    )
    rows = data.draw(records, label="rows")
    for step, (edit, number) in enumerate([("first", 0), *data.draw(edits, label="edits")]):
        place = number % (len(rows) + 1)
        new = data.draw(records, label="new")[:1] if edit != "first" else []
        if edit == "insert":
            rows = rows[:place] + new + rows[place:]
        elif edit == "append":
            rows = rows + new
        elif edit in ("change", "remove") and rows:
            rows = rows[:place] + (new if edit == "change" else []) + rows[place + 1 :]
        location.write_bytes((text_of(header, rows, end) + (end if number % 2 else "")).encode(encoding))
        found = read(folder / "out", location, **more)
        assert found == read(folder / f"whole-{step}", location, whole=True, **more)


def test_a_row_added_in_the_middle_is_one_new_range(tmp_path):
    rows = [(lambda n: f'q{n},,"which,\nthen {n}?",yes', number) for number in range(200)]
    location, settings = tmp_path / "rows.csv", SourceSettings(location=str(tmp_path / "rows.csv"))
    digests = []
    for new in ([], [(RECORDS[2], 7)]):
        location.write_text(text_of(HEADERS[0], [*rows[:100], *new, *rows[100:]], "\n"))
        (reading,) = LAYOUTS["table"].readings(settings)
        digests.append({part.digest for part in ranges.ranges_of(reading)})
    assert len(digests[0]) >= 40
    assert len(digests[1] - digests[0]) <= 3


def test_other_columns_make_other_ranges_of_the_same_records(tmp_path):
    location = tmp_path / "rows.csv"
    rows = [(lambda n: f"q{n},,which {n}?,yes", number) for number in range(20)]
    found = []
    for header in (HEADERS[0], "question_id,note,question,answer"):
        location.write_text(text_of(header, rows, "\n"))
        found.append(read(tmp_path / "out", location, layout="table"))
        assert found[-1] == read(tmp_path / f"whole-{len(found)}", location, whole=True, layout="table")
    assert found[0] != found[1]
