"""Sources read in ranges of their files, again after edits: the rows are those of reading them whole."""

import base64
import hashlib
import io
import json
import os
import random
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.readers import LAYOUTS, open_source, ranges
from curate.readers.images.store import ImageStore
from curate.readers.ingest import Asked, write_rows
from curate.settings.sources import SourceSettings
from tests.curate.make_images import encoded, noise
from winnow import digests
from winnow.errors import UserError
from winnow.parquet.table_parts import Parts

PICTURE = base64.b64encode(encoded(noise(8, 8))).decode()


def talk(question="What?", answer="this", **more):
    return {"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}], **more}


# Each is a line, or a function of a number that makes one.
CONVERSATIONS = [
    lambda n: json.dumps(talk(id=f"row-{n}", image="images/a.png")),
    lambda n: json.dumps(talk(f"What is {n}?", id=n, image="images/b.png", model="gpt")),
    lambda n: json.dumps({"id": f"own/{n}", "image": ["images/a.png", "images/b.png"], "source": "own", "split": "",
                          "conversations": [{"from": "user", "value": "<image>Why?"}], "meta": {"n": n}}),
    json.dumps(talk("no id, often", image="images/a.png")),
    json.dumps(talk("no id, no image")),
    lambda n: json.dumps(talk("text", id=f"text-{n}", score=0.5, note="two words")),
    lambda n: json.dumps(talk("text", id=f"field-{n}", file="pictures/x.png")),
    lambda n: json.dumps(talk("ä ö", id=f"ö-{n}", image="images/ü.png"), ensure_ascii=False),
    lambda n: json.dumps(talk(id=f"win-{n}", image=".\\images\\a.png")),
    lambda n: json.dumps(talk(id=f"data-{n}", image=f"data:image/png;base64,{PICTURE}")),
    lambda n: json.dumps(talk(id=f"bad64-{n}", image="data:image/png;base64,@@@")),
    lambda n: f'{{"id": "long-{n}", "n": {"7" * 30}, "conversations": [{{"from": "gpt", "value": "x"}}]}}',
    lambda n: f'{{"id": "nan-{n}", "n": NaN, "conversations": [{{"from": "gpt", "value": "x"}}]}}',
    '{"id": "half", "conversations": [{"from": "gpt", "value": "\\ud800"}]}',
    '{"id": 1, "conversations": []}',
    '{"id": 1, "conversations": [{"from": "narrator", "value": "x"}]}',
    '[1, 2]', "{broken", "", "  ",
    json.dumps({"query": "which?", "response": "this", "images": ["images/a.png"]}),
]  # fmt: skip
TABLE = [
    lambda n: json.dumps({"question_id": n, "image": "images/a.png", "question": "what?", "answer": "this"}),
    json.dumps({"image": "images/a.png", "question": "no id?", "answer": "again"}),
    json.dumps({"question": "no image?", "answer": "none"}),
    lambda n: json.dumps({"question_id": f"r{n}", "image": None, "question": "null?", "answers": ["a", "b", "a"]}),
    lambda n: json.dumps({"question_id": f"f{n}", "picture": "images/b.png", "question": "where?", "answer": "here"}),
    lambda n: json.dumps({"question_id": f"o{n}", "image": "images/b.png", "question": "one?", "A": "x", "B": "y",
                          "answer": "A"}),
    lambda n: json.dumps({"question_id": f"n{n}", "image": "images/b.png", "question": "one?", "options": ["x", "y"],
                          "answer": 1}),
    lambda n: json.dumps({"question_id": f"s{n}", "image": "12", "question": "of another row?", "answer": "yes"}),
    '{"question_id": 3, "picture": 4}', '{"other": 1}', "{broken", "",
]  # fmt: skip
KINDS = {"conversations": CONVERSATIONS, "table": TABLE}


@pytest.fixture(autouse=True)
def short_ranges(monkeypatch):
    monkeypatch.setattr(ranges, "LEAST_ROWS", 2)
    monkeypatch.setattr(ranges, "MOST_ROWS", 5)


def read(folder, location, *, whole=False, **more):
    """The rows and facts of a location, as a run in ``folder`` leaves them; or what is wrong with it."""
    source = SourceSettings(location=str(location), **more)
    rows = Parts(folder / "rows")
    try:
        opened = [(source, open_source(source))]
        asked = Asked(folder / "read", ImageStore(location.parent / "store"), 10**6)
        root, facts = write_rows(opened, rows, asked, None if whole else [location.read_text("utf-8", "replace")])
    except UserError as error:
        return str(error)
    batches = list(rows.batches())
    return pa.Table.from_batches(batches).drop_columns("position").to_pylist() if batches else [], root, facts


def lines_of(kind):
    return st.lists(st.tuples(st.sampled_from(KINDS[kind]), st.integers(0, 30)), min_size=1, max_size=14)


def text_of(lines):
    return "\n".join(line(number) if callable(line) else line for line, number in lines)


edits = st.lists(st.tuples(st.sampled_from(["insert", "remove", "change", "append"]), st.integers(0, 20)), max_size=4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ids", ["own", "position"])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_after_any_edits_the_rows_are_those_of_reading_the_file_as_a_whole(tmp_path_factory, kind, ids, data):
    folder = tmp_path_factory.mktemp("set")
    for name in ("a", "b", "ü"):
        (folder / "images").mkdir(exist_ok=True)
        (folder / "images" / f"{name}.png").write_bytes(encoded(noise(8, 8)))
    location = folder / "rows.jsonl"
    more = {"layout": kind, **({"ids": ids} if ids == "position" else {})}
    lines = data.draw(lines_of(kind), label="lines")
    for step, (edit, number) in enumerate([("first", 0), *data.draw(edits, label="edits")]):
        place = number % (len(lines) + 1)
        new = data.draw(lines_of(kind), label="new")[:1] if edit != "first" else []
        if edit == "insert":
            lines = lines[:place] + new + lines[place:]
        elif edit == "append":
            lines = lines + new
        elif edit in ("change", "remove") and lines:
            lines = lines[:place] + (new if edit == "change" else []) + lines[place + 1 :]
        location.write_text(text_of(lines) + ("\n" if number % 2 else ""), "utf-8")
        found = read(folder / "out", location, **more)
        assert found == read(folder / f"whole-{step}", location, whole=True, **more)


def naive_cut(data):
    """Start, end and lines of each range, line by line."""
    found, start, lines = [], 0, []
    for line in io.BytesIO(data):
        lines.append(line)
        size = sum(map(len, lines))
        ends = len(lines) >= ranges.LEAST_ROWS and zlib.crc32(line) % ranges.LEAST_ROWS == 0
        if ends or len(lines) == ranges.MOST_ROWS or size >= ranges._MOST_BYTES:
            found.append((start, start + size, len(lines)))
            start, lines = start + size, []
    return [*found, *([(start, len(data), len(lines))] if lines else [])]


@pytest.mark.parametrize("seed", range(30))
def test_files_are_cut_as_line_by_line_and_again_after_an_edit(tmp_path, monkeypatch, seed):
    chance, path = random.Random(seed), tmp_path / "lines"
    least = chance.choice([1, 2, 3, 8])
    limits = {"LEAST_ROWS": least, "MOST_ROWS": least * chance.choice([1, 2, 4])}
    limits |= {"_MOST_BYTES": chance.choice([20, 100, 1000]), "_READ": chance.choice([1, 7, 64, 4096])}
    for name, limit in limits.items():
        monkeypatch.setattr(ranges, name, limit)
    lines = [bytes(chance.choices(b"ab\r c", k=chance.choice([0, 1, 3, 10, 90]))) + b"\n" for _ in range(60)]
    known = []
    for _ in range(6):
        data = b"".join(lines).removesuffix(chance.choice([b"", b"\n"]))
        path.write_bytes(data)
        found = ranges._cut_lines(path, known)
        assert [(part.start, part.end, part.lines) for part in found] == naive_cut(data)
        assert all(part.digest == hashlib.sha256(data[part.start : part.end]).hexdigest() for part in found)
        known, place = found, chance.randrange(len(lines))
        lines[place : place + chance.choice([0, 1, 3])] = [b"new\n"] * chance.choice([0, 1, 2])
    monkeypatch.setattr(ranges, "MAX_LINE", 5)
    assert ranges._cut_lines(path) is None


def test_after_an_edit_only_what_is_about_it_is_cut_again(tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "LEAST_ROWS", 4)
    monkeypatch.setattr(ranges, "MOST_ROWS", 16)
    path, cut, new_ranges = tmp_path / "lines", [], ranges._new_ranges

    def noted(*asked):
        for part in new_ranges(*asked):
            cut.append(part)
            yield part

    monkeypatch.setattr(ranges, "_new_ranges", noted)
    lines = [f"{number}\n".encode() for number in range(1000)]
    known, edits = [], [slice(0, 0), slice(500, 501), slice(500, 500), slice(500, 502), slice(1, 2), slice(1000, 1000)]
    for edit in edits:
        cut.clear()
        lines[edit] = [b"changed\n"] * (edit.stop != 502)
        path.write_bytes(b"".join(lines))
        found = ranges._cut_lines(path, known)
        assert len(found) > 60 and (not known or 1 <= len(cut) <= 4)
        assert found == ranges._cut_lines(path)
        known = found


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_file_that_is_as_it_was_is_not_read_to_be_cut(tmp_path, monkeypatch, kind):
    path, table = tmp_path / f"rows.{kind}", tmp_path / "digests.parquet"
    rows = [{"id": str(number), "question": f"What is {number}?", "answer": "this"} for number in range(30)]
    if kind == "jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=3)
    monkeypatch.setattr(digests, "TICK_NS", 0)  # a file that was just written is remembered
    settings = SourceSettings(location=str(path))
    (reading,) = LAYOUTS[open_source(settings).layout].readings(settings)

    def cut():
        """As one run does it, which takes the digests of its inputs first."""
        known = digests.Digests(table)
        known.of(path)
        known.save()
        found = ranges.KnownRanges(tmp_path / "ranges.json", table)
        parts = found.of(reading)
        found.save()
        return parts

    first = cut()
    assert len(first) > 1
    cutting = []
    monkeypatch.setattr(ranges, "ranges_of", lambda *asked: cutting.append(asked) or first)
    assert cut() == first and not cutting
    os.utime(path, ns=(0, 10**9))
    assert cut() == first and not cutting, "the same bytes at another time"
    path.write_bytes(path.read_bytes() + b"\n")
    cut()
    assert len(cutting) == 1


def test_half_a_surrogate_pair_in_a_text_of_parquet_costs_its_row(tmp_path):
    talks = [json.dumps([{"from": "user", "value": "x"}, {"from": "assistant", "value": str(n)}]) for n in range(9)]
    talks[4] = talks[4].replace("x", "\\ud800")
    rows = [{"id": str(number), "conversations": turns} for number, turns in enumerate(talks)]
    location = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), location, row_group_size=3)
    found, _, (facts,) = read(tmp_path / "out", location)
    assert facts.bad_rows == 1 and "half a surrogate pair" in found[4]["bad_row"]
    assert (found, _, (facts,)) == read(tmp_path / "whole", location, whole=True)
