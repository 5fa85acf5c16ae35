"""Similar texts after edits of the rows: the file of a search from nothing, and little of it is searched again."""

import random

import pyarrow as pa
import pytest

from curate.duplicates.texts import kept_pairs, similar_pairs, text_keys
from curate.duplicates.texts.similar_texts import find_similar_texts
from curate.rules.corrected import CORRECTED
from curate.settings.copies import TextSettings
from curate.workspace import Workspace
from tests.curate.duplicates.texts.test_texts import edited
from tests.curate.stored import changed, put_parts, sample

TEMPLATE = "the picture shows a very large {} that stands on the table of the old kitchen beside the door"
SETTINGS = TextSettings(of=("question", "row"), threshold=0.7, min_words=4)


def table_of(rows):
    return pa.Table.from_pylist([{name: row.get(name) for name in CORRECTED.names} for row in rows], CORRECTED)


def searched(folder, parts):
    space = Workspace(folder)
    put_parts(space, map(table_of, parts))
    find_similar_texts(space, SETTINGS)
    return space.similar_texts.read_bytes()


def rows_of(seed):
    """Rows with texts of which many are alike, some equal, and some of one template."""
    chance = random.Random(seed)
    texts = [" ".join(words) for words in edited(seed, 60)]
    texts += [TEMPLATE.format(f"x{chr(97 + number)}") for number in range(26)] * 2
    chance.shuffle(texts)
    for number, text in enumerate(texts):
        question = chance.choice(["", "Say what you see in it.", "", "Why?", text[::-1]])
        yield sample(f"{seed}/{number}", [], question, text, bad_row=chance.choice([None] * 9 + ["broken"]))


@pytest.mark.parametrize("seed", range(4))
def test_after_each_edit_the_file_is_that_of_a_search_from_nothing(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(similar_pairs, "_ENOUGH", 3)  # so that texts of the template have enough
    chance, new = random.Random(seed), rows_of(seed + 100)
    rows = list(rows_of(seed))
    parts = [rows[start : start + 23] for start in range(0, len(rows), 23)]
    seen = set()
    for step in range(8):
        made = searched(tmp_path / "kept", parts)
        assert made == searched(tmp_path / f"fresh-{step}", parts)
        seen.add(made)
        parts = changed(parts, chance, new)
    assert len(seen) > 3


def test_rows_that_are_all_gone_and_come_back(tmp_path):
    rows = list(rows_of(1))
    first = searched(tmp_path / "kept", [rows[:50], rows[50:]])
    assert searched(tmp_path / "kept", [[]]) == searched(tmp_path / "none", [[]])
    assert searched(tmp_path / "kept", [rows[:50], rows[50:]]) == first


def test_one_row_more_reads_its_part_and_compares_its_text_alone(tmp_path, monkeypatch):
    rows = list(rows_of(2))
    rows = [row for row in rows if row["bad_row"] is None]
    searched(tmp_path, [rows[:40], rows[40:80], rows[80:]])
    read, compared = [], []
    words_of, likely = text_keys.words_of, similar_pairs.likely
    monkeypatch.setattr(text_keys, "words_of", lambda text: read.append(text) or words_of(text))
    monkeypatch.setattr(similar_pairs, "likely", lambda s, i, j, t: compared.extend(j.tolist()) or likely(s, i, j, t))
    more = sample("more", [], "", TEMPLATE.format("xyz"))
    searched(tmp_path, [rows[:40], rows[40:80], [*rows[80:], more]])
    fields = len(SETTINGS.of)
    assert len(read) <= fields * (len(rows) - 80 + 1) and any(more["answer_key"] in text for text in read)
    assert len(set(compared)) == 1, "the new text stands last; to no other is another text proposed"


@pytest.mark.parametrize("damage", ["gone", "cut", "of another kind", "of another version"])
def test_kept_pairs_that_are_damaged_are_found_again(tmp_path, monkeypatch, damage):
    rows = list(rows_of(3))
    made = searched(tmp_path, [rows])
    path = Workspace(tmp_path).text_pairs / "row.arrow"
    whole = path.read_bytes()
    match damage:
        case "gone":
            path.unlink()
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "of another kind":
            path.write_text("{}")
        case _:
            monkeypatch.setattr(kept_pairs, "_VERSION", 0)
            searched(tmp_path, [rows])
            monkeypatch.undo()
            assert path.read_bytes() != whole
    assert searched(tmp_path, [rows]) == made and path.read_bytes() == whole


def test_what_a_field_has_left_goes_with_it(tmp_path):
    rows = list(rows_of(4))
    searched(tmp_path, [rows])
    space = Workspace(tmp_path)
    find_similar_texts(space, TextSettings(of=("row",)))
    assert [path.name for path in space.text_keys.iterdir()] == ["row"]
    assert [path.name for path in space.text_pairs.iterdir()] == ["row.arrow"]
