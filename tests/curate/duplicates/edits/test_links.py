"""Rows about edited copies: which are flagged or dropped, and which row each copies."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.duplicates.edits import stored_edits
from curate.duplicates.rows import find_duplicates
from curate.kinds import KINDS, KindPairs
from curate.settings.copies import DuplicateSettings
from tests.curate.stored import choose, image, repeated, sample, store


@pytest.fixture
def edits(monkeypatch):
    """The pairs that the search finds, as (key, key, kind): the search itself has tests of its own."""
    told = []

    def pairs(looks, kinds, earlier=None, limited=None):
        found = [
            (int(min(a, b)), int(max(a, b)), KINDS.index(kind), strength)
            for a, b, kind, strength in told
            if kind in kinds
        ]
        columns = np.array([pair for pair in found if pair[1] >= (earlier or 0)]).reshape(-1, 4).T
        yield KindPairs(
            columns[0].astype(np.int64), columns[1].astype(np.int64), columns[2].astype(np.uint8),
            columns[3].astype(np.float32),
        )  # fmt: skip

    monkeypatch.setattr(stored_edits, "edited_pairs", pairs)
    return told


def judged(folder, samples, images, dropped=(), **given):
    """sample_id → (duplicate_of, edited_copy_of, kind) of the rows that have either."""
    space = store(folder, samples, images)
    chosen = DuplicateSettings(**given)
    find_duplicates(space, chosen)
    choose(space, chosen, [at for at, one in enumerate(samples) if one["sample_id"] in dropped])
    rows = repeated(space)
    ids = [one["sample_id"] for one in samples]
    return {
        ids[row["position"]]: (row["duplicate_of"], row["edited_copy_of"], row["kind"]) for row in rows if row["kind"]
    }


A, B, C, D = (image(key) for key in "abcd")
ROWS = [sample("1", ["a"]), sample("2", ["b"]), sample("3", ["c"])]


def test_an_edited_copy_is_flagged_beside_what_it_copies(tmp_path, edits):
    edits.append((0, 1, "mirrored", 0.9))
    assert judged(tmp_path, ROWS, [A, B, C]) == {"2": (None, "1", "mirrored")}


def test_only_with_the_same_question_and_answer(tmp_path, edits):
    edits.append((0, 1, "mirrored", 0.9))
    for number, other in enumerate((sample("2", ["b"], "Where?"), sample("2", ["b"], answer="a dog"))):
        assert judged(tmp_path / str(number), [ROWS[0], other], [A, B]) == {}
    other = sample("2", ["b"], "Where?", "there")
    assert judged(tmp_path / "image", [ROWS[0], other], [A, B], scope="image") == {"2": (None, "1", "mirrored")}


def test_the_original_goes_before_the_edit(tmp_path, edits):
    """More pixels are kept of two, but a frame adds pixels, and a grey copy has lost its colours."""
    edits.append((0, 1, "framed", 0.9))
    framed = image("a", width=80, height=80)
    assert judged(tmp_path / "framed", ROWS[:2], [framed, B]) == {"1": (None, "2", "framed")}
    edits[0] = (0, 1, "toned", 0.9)
    colours = image("b", thumbnail=bytes(range(256)) * 3)
    assert judged(tmp_path / "toned", ROWS[:2], [A, colours]) == {"1": (None, "2", "toned")}
    edits[0] = (0, 1, "cropped", 0.9)
    assert judged(tmp_path / "cropped", ROWS[:2], [A, image("b", width=80)]) == {"1": (None, "2", "cropped")}


def test_a_row_that_another_rule_drops_is_copied_by_none(tmp_path, edits):
    edits.extend([(0, 1, "mirrored", 0.9), (1, 2, "cropped", 0.8)])
    assert judged(tmp_path, ROWS, [A, B, C], dropped=("1",)) == {
        "3": (None, "2", "cropped"),
    }


def test_copies_that_are_dropped_do_not_chain(tmp_path, edits):
    edits.extend([(0, 1, "cropped", 0.9), (1, 2, "cropped", 0.9)])
    found = judged(tmp_path / "drop", ROWS, [A, B, C], kinds={"cropped": "drop"})
    assert found == {"2": ("1", None, "cropped")}, "what 3 copies is gone, so 3 stays"
    found = judged(tmp_path / "flag", ROWS, [A, B, C])
    assert found == {"2": (None, "1", "cropped"), "3": (None, "2", "cropped")}
    assert judged(tmp_path / "off", ROWS, [A, B, C], kinds={"cropped": "ignore"}) == {}


def test_equal_images_stay_duplicates_and_stand_for_their_copies(tmp_path, edits):
    """2 repeats 1; 3 is known as a copy of 2's file only, so it copies the row that is kept for 2."""
    twin = {**A, "image_key": "b", "path": "b.png", "width": 32, "height": 32}
    edits.append((1, 2, "overlaid", 0.9))
    assert judged(tmp_path, ROWS, [A, twin, image("c", width=16)]) == {
        "2": ("1", None, "resized"),
        "3": (None, "1", "overlaid"),
    }


def test_a_strict_kind_may_be_flagged_or_off(tmp_path, edits):
    twin = {**A, "image_key": "b", "path": "b.png"}
    rows = [ROWS[0], ROWS[1], sample("3", ["b"])]
    for action, second in (("flag", (None, "1", "re-encoded")), ("ignore", None)):
        found = judged(tmp_path / action, rows, [A, twin], kinds={"re-encoded": action})
        assert found.get("2") == second
        assert found["3"] == ("2", None, "exact")


def test_of_several_images_all_must_be_copies(tmp_path, edits):
    edits.append((0, 1, "mirrored", 0.9))
    rows = [sample("1", ["a", "c"]), sample("2", ["b", "c"]), sample("3", ["b", "d"]), sample("4", ["c", "b"])]
    assert judged(tmp_path, rows, [A, B, C, D]) == {"2": (None, "1", "mirrored")}


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_links_are_those_of_a_naive_search(tmp_path_factory, edits, data):
    edits.clear()
    keys = "abcdef"
    pairs = data.draw(st.sets(st.sampled_from(list(itertools.combinations(range(len(keys)), 2))), max_size=8))
    kinds = {pair: data.draw(st.sampled_from(["cropped", "mirrored"])) for pair in sorted(pairs)}
    edits.extend((*pair, kind, 0.5 + sum(pair) / 100) for pair, kind in kinds.items())
    answers = data.draw(st.lists(st.sampled_from(["yes", "no"]), min_size=len(keys), max_size=len(keys)))
    sides = data.draw(st.lists(st.sampled_from([64, 80]), min_size=len(keys), max_size=len(keys)))
    rows = [sample(key, [key], answer=answer) for key, answer in zip(keys, answers, strict=True)]
    images = [image(key, width=side) for key, side in zip(keys, sides, strict=True)]
    found = judged(tmp_path_factory.mktemp("links"), rows, images, kinds={"cropped": "drop"})
    order = sorted(range(len(keys)), key=lambda k: (-sides[k], keys[k]))
    expected, gone = {}, set()

    def originals(k, kind):
        better = [i for i in order[: order.index(k)] if answers[i] == answers[k] and i not in gone]
        there = [i for i in better if kinds.get((min(i, k), max(i, k))) == kind]
        return sorted(there, key=lambda i: (-(i + k), order.index(i)))

    for k in order:
        if copied := originals(k, "cropped"):
            gone.add(k)
            expected[keys[k]] = (keys[copied[0]], None, "cropped")
    for k in set(order) - gone:
        if copied := originals(k, "mirrored"):
            expected[keys[k]] = (None, keys[copied[0]], "mirrored")
    assert found == expected
