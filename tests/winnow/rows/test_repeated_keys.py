from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.readers.files.json import iter_json
from winnow.rows.lines import parse_json
from winnow.rows.records import BadRow
from winnow.rows.repeated_keys import refuse_repeated_keys

TURNS = '"conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "x"}]'
SAID = "an object has the key 'image' twice, with different values"


@pytest.mark.parametrize(
    "text",
    [
        '{"image": "a.png", "image": "b.png"}',
        '{"image" : "a.png", "image"\n: "b.png"}',
        '{"id": 1, "meta": {"image": 1, "x": [[{"image": 1, "image": 2}]]}}',
        '["a", {"image": null, "image": 0}]',
        '{"image": 1, "\\u0069mage": 2}',
        '{"a": "\\": :", "image": 1, "image": {}}',
    ],
)
def test_two_values_of_a_key_are_refused(text):
    with pytest.raises(ValueError, match=SAID):
        refuse_repeated_keys(text.encode(), json.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        '{"image": "a", "image": "a"}',
        '{"a": "\\"image\\": 1, \\"image\\": 2"}',
        '{"a": {"b": 1}, "c": {"b": 2}}',
        "1" * 5000,
    ],
)
def test_other_values_are_not(text):
    refuse_repeated_keys(text.encode(), json.loads(text, parse_int=str))


values = st.recursive(
    st.none() | st.integers() | st.sampled_from(["", ":", '":', "a", 'b": "c"']),
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(st.tuples(st.sampled_from("ab:"), inner), max_size=3).map(tuple)
    ),
    max_leaves=12,
)


def written(value):
    """JSON of a value whose objects are tuples of members, which may have a key twice."""
    if isinstance(value, tuple):
        return "{" + ",".join(f"{json.dumps(key)} : {written(each)}" for key, each in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    return json.dumps(value)


def has_one(value):
    """The same, told the naive way."""
    if not isinstance(value, tuple | list):
        return False
    members = value if isinstance(value, tuple) else [("", each) for each in value]
    found = {}
    for key, each in members:
        read = json.loads(written(each))
        if has_one(each) or (isinstance(value, tuple) and key in found and found[key] != read):
            return True
        found[key] = read
    return False


@given(values)
def test_what_is_found_is_there(value):
    text = written(value)
    if has_one(value):
        with pytest.raises(ValueError, match="twice"):
            refuse_repeated_keys(text.encode(), json.loads(text))
    else:
        refuse_repeated_keys(text.encode(), json.loads(text))


def test_a_row_costs_itself_in_lines_and_in_a_list(tmp_path):
    good, bad = (
        f'{{"id": "a", "image": "a.png", {TURNS}}}',
        f'{{"id": "b", "image": "a.png", "image": "b.png", {TURNS}}}',
    )
    (tmp_path / "rows.jsonl").write_text(f"{good}\n{bad}\n{good}\n")
    (tmp_path / "rows.json").write_text(f"[{good},\n{bad},\n{good}]")
    for name, where in [("rows.jsonl", ":2"), ("rows.json", ": row 2")]:
        first, second, third = iter_json(tmp_path / name)
        assert isinstance(second, BadRow) and SAID in second.reason and second.where.endswith(name + where)
        assert not isinstance(first, BadRow) and not isinstance(third, BadRow)


def test_what_is_nested_too_deeply_is_said():
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(b'{"a":' * 990 + b"1" + b"}" * 990)
