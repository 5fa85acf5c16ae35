import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import UserError
from winnow.rows.keys import answer_key, normalized, question_key
from winnow.rows.lines import check_unique, read_jsonl, read_rows
from winnow.rows.records import BadRow, Sample, Turn, from_record, majority, to_line, to_original, to_record

TEXT = st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
USED = {"id", "image", "images", "conversations", "messages", "answers", "source", "split", "meta"}


@st.composite
def records(draw):
    """JSON objects in every spelling that ``from_record`` knows, keys in any order."""
    role, value = draw(st.sampled_from([("from", "value"), ("role", "content")]))
    turn = st.fixed_dictionaries({role: st.sampled_from(["human", "gpt", "user", "assistant", "system"]), value: TEXT})
    extra_turn = st.tuples(turn, st.dictionaries(TEXT.filter(lambda key: key not in (role, value)), JSON, max_size=2))
    turns = draw(st.lists(extra_turn.map(lambda pair: {**pair[1], **pair[0]}) | turn, min_size=1, max_size=4))
    record = {draw(st.sampled_from(["conversations", "messages"])): turns}
    optional = {
        "id": TEXT | st.integers() | st.floats(allow_nan=False) | st.none(),
        draw(st.sampled_from(["image", "images"])): st.none() | TEXT | st.lists(TEXT.filter(bool), max_size=3),
        "answers": st.none() | st.lists(TEXT, max_size=3),
        "source": TEXT | st.none(),
        "split": TEXT,
        "meta": st.none() | st.dictionaries(TEXT, JSON, max_size=2),
    }
    for key, values in optional.items():
        if draw(st.booleans()):
            record[key] = draw(values)
    record.update(draw(st.dictionaries(TEXT.filter(lambda key: key not in USED), JSON, max_size=3)))
    return dict(draw(st.permutations(list(record.items()))))


def same(one, other):
    """Equal as JSON text: key order and types count."""
    return json.dumps(one) == json.dumps(other)


@settings(max_examples=60, deadline=None)
@given(records())
def test_writing_a_record_back_changes_nothing(record):
    assert same(to_original(from_record(record, source="s", split="t")), record)


@settings(max_examples=60, deadline=None)
@given(records())
def test_own_form_reads_back_as_the_same_sample(record):
    sample = from_record(record, source="s", split="t")
    again = from_record(json.loads(to_line(sample)))
    for name in ("id", "image", "conversations", "answers", "source", "split", "meta"):
        assert getattr(again, name) == getattr(sample, name), name
    assert to_record(again) == to_record(sample)


@pytest.mark.parametrize(
    ("text", "single", "several", "images", "left"),
    [
        ("?", "a.png", ["b.png"], ("a.png", "b.png"), {}),
        ("?", "a.png", ["a.png", "b.png"], ("a.png", "b.png"), {}),
        ("<image><image>?", "a.png", ["b.png"], ("a.png", "b.png"), {}),
        ("<image>?", "a.png", ["b.png", "c.png"], ("a.png",), {"images": ["b.png", "c.png"]}),
        ("<image><image>?", "a.png", ["b.png", "c.png"], ("b.png", "c.png"), {"image": "a.png"}),
    ],
)
def test_both_image_keys_are_read_as_the_markers_say(text, single, several, images, left):
    record = {"image": single, "images": several, "messages": [{"role": "user", "content": text}]}
    sample = from_record(record)
    assert (sample.image, sample.meta, sample.unclaimed) == (images, left, tuple(left))
    assert same(to_original(sample), record)


