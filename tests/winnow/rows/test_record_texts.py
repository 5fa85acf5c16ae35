"""What is written and compared of a record, fast, is what the plain way gives."""

import json
import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.rows import keys, records
from winnow.rows.conversations import Turn
from winnow.rows.keys import answer_key, comparison_keys, context_key, normalized, question_key
from winnow.rows.records import Sample, to_line, with_id

SIGNS = st.text(st.sampled_from('aB1é ß_-.,?!\t\n\x00\x1c\x1f"\\/İſ“🎈') | st.characters(codec="utf-8"), max_size=8)
TEXTS = st.lists(
    st.sampled_from(["<image>", "<bbox>", "<ref-object>", "<video>", "What is", "yes", "<b>", " "]) | SIGNS, max_size=5
).map("".join)
TURNS = st.builds(
    Turn,
    st.sampled_from(["user", "assistant", "system"]),
    TEXTS,
    st.sampled_from(["", "", "", "observation", "tool_call"]),
    st.sampled_from([None, None, True, False]),
)
META = st.dictionaries(
    st.sampled_from(["videos", "label", "tools", "rejected", "objects", "other", "é"]),
    st.none() | st.booleans() | st.integers() | SIGNS | st.lists(SIGNS, max_size=2)
    | st.dictionaries(st.sampled_from(["ref", "bbox"]), st.lists(SIGNS, max_size=2), max_size=2),
    max_size=3,
)  # fmt: skip
SAMPLES = st.builds(
    Sample,
    id=SIGNS,
    image=st.lists(SIGNS, max_size=2).map(tuple),
    conversations=st.lists(TURNS, max_size=4).map(tuple),
    answers=st.lists(SIGNS, max_size=3).map(tuple),
    source=SIGNS,
    split=SIGNS,
    meta=META,
)


@settings(deadline=None)
@given(SAMPLES)
def test_a_line_is_the_json_of_its_record(sample):
    line = to_line(sample)
    assert line == json.dumps(records.to_record(sample), ensure_ascii=False)
    renamed = {**records.to_record(sample), "id": "new/ö"}
    assert with_id(line, sample.id, "new/ö") == json.dumps(renamed, ensure_ascii=False)


@settings(deadline=None)
@given(SAMPLES)
def test_keys_of_a_sample_are_those_of_its_record(sample):
    record = records.to_record(sample)
    assert comparison_keys(sample) == (question_key(record), answer_key(record), context_key(record))


@given(SIGNS | st.text(st.characters(max_codepoint=127)))
def test_normalized_text_is_what_its_definition_says(text):
    folded = unicodedata.normalize("NFKC", text).casefold()
    plain = " ".join(keys._PUNCTUATION.sub(" ", folded).split()) or folded.strip()
    assert normalized(text) == plain
