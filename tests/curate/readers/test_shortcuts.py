"""What is read on a short way, as nearly all rows are, is read the same on the long one."""

import datetime
import json

from hypothesis import given
from hypothesis import strategies as st

from curate.readers import spelling
from curate.readers.tables import cells, options
from winnow.files import digest_of
from winnow.rows import conversations
from winnow.rows.conversations import ROLES

TEXTS = st.text(max_size=12) | st.text(" <>/.%:\\abgimfile<img>", max_size=12) | st.sampled_from(["<image>\nq", "../a"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | st.binary(max_size=3)
    | st.dates() | st.decimals(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(
    st.sampled_from([("from", "value"), ("role", "content"), ("from", "text")]), st.sampled_from(sorted(ROLES)), TEXTS
)
def test_turns(keys, role, text):
    row, named = dict(zip(keys, (role, text), strict=True)), {"<image_1>": "1.jpg"}
    for place in ((), ("messages", 3)):
        assert [*conversations._row(row, place, named)] == [*conversations._other_row(row, place, named)]


@given(TEXTS | st.from_regex(r"\A[\w ./%:-]{0,9}\Z"))
def test_paths_without_anything_odd(path):
    if spelling._PLAIN.fullmatch(path) and "../" not in path:
        assert not spelling._ODD.search(path)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_digests_of_rows(row):
    assert digest_of(row, cells.json_value) == digest_of(cells.json_value(row))


@given(VALUES)
def test_values_in_json(value):
    made = cells.json_value(value)
    assert json.loads(json.dumps(made)) == made
    assert cells.json_value(made) == made
    assert cells.json_value({"a": [datetime.date(2020, 1, 2), value]}) == {"a": ["2020-01-02", made]}


@given(TEXTS, st.lists(TEXTS.map(str.strip).filter(bool), min_size=1, max_size=4))
def test_options_that_a_question_shows(start, texts):
    found = options.Options(tuple(texts))
    shown = "\n".join([start, *found.lines])
    assert found.shown_in(shown) == shown
    assert found.shown_in("q") == "\n".join(["q", *found.lines])