def test_ids_carry_source_and_split_once():
    turns = [{"from": "human", "value": "q"}]
    assert from_record({"id": 7, "conversations": turns}, source="a", split="b").id == "a/b/7"
    assert from_record({"id": 7, "conversations": turns}, source="a").meta == {"id": 7}
    assert from_record({"id": "a/b/7", "conversations": turns}, source="a", split="b").id == "a/b/7"
    derived = from_record({"conversations": turns}, source="a")
    assert derived.form.derived_id
    assert derived.id == from_record({"conversations": turns}, source="a").id


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"id": 1}, "conversations"),
        ({"conversations": []}, "non-empty"),
        ({"conversations": [{"from": "alien", "value": "x"}]}, "turn 1"),
        ({"conversations": [{"from": "human", "value": 3}]}, "turn 1"),
        ({"conversations": ["x"]}, "turn 1"),
        ({"conversations": [{"from": ["human"], "value": "x"}]}, "turn 1"),
        ({"conversations": [{"from": "human", "value": "x"}], "image": 5}, "image"),
        ({"conversations": [{"from": "human", "value": "x"}], "image": [""]}, "image"),
        ({"conversations": [{"from": "human", "value": "x"}], "answers": "yes"}, "answers"),
        ({"conversations": [{"from": "human", "value": "x"}], "meta": []}, "meta"),
        ({"conversations": [{"from": "human", "value": "x"}], "id": {}}, "id"),
    ],
)
def test_bad_records_name_the_problem(record, words):
    with pytest.raises(UserError, match=words) as error:
        from_record(record, where="file.jsonl:3")
    assert str(error.value).startswith("file.jsonl:3: ")


def test_a_bad_line_costs_that_line(tmp_path):
    good = to_line(Sample("a", (), (Turn("user", "q"),)))
    lines = [b"\xef\xbb\xbf" + good.encode(), b"{broken", b"", b"[1]", b"\xff\xfe", good.replace('"a"', '"b"').encode()]
    lines += [b'{"id": "\\ud800", "conversations": [{"from": "user", "value": "x"}]}', b"[" * 100_000]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(lines))
    rows = list(read_rows(path))
    assert [row.id if isinstance(row, Sample) else row.position for row in rows] == ["a", 1, 2, 3, "b", 5, 6]
    assert [row.where for row in rows if isinstance(row, BadRow)] == [f"{path}:{n}" for n in (2, 4, 5, 7, 8)]
    with pytest.raises(UserError, match=r"rows\.jsonl:2: not a JSON object"):
        list(read_jsonl(path))


def test_an_overlong_line_is_skipped_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("winnow.rows.lines.MAX_LINE", 200)
    good = to_line(Sample("a", (), (Turn("user", "q"),)))
    path = tmp_path / "rows.jsonl"
    path.write_text("x" * 1001 + "\n" + good + "\n")
    first, second = read_rows(path)
    assert isinstance(first, BadRow)
    assert isinstance(second, Sample)


def test_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        list(read_jsonl(tmp_path / "none.jsonl"))


def test_repeated_id_names_both_rows():
    rows = [Sample(name, (), (Turn("user", "q"),)) for name in "abca"]
    with pytest.raises(UserError, match=r"'a' occurs twice: rows 0 and 3"):
        list(check_unique(rows))
    assert list(check_unique(rows[:3])) == rows[:3]


def test_majority_breaks_ties_by_first_occurrence():
    assert majority(["b", "a", "a", "b", "c"]) == "b"
    assert majority([]) == ""


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("What is it?", "what is it"),
        ("  What\tIS   it ?! ", "what is it"),
        ("ﬁne", "fine"),
        ("STRASSE", "straße"),
        ("snake_case", "snake case"),
        ("3.5", "3 5"),
        ("???", "???"),
        ("", ""),
        ("何色?", "何色"),
    ],
)
def test_normalized(text, same):
    assert normalized(text) == normalized(same)
    assert normalized(normalized(text)) == normalized(text)


def test_different_texts_stay_different():
    assert len({normalized(text) for text in ("yes", "no", "?", "!", "", "a b", "ab")}) == 7


def test_all_turns_count_and_markers_do_not():
    record = {
        "conversations": [
            {"from": "system", "value": "Be brief."},
            {"from": "user", "value": "<image>\nWhat?"},
            {"from": "assistant", "value": "A cat."},
            {"from": "user", "value": "Sure?"},
            {"from": "assistant", "value": "Yes"},
        ]
    }
    assert question_key(record) == "what\nsure"
    assert answer_key(record) == "a cat\nyes"


def test_without_an_assistant_turn_the_most_frequent_reference_speaks():
    record = {"conversations": [{"from": "user", "value": "What?"}], "answers": ["dog", "Cat", "Cat"]}
    assert answer_key(record) == "cat"
