"""Plain conversations, which are read at once: rows, notes and counts are those of the way that any row takes."""

import dataclasses
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.readers import open_source
from curate.readers.below_root import Below, absolute
from curate.readers.images.store import ImageStore
from curate.readers.plain_rows import PlainRows
from curate.readers.ranges import Range
from curate.readers.units import RangeOfRows, read_range, read_unit
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.rows.conversations import ROLES

TEXTS = st.sampled_from(
    ["", " ", "What?", "what ?", "<image>", "<image>\nWhat is <b>?", "Where?<image>",
     "<ref-object> and <bbox>",
     "a < b", "<img>a.png</img>", "<image_1> or <|image_2|>", "<video>", "<ImageHere>", '"quoted" \\ and\nbroken\t',
     "ä ö ﬀ Ⅳ",
     "no\u2028line", "\x00", "x" * 300, "YES!", "winnow-5c1b6f0e:1", "<IMAGE>", "<think>so</think> yes"]
) | st.text(max_size=8)  # fmt: skip
NAMES = st.sampled_from([*ROLES, "tool_call", "Human", "", None, 3, ["user"]])
TURNS = st.fixed_dictionaries({"from": st.sampled_from(["human", "user", "gpt", "assistant"]), "value": TEXTS}) | (
    st.fixed_dictionaries(
        {}, optional={"from": NAMES, "role": NAMES, "value": TEXTS | st.integers(), "content": TEXTS,
                      "loss": st.none() | st.booleans() | st.floats()}
    )
)  # fmt: skip
PATHS = st.sampled_from(
    ["a.png", "images/a.png", "./a.png", "b/../a.png", "b//a.png", "/a.png", "..", "images/../../a", "a b.png", "ü.png",
     "a%20b.png", "https://a.example/b.png", "data:image/png;base64,AAAA", "A" * 63, "A" * 64, "iVBORw0KGgo" + "A" * 90,
     "x/" * 2100, '["a.png", "a.png"]', "[a.png]", "remote_404:a", ".hidden", "-", "C:\\a.png", "12", ""]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | TEXTS | st.sampled_from([0, -1, 2**64, -(2**63), 2**64 - 1, 10**30]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "A", "b"]), inner, max_size=3),
    max_leaves=4,
)
META = st.dictionaries(
    st.sampled_from(["question_type", "videos", "objects", "tools", "label", "id", "image_path", "a", "A"]), VALUES,
    max_size=3,
)  # fmt: skip
ANY = st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
OTHERS = st.dictionaries(
    st.sampled_from(["system", "model", "images", "messages", "chosen", "rejected", "query", "file", "url"]), VALUES,
    max_size=1,
)  # fmt: skip
RECORDS = st.builds(
    lambda record, more, turned: dict([*{**record, **more}.items()][:: -1 if turned else 1]),
    st.fixed_dictionaries(
        {"id": st.text(max_size=5) | ANY, "conversations": st.lists(TURNS, max_size=4) | ANY},
        optional={
            "image": PATHS | ANY, "answers": st.lists(TEXTS, max_size=4) | ANY, "meta": META | ANY,
            "source": st.sampled_from(["s", "", None, 1]), "split": st.sampled_from(["train", "", None, ["x"]]),
        },
    ),
    st.just({}) | OTHERS,
    st.booleans(),
)  # fmt: skip


def talk(number, **more):
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": f"a {number}"}]
    return {"id": f"row {number}", "image": f"images/{number}.png", "conversations": turns, **more}


def own(number, **more):
    return {**talk(number, source="own", split="train", meta={"n": number}), **more}


def lines_of(records):
    return "".join(json.dumps(record, ensure_ascii=number % 2 == 0) + "\n" for number, record in enumerate(records))


def read(folder, name, location, layout, **more):
    """What reading a file as one range leaves: the bytes of its part and the note."""
    data = location.read_bytes()
    source = SourceSettings(location=str(location), layout=layout, image_root=str(location.parent), **more)
    opened, store = open_source(source), ImageStore(folder)
    root = absolute(opened.image_root)
    below = Below.of(opened, store, opened.image_root.resolve(), frozenset({root, absolute(folder)}))
    below = dataclasses.replace(below, root=root)
    note = folder / f"{name}.json"
    part = Range(0, len(data), data.count(b"\n"), "")
    asked = RangeOfRows(layout, source, opened.images, 0, f"{name} {len(data)}", part, below, folder, 10**6)
    read_range((note, (asked,)))
    unit, part = read_unit(note), note.with_suffix(".parquet")
    return dataclasses.replace(unit, parts=()), part.read_bytes() if part.is_file() else None


@pytest.mark.parametrize(
    ("layout", "more"), [("conversations", {}), ("table", {}), ("table", {"columns": {"image": "picture"}})]
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(RECORDS, min_size=1, max_size=4))
def test_any_rows_are_what_the_slow_way_makes_of_them(tmp_path_factory, layout, more, records):
    folder = tmp_path_factory.mktemp("set")
    location = folder / "rows.jsonl"
    location.write_text(lines_of([talk(1), own(2), *records, own(3)]), "utf-8", "surrogatepass")

    def outcome(name):
        try:
            return read(folder, name, location, layout, **more)
        except UserError as error:  # a row without a column that the source names ends the reading
            return str(error)

    found = outcome("fast")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PlainRows, "row", lambda self, record: None)
        assert found == outcome("slow")


@pytest.mark.parametrize("layout", ["conversations", "table"])
@pytest.mark.parametrize(
    ("record", "plain"),
    [
        (talk(5), True),
        (own(5, answers=["a", "a", "b"]), True),
        (talk(5, answers=[], meta=None), True),
        (talk(5, id=5), False),
        (talk(5, system="Be short."), False),
        (talk(5, image=["images/5.png"]), False),
        (own(5, meta={"big": 2**70}), False),
    ],
)
def test_which_rows_are_plain(tmp_path, monkeypatch, layout, record, plain):
    location = tmp_path / "rows.jsonl"
    location.write_text(lines_of([record] * 4))
    seen, row = [], PlainRows.row

    def watched(self, record):
        seen.append(row(self, record))
        return seen[-1]

    monkeypatch.setattr(PlainRows, "row", watched)
    unit, _ = read(tmp_path, "fast", location, layout)
    assert unit.counted.rows == 4
    assert seen[-1] is not None if plain else seen == [None] * 4
