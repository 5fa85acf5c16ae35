"""Whatever the cells of a row hold, it is a sample that can be written, or says what is wrong with it."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from curate.readers.files.json import RawRow
from curate.readers.tables.columns import COLUMN_NAMES, Columns
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.rows.records import to_line

NAMES = [
    *sorted({name for names in COLUMN_NAMES.values() for name in names}),
    "A", "B", "C", "image_1", "image_2", "caption_0", "conversations", "messages", "rejected", "videos", "tools",
    "objects", "qa", "note",
]  # fmt: skip
TEXTS = st.sampled_from(["", " ", "B", "dog", "1", "[1, 2]", "['a' 'b']", "{", "a.jpg", "<image>", "data:,", "[", "ž"])
SCALARS = st.none() | st.booleans() | st.integers(-2, 5) | st.floats() | TEXTS | st.binary(max_size=4)
KEYS = st.sampled_from(["role", "content", "text", "label", "bytes", "path", "question", "answer", "A", "B"])
CELLS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "x"]), "content": inner})
    ),
    max_leaves=6,
)
ROWS = st.lists(st.dictionaries(st.sampled_from(NAMES), CELLS, max_size=7), min_size=1, max_size=4)


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_any_row_is_a_sample_or_a_reason(rows):
    raw = [RawRow(row, f"row {number}", number) for number, row in enumerate(rows)]
    columns = Columns(SourceSettings(location="t.jsonl"), lambda: raw)
    for row in raw:
        try:
            sample = columns.sample(row)
        except (ValueError, UserError) as error:
            assert str(error)
            continue
        assert sample.conversations and json.loads(to_line(sample))
        assert set(sample.unclaimed) <= set(row.value)
        assert set(sample.unclaimed) <= set(sample.meta)
