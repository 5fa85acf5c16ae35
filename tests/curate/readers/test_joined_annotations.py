"""The join of two files against a naive one that holds all of the second."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.readers.files.joined import JoinedAnnotations

IDS = st.integers(0, 12) | st.sampled_from(["a", "b", "7"])


def write(path, own_ids):
    rows = [{"question_id": own, "row": number} for number, own in enumerate(own_ids)]
    path.write_text(json.dumps({"info": {}, "annotations": rows, "data_type": "é"}))
    return rows


@pytest.mark.slow
@settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.lists(IDS, max_size=14), st.lists(IDS | st.none(), max_size=14), st.integers(1, 40))
def test_every_row_is_found_once_whatever_the_order(tmp_path, asked, answered, chunk):
    path = tmp_path / "annotations.json"
    rows = write(path, answered)
    first = {}
    for row in rows:
        if row["question_id"] is not None:
            first.setdefault(str(row["question_id"]), row)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curate.readers.files.json_text.CHUNK", chunk)
        partner = JoinedAnnotations(path, "annotations", "question_id")
        found = [partner.find(own) for own in asked]
        left = list(partner.left_over())
    expected = [first.get(str(own)) for own in asked]
    expected = [row if row and row["question_id"] == own else None for row, own in zip(expected, asked, strict=True)]
    assert found == expected
    used = {row["row"] for row in found if row}
    assert [row.position for row in left] == [row["row"] for row in rows if row["row"] not in used]


def test_files_in_step_are_read_once_and_without_a_table(tmp_path, monkeypatch):
    path = tmp_path / "annotations.json"
    rows = write(path, range(1000))
    monkeypatch.setattr(JoinedAnnotations, "_offsets", None)  # would fail if it were called
    partner = JoinedAnnotations(path, "annotations", "question_id")
    assert [partner.find(number) for number in range(1000)] == rows
    assert list(partner.left_over()) == []
