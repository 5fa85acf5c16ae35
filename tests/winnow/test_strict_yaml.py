"""YAML of strangers: plain mappings are read as PyYAML reads them; everything else is one sentence, at once."""

import string
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from winnow.errors import UserError
from winnow.strict_yaml import read_mapping


def written(folder, content):
    path = folder / "r.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("rules:\n  soft: {when: a}\n  dark: {when: b}\n  soft: {when: c}\n",
         "line 4: the key 'soft' is there twice, in lines 2 and 4; change one"),
        ("name: a\nsignals: {clip: null, clip: x}\n", "line 2: the key 'clip' is there twice, in lines 2 and 2"),
        ("- {a: 1, a: 2}\n", "line 1: the key 'a' is there twice"),
        ("a: &x [1]\nb: [*x, *x]\n", r"line 2: aliases \(\*x\) are not allowed; write the value out"),
        ("a: 1\n? [1, 2]\n: b\n", "line 2: the key in brackets reads as seq, not as text; put it in quotes"),
        ("train: 0.9\nno: 0.1\n", "line 2: the key 'no' reads as bool, not as text; put it in quotes"),
        ("1: a\n", "line 1: the key '1' reads as int"),
        ("<<: {a: 1}\n", "the key '<<' reads as merge"),
        ("a: !!python/name:os.system x\n", r"line 1: tags \(.*os.system\) are not allowed"),
        ("a: !!timestamp x\n", "tags .* are not allowed"),
        ("a:\n\tb: 1\n", "line 2: not valid YAML: found character that cannot start any token .indent with spaces"),
        ("a: 1\n  b: 2\n", "line 2: not valid YAML: mapping values are not allowed"),
        ("a: 1\n---\nb: 1\n", "line 2: not valid YAML: a second document begins"),
        ("a: 2020-99-99\n", "a value is not what it looks like .*; put it in quotes"),
        ("a: " + "9" * 5000, r"a value is not what it looks like \(Exceeds the limit"),
        (b"a: 1\nb: \xff\n", "line 2: not UTF-8 .byte 0xff.; save the file as UTF-8"),
        ("a: \0", "not valid YAML: unacceptable character #x0000"),
        ("", "is empty"),
        ("# nothing yet\n", "is empty"),
        ("- a\n", "a recipe is a mapping"),
        ("just text", "a recipe is a mapping"),
    ],
)  # fmt: skip
def test_what_is_refused_says_where_and_what_to_do(tmp_path, content, said):
    with pytest.raises(UserError, match=said) as raised:
        read_mapping(written(tmp_path, content))
    assert "\n" not in str(raised.value)


def bomb():
    """Nine levels of ten references each: a thousand million values."""
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    return "\n".join(levels)


@pytest.mark.parametrize(
    "content",
    [
        bomb(),
        "[" * 500_000,
        "- " * 400_000,
        "{a: " * 200_000,
        "? " * 300_000,
        "".join(" " * n + "a:\n" for n in range(1000)),
        "a: " + "x" * 900_000,
        "a: " + "1:" * 400_000 + "1",
        "x" * 50_000 + ": 1",
        "a: [" + "b, " * 300_000 + "]",
        "a: 1\n" * 500_000,
    ],
    ids=lambda content: content[:8].strip(),
)
def test_bombs_cost_no_time_and_one_short_sentence(tmp_path, content):
    path = written(tmp_path, content)
    started = time.process_time()
    with pytest.raises(UserError) as raised:
        read_mapping(path)
    assert time.process_time() - started < 0.5
    assert len(str(raised.value)) < len(str(path)) + 150


def test_what_is_no_file(tmp_path):
    with pytest.raises(UserError, match="is a folder; give the path of a YAML file"):
        read_mapping(tmp_path)
    with pytest.raises(UserError, match="no such recipe"):
        read_mapping(tmp_path / "none.yaml")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    assert read_mapping(written(tmp_path, "\ufeffa: 1\n".encode())) == {"a": 1}


TEXTS = st.text(string.printable, max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4))
def test_plain_mappings_are_read_as_they_were_written(tmp_path_factory, mapping):
    text = yaml.safe_dump(mapping, default_flow_style=None)
    assert read_mapping(written(tmp_path_factory.getbasetemp(), text)) == mapping


@given(st.binary(max_size=60) | st.text("ab:{}[]-,&*!?|>'\"#%@ \n\t1", max_size=60).map(str.encode))
def test_any_bytes_give_a_mapping_or_one_sentence(tmp_path_factory, content):
    try:
        found = read_mapping(written(tmp_path_factory.getbasetemp(), content))
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert found == yaml.load(content.decode("utf-8-sig"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
