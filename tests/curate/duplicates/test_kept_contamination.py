"""Contamination after edits of the rows: the files of a comparison from nothing, and only new parts are compared."""

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.duplicates import contamination
from curate.duplicates.contamination import find_contamination
from curate.measure.store import image_schema
from curate.settings.copies import ContaminationSettings
from curate.settings.sources import SourceSettings
from curate.workspace import Workspace
from tests.curate.duplicates.test_duplicate_rows import near
from tests.curate.stored import changed, image, put_parts, sample, store

SETTINGS = ContaminationSettings(against=[SourceSettings(location="x")], max_mean_diff=6)
LETTERS = "abcdefgh"
# Of each letter a picture and others that look like it, each in another size of file.
IMAGES = {one["image_key"]: one for letter in LETTERS for one in [image(letter)]}
IMAGES |= {
    f"{letter}{by}": near(f"{letter}{by}", IMAGES[letter], by, width=32 * (1 + by % 2))
    for letter in LETTERS for by in range(1, 6)
}  # fmt: skip
HELD = [
    sample("v1", ["a1", "c"]), sample("v2", ["a2"], "Who is it?"), sample("v3", ["c3"]), sample("v4", [], "Why?"),
    sample("v5", ["e"]), sample("v6", ["f5", "f4"]),
]  # fmt: skip


def rows_of(seed):
    chance = random.Random(seed)
    for number in range(10**6):
        shown = chance.sample(sorted(IMAGES), chance.choice([0, 1, 1, 2]))
        yield sample(f"{seed}/{number}", shown, chance.choice(["What is it?", "Who is it?", "Why?"]))


def found(folder, parts, evaluations, measured=None):
    """The two files.

    Args:
        measured: keys of the images of each part of the signals; all of the rows are in the first if None.
    """
    rows = [row for part in parts for row in part]
    shown = sorted({path.removesuffix(".png") for row in rows for path in row["images"]})
    space = store(folder / "train", rows, [IMAGES[key] for key in shown])
    for number, keys in enumerate(measured or []):
        table = pa.Table.from_pylist([IMAGES[key] for key in keys], image_schema(None, {}))
        pq.write_table(table, space.signals / f"part-{number:05}.parquet")
    table, start, tables = pq.read_table(space.corrected.files()[0]), 0, []
    for part in parts:
        tables.append(table.slice(start, len(part)))
        start += len(part)
    put_parts(space, tables)
    find_contamination(space, evaluations, SETTINGS)
    assert not list(space.work.glob("*.u8"))
    return space.contamination_rows.read_bytes(), space.contamination_counts.read_bytes()


@pytest.mark.parametrize("seed", range(3))
def test_after_each_edit_the_files_are_those_of_a_comparison_from_nothing(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(contamination, "_KEPT", 2)  # so that images have closer ones than are kept
    chance, new = random.Random(seed), rows_of(seed)
    evaluations = [
        ("vqa/val", store(tmp_path / "held", HELD, list(IMAGES.values()))),
        ("text", store(tmp_path / "text", [sample("w1", [], "Who is it?")], [])),
    ]
    parts = [[next(new) for _ in range(6)] for _ in range(4)]
    measured, seen = [], set()
    for step in range(6):
        shown = {path.removesuffix(".png") for part in parts for row in part for path in row["images"]}
        if fresh := sorted(shown - {key for keys in measured for key in keys}):
            measured.append(chance.sample(fresh, len(fresh)))
        made = found(tmp_path / "kept", parts, evaluations, measured)
        assert made == found(tmp_path / f"fresh-{step}", parts, evaluations)
        assert made[0] == found(tmp_path / f"whole-{step}", [[row for part in parts for row in part]], evaluations)[0]
        seen.add(made)
        parts = changed(parts, chance, new)
    assert len(seen) >= 3


def test_a_new_row_has_its_part_compared_and_a_new_evaluation_row_all(tmp_path, monkeypatch):
    new = rows_of(7)
    parts = [[next(new) for _ in range(5)] for _ in range(4)]
    compared = []
    closest = contamination.closest_matches
    monkeypatch.setattr(contamination, "closest_matches", lambda *all: compared.append(all) or closest(*all))
    evaluations = [("v", store(tmp_path / "held", HELD, list(IMAGES.values())))]
    for expected in (4, 0, 1):
        found(tmp_path, parts, evaluations)
        assert len(compared) == expected
        compared.clear()
        parts[1] = [*parts[1], next(new)] if expected == 0 else parts[1]
    more = store(tmp_path / "more", [*HELD, sample("v7", ["h"])], list(IMAGES.values()))
    put_parts(more, [pq.read_table(more.corrected.files()[0])])
    assert found(tmp_path, parts, [("v", more)]) == found(tmp_path / "fresh", parts, [("v", more)])
    assert len(compared) == 8


def test_a_part_that_is_damaged_or_gone_is_made_again(tmp_path):
    new = rows_of(8)
    parts = [[next(new) for _ in range(5)] for _ in range(3)]
    evaluations = [("v", store(tmp_path / "held", HELD, list(IMAGES.values())))]
    made = found(tmp_path, parts, evaluations)
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-9])):
        kept = sorted((tmp_path / "train/work/contaminated/v").glob("*.parquet"))
        damage(kept[0])
        assert found(tmp_path, parts, evaluations) == made


def test_what_an_evaluation_set_has_left_goes_with_it(tmp_path):
    new = rows_of(9)
    parts = [[next(new) for _ in range(5)]]
    held = store(tmp_path / "held", HELD, list(IMAGES.values()))
    found(tmp_path, parts, [("vqa/val", held), ("v", held)])
    found(tmp_path, parts, [("v", held)])
    assert [path.name for path in (tmp_path / "train/work/contaminated").iterdir()] == ["v"]


@pytest.mark.parametrize("parts", [[["a"], ["a4"]], [["a", "a4"]], [["a"]]])
def test_which_match_a_row_names_depends_on_no_other_row(tmp_path, monkeypatch, parts):
    """Of more close evaluation images than are kept, the farther ones count for the evaluation set, not for the row."""
    monkeypatch.setattr(contamination, "_KEPT", 2)
    asked = [sample("v1", ["a1"], "Who?"), sample("v2", ["a2"], "Why?"), sample("v3", ["a3"])]
    held = store(tmp_path / "held", asked, list(IMAGES.values()))
    rows = [[sample(f"t-{key}", [key]) for key in part] for part in parts]
    found(tmp_path, rows, [("v", held)])
    space = Workspace(tmp_path / "train")
    assert pq.read_table(space.contamination_rows)["evaluation"].to_pylist()[0] == "v1"
    assert json.loads(space.contamination_counts.read_text())[0]["evaluation_images_found"] == 3


def test_a_long_name_in_another_alphabet_is_a_folder(tmp_path):
    rows, name = [sample("1", ["a"])], "评" * 80
    held = store(tmp_path / "held", HELD, [IMAGES["a1"]])
    with_long_name, _ = found(tmp_path / "long", [rows], [(name, held)])
    assert [folder.name for folder in (tmp_path / "long/train/work/contaminated").iterdir()] == [name]
    assert with_long_name == found(tmp_path / "again", [rows], [(name, held)])[0]
