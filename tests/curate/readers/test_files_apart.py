"""Files of a table that cannot be cut are read one by one, and only new ones again; the rows stay the same."""

import csv
import gzip
import io
import json

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.readers import units
from tests.curate.make_images import encoded, noise
from tests.curate.readers.test_reading_in_ranges import CONVERSATIONS, TABLE
from tests.curate.readers.test_shards_apart import read
from winnow.errors import UserError

NAMES = ("question_id", "image", "question", "answer")
CELLS = st.fixed_dictionaries(
    {
        "question_id": st.sampled_from(["", "1", "2", "x"]), "image": st.sampled_from(["", "images/a.png", "12"]),
        "question": st.sampled_from(["what?", "größer?", "", "two\nlines?"]),
        "answer": st.sampled_from(["this", "é", ""]),
    }
)  # fmt: skip
LINES = st.lists(st.tuples(st.sampled_from([*TABLE, *CONVERSATIONS[:5]]), st.integers(0, 30)), min_size=1, max_size=8)


def packed(path, lines):
    texts = (line(number) if callable(line) else line for line, number in lines)
    path.write_bytes(gzip.compress("\n".join(texts).encode()))


def array(path, rows):
    path.write_text(json.dumps(rows))


def arrow(path, rows):
    table = pa.table({name: [row[name] for row in rows] for name in NAMES})
    with pa.ipc.new_stream(path, table.schema) as out:
        out.write_table(table)


def other_letters(path, rows):
    path.write_bytes(written(rows).encode("cp1252"))


def stray_quote(path, rows):
    path.write_text(f'{written(rows)}9,,5" pipe?,x\n')


def written(rows):
    text = io.StringIO()
    csv.writer(text).writerows([NAMES, *(row.values() for row in rows)])
    return text.getvalue()


ROWS = st.lists(CELLS, min_size=1, max_size=8)
KINDS = {
    "jsonl.gz": (packed, LINES), "json": (array, ROWS), "arrow": (arrow, ROWS), "latin.csv": (other_letters, ROWS),
    "stray.csv": (stray_quote, ROWS),
}  # fmt: skip


@pytest.mark.parametrize("ending", KINDS)
@pytest.mark.parametrize("ids", ["own", "position"])
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_after_any_change_the_rows_are_those_of_reading_the_source_as_a_whole(tmp_path_factory, ending, ids, data):
    write, rows = KINDS[ending]
    folder = tmp_path_factory.mktemp("set") / "data"
    (folder / "images").mkdir(parents=True)
    for name in "ab":
        (folder / "images" / f"{name}.png").write_bytes(encoded(noise(8, 8)))
    location, more = folder / f"*.{ending}", {"layout": "table", **({"ids": ids} if ids == "position" else {})}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "_ROWS_A_PART", data.draw(st.sampled_from([2, 100]), label="rows of a part"))
        for step in range(3):
            for number, table in data.draw(st.dictionaries(st.integers(0, 4), rows, max_size=3), label="new").items():
                write(folder / f"{number}.{ending}", table)
            for number in data.draw(st.sets(st.integers(0, 4), max_size=1 if step else 0), label="gone"):
                (folder / f"{number}.{ending}").unlink(missing_ok=True)
            if list(folder.glob(f"*.{ending}")):
                assert outcome(folder / "out", location, **more) == outcome(
                    folder / f"{step}", location, whole=True, **more
                )


def outcome(folder, location, **more):
    try:
        return read(folder, location, **more)[0]
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("ending", KINDS)
def test_only_a_new_or_changed_file_is_read_again(tmp_path, ending):
    write, location = KINDS[ending][0], tmp_path / "data" / f"*.{ending}"
    location.parent.mkdir()

    def put(number, *questions):
        rows = [dict(zip(NAMES, (f"{number}-{n}", "", text, "ö"), strict=True)) for n, text in enumerate(questions)]
        write(
            location.with_name(f"{number}.{ending}"),
            [(json.dumps(row), 0) for row in rows] if write is packed else rows,
        )

    for number in range(4):
        put(number, "what?", "where?")
    _, before = read(tmp_path / "out", location, layout="table", ids="position")
    put(1, "changed?")
    put(4, "new?")
    found, after = read(tmp_path / "out", location, layout="table", ids="position")
    assert (len(before), len(after), len(after - before)) == (4, 5, 2)
    assert found == read(tmp_path / "whole", location, whole=True, layout="table", ids="position")[0]
