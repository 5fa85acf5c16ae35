"""Lines of JSON read by the fast parser are what the standard library makes of them, or refused alike."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.readers.ranges import _parsed
from winnow.rows.lines import parse_json

NUMBERS = [
    "-0", "-0.0", "1e400", "-1e400", "1E5", "0.1", "1e-400", "5e-324", "2.2250738585072011e-308", "NaN", "Infinity",
    "18446744073709551615", "18446744073709551616", "-9223372036854775808", "-9223372036854775809", "1" * 25,
    "9007199254740993", "123456789012345678901234567890.5", "0.30000000000000004", "01", "1.", ".5", "+1", "7" * 5000,
]  # fmt: skip
OTHERS = [
    '"\\ud800"', '"\\ud83d\\ude00"', '"\\u0000"', '"\x01"', '"\\x"', '{"a": 1, "a": 2}', "[1,]", "{} {}", "", " ",
    '{"a": 1}\n', "nul", "'a'", "{'a': 1}", "\ufeff{}", "[" * 400 + "]" * 400, "[" * 1005 + "]" * 1005,
    '{"a":' * 1100 + "1" + "}" * 1100, "[" * 100_000, "[1 // comment\n]",
]  # fmt: skip


def outcome(parse, line):
    try:
        return repr(parse(line)), None
    except ValueError as error:
        return None, str(error)


@pytest.mark.parametrize("text", [*NUMBERS, *OTHERS])
def test_what_parsers_disagree_about(text):
    for line in (text, f'{{"n": {text}}}', f'["{text[:9]}", {text}]'):
        assert outcome(_parsed, line.encode()) == outcome(parse_json, line.encode())


@pytest.mark.parametrize("line", [b'"\xff"', b'{"a": "\xed\xa0\x80"}', '{"a": 1}'.encode("utf-16"), b"\x00{}"])
def test_bytes_that_are_no_utf8(line):
    assert outcome(_parsed, line) == outcome(parse_json, line)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@settings(deadline=None)
@given(VALUES, st.booleans())
def test_any_value(value, escaped):
    line = json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    assert outcome(_parsed, line) == outcome(parse_json, line)
