"""Tools in rows: what is no JSON of tools or calls is refused with a reason."""

import pytest

from winnow.rows.tools import calls_in, definitions_in


def test_calls_and_definitions():
    assert calls_in('{"name": "f", "arguments": {"x": 1}}') == [("f", {"x": 1})]
    assert calls_in('[{"name": "f"}]') == [("f", {})]
    assert definitions_in("") == [] and definitions_in('[{"name": "f"}]') == [{"name": "f"}]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "[-Infinity]", "1e400"])
def test_numbers_that_json_has_not_are_refused(value):
    with pytest.raises(ValueError, match="NaN or infinity"):
        calls_in(f'{{"name": "f", "arguments": {{"x": {value}}}}}')
    with pytest.raises(ValueError, match="NaN or infinity"):
        definitions_in(f'[{{"name": "f", "default": {value}}}]')


@pytest.mark.parametrize(
    ("text", "why"),
    [("{}", "name"), ("[]", "name"), ("1", "name"), ('{"name": 1}', "name"), ("x", "value"), ("[" * 99_999, "deep")],
)
def test_other_texts_are_no_calls(text, why):
    with pytest.raises(ValueError, match=why):
        calls_in(text)
