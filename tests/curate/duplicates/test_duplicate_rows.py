"""Which rows repeat or contradict another one, and which is kept."""

import random

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.duplicates import kept
from curate.duplicates.rows import find_duplicates
from curate.settings.copies import DuplicateSettings
from tests.curate.stored import choose, image, repeated, sample, store


def near(key, twin, distance=2, **more):
    """An image that looks like ``twin``: one bit and ``distance`` grey levels away."""
    thumbnail = (np.frombuffer(twin["thumbnail"], np.uint8) + np.uint8(distance)).tobytes()
    return image(
        key,
        **{**twin, "image_key": key, "path": f"{key}.png", "phash": twin["phash"] ^ 1, "thumbnail": thumbnail, **more},
    )


A, B = image("a"), image("b")
LOOKALIKE = near("l", A)


def found(tmp_path, samples, images, errors=None, dropped=(), **settings):
    space = store(tmp_path, samples, images, errors)
    find_duplicates(space, DuplicateSettings(**settings))
    choose(space, DuplicateSettings(**settings), [at for at, one in enumerate(samples) if one["sample_id"] in dropped])
    ids = [one["sample_id"] for one in samples]
    rows = {ids[row["position"]]: row for row in repeated(space)}
    assert not (space.work / "thumbnails.u8").exists()
    return rows


def twins(rows):
    return {one: row["duplicate_of"] for one, row in rows.items() if row["duplicate_of"]}


def rivals(rows):
    return {one: row["conflict_with"] for one, row in rows.items() if row["conflict_with"]}


def test_many_questions_about_one_image_are_legitimate(tmp_path):
    rows = [sample("1", ["a"], "What?"), sample("2", ["a"], "Where?"), sample("3", ["l"], "Who?")]
    made = found(tmp_path, rows, [A, LOOKALIKE])
    assert not twins(made)
    assert not rivals(made)
    assert {row["duplicate_group"] for row in made.values()} == {"a"}, "their images are one group all the same"


def test_equal_question_and_answer_on_a_lookalike(tmp_path):
    rows = [sample("1", ["a"], "What is it?", "A cat."), sample("2", ["l"], "what is  IT", "a cat")]
    made = found(tmp_path, rows, [A, LOOKALIKE])
    assert twins(made) == {"2": "1"}
    assert made["2"]["distance"] == 2.0
    assert made["2"]["hamming"] == 0, "dhash is equal; the smaller distance counts"
    assert made["1"]["distance"] is None


def test_equal_bytes_are_distance_zero(tmp_path):
    made = found(tmp_path, [sample("1", ["a"]), sample("2", ["a"])], [A])
    assert twins(made) == {"2": "1"}
    assert (made["2"]["distance"], made["2"]["hamming"]) == (0.0, 0)


def test_another_answer_makes_both_conflicting_and_neither_a_duplicate(tmp_path):
    rows = [sample("1", ["a"], answer="cat"), sample("2", ["l"], answer="dog"), sample("3", ["b"], answer="dog")]
    made = found(tmp_path, rows, [A, B, LOOKALIKE])
    assert not twins(made)
    assert rivals(made) == {"1": "2", "2": "1"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"rejected": "a dog"}, {"rejected": "a cow"}),
        ({"rejected": "a dog"}, {}),
        ({"rejected_messages": [{"role": "assistant", "content": "x"}]}, {"rejected_images": ["b.png"]}),
        ({"label": True}, {"label": False}),
        ({"tools": "[1]"}, {"tools": "[2]"}),
    ],
)
def test_rows_of_different_preference_label_or_tools_are_neither_duplicates_nor_conflicting(tmp_path, one, other):
    for answer in ("a cat", "a bird"):
        made = found(
            tmp_path / answer, [sample("1", ["a"], meta=one), sample("2", ["a"], answer=answer, meta=other)], [A]
        )
        assert not twins(made) and not rivals(made)


@pytest.mark.parametrize("meta", [{"rejected": "a dog"}, {"label": True}])
def test_equal_preferences_are_duplicates_and_several_chosen_answers_no_conflict(tmp_path, meta):
    rows = [sample("1", ["a"], meta=meta), sample("2", ["a"], meta=meta), sample("3", ["a"], answer="it", meta=meta)]
    made = found(tmp_path, rows, [A])
    assert twins(made) == {"2": "1"}
    assert not rivals(made)


def test_a_column_named_label_that_is_no_preference_separates_no_rows(tmp_path):
    made = found(tmp_path, [sample("1", ["a"], meta={"label": 1}), sample("2", ["a"], meta={"label": 0})], [A])
    assert twins(made) == {"2": "1"}


def test_the_system_prompt_and_what_tools_return_belong_to_the_question(tmp_path):
    def said(name, text):
        return [{"from": name, "value": text}]

    french, result = said("system", "Answer in French."), said("tool_response", "12 degrees")
    rows = [sample("1", ["a"]), sample("2", ["a"], answer="un chat", before=french), sample("3", ["a"], before=result)]
    made = found(tmp_path, rows, [A])
    assert not twins(made) and not rivals(made)
    calls = [sample(own, ["a"], before=said("tool_call", f"f({own})")) for own in ("1", "2")]
    assert rivals(found(tmp_path / "calls", calls, [A])) == {"1": "2", "2": "1"}


def test_a_repeated_answer_within_a_conflict(tmp_path):
    rows = [sample("1", ["a"], answer="cat"), sample("2", ["a"], answer="dog"), sample("3", ["a"], answer="cat")]
    made = found(tmp_path, rows, [A])
    assert twins(made) == {"3": "1"}
    assert rivals(made) == {"1": "2", "2": "1", "3": "2"}


def test_all_turns_count(tmp_path):
    def talk(own_id, last):
        return sample(own_id, ["a"], question_key="what\nand that", answer_key=f"cat\n{last}")

    made = found(tmp_path, [talk("1", "dog"), talk("2", "fox"), talk("3", "dog")], [A])
    assert twins(made) == {"3": "1"}
    assert rivals(made) == {"1": "2", "2": "1", "3": "2"}


def test_hash_alone_makes_nothing_equal(tmp_path):
    stranger = image("s", phash=A["phash"], dhash=A["dhash"])
    made = found(tmp_path, [sample("1", ["a"]), sample("2", ["s"])], [A, stranger])
    assert made == {}


def test_thumbnail_alone_makes_nothing_equal(tmp_path):
    stranger = image("s", thumbnail=A["thumbnail"])
    assert found(tmp_path, [sample("1", ["a"]), sample("2", ["s"])], [A, stranger]) == {}


def test_text_only_rows_and_unreadable_images_take_no_part(tmp_path):
    broken = image("x", error="truncated", thumbnail=None, phash=None, dhash=None)
    rows = [sample(str(n), images) for n, images in enumerate([[], [], ["x"], ["x"], ["gone"], ["gone"]])]
    assert found(tmp_path, rows, [A, broken], errors={"gone.png": "missing"}) == {}


def test_several_images_must_all_match_in_order(tmp_path):
    rows = [
        sample("1", ["a", "b"]),
        sample("2", ["l", "b"]),
        sample("3", ["b", "a"]),
        sample("4", ["a"]),
        sample("5", ["a", "a"]),
    ]
    made = found(tmp_path, rows, [A, B, LOOKALIKE])
    assert twins(made) == {"2": "1"}
    assert made["2"]["distance"] == 2.0


def test_members_of_one_star_that_are_far_from_each_other_stay(tmp_path):
    """Both near the representative, which lacks this question, but too far apart themselves."""
    grey = image("g", thumbnail=bytes([100]) * 768, width=100)
    darker = near("d", {**grey, "thumbnail": bytes([96]) * 768}, distance=0, width=90)
    lighter = near("w", {**grey, "thumbnail": bytes([104]) * 768}, distance=0, width=80)
    rows = [sample("1", ["g"], "Other?"), sample("2", ["d"]), sample("3", ["w"])]
    made = found(tmp_path, rows, [grey, darker, lighter])
    assert {row["duplicate_group"] for row in made.values()} == {"g"}
    assert not twins(made)


@pytest.mark.parametrize(
    ("keep", "kept"),
    [(["pixels", "votes", "id"], "2"), (["votes", "pixels", "id"], "3"), (["id"], "1"), (["votes", "id"], "3")],
)
def test_which_row_is_kept(tmp_path, keep, kept):
    larger = near("h", A, width=128)
    rows = [sample("1", ["a"]), sample("2", ["h"]), sample("3", ["l"], answers=["a cat"] * 10)]
    made = found(tmp_path, rows, [A, larger, LOOKALIKE], keep=keep)
    assert twins(made) == {one: kept for one in "123" if one != kept}


def test_scope_image_keeps_the_rows_of_one_image(tmp_path):
    larger = near("h", A, width=128)
    rows = [
        sample("1", ["a"], "What?"),
        sample("2", ["h"], "Where?"),
        sample("3", ["h"], "Who?"),
        sample("4", ["h"], "who"),
        sample("5", ["b"], "What?"),
    ]
    made = found(tmp_path, rows, [A, larger, B], scope="image")
    assert twins(made) == {"1": "2", "4": "3"}


def test_images_of_a_group_are_listed_with_their_distances(tmp_path):
    space = store(tmp_path, [sample(key, [key], key) for key in "alb"], [A, LOOKALIKE, B])
    find_duplicates(space, DuplicateSettings())
    listed = pq.read_table(space.duplicate_images).to_pylist()
    assert [(row["image_key"], row["representative_key"], row["distance"]) for row in listed] == [
        ("a", "a", 0.0),
        ("l", "a", 2.0),
    ]


def test_the_order_of_rows_and_parts_changes_nothing(tmp_path):
    larger = near("h", A, width=128)
    rows = [sample(str(n), [key], answers=["x"] * (n % 3)) for n, key in enumerate("ahlab" * 3)]
    first = found(tmp_path / "1", rows, [A, larger, LOOKALIKE, B])
    again = found(tmp_path / "2", rows[::-1], [B, LOOKALIKE, larger, A])
    assert twins(first) == twins(again)
    assert len(twins(first)) == 13


def test_no_rows(tmp_path):
    assert found(tmp_path, [], []) == {}


@pytest.mark.parametrize("scope", ["question", "image"])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_rows_come_and_go_and_are_dropped_and_all_is_as_if_found_at_once(tmp_path, seed, scope):
    chance, settings = random.Random(seed), DuplicateSettings(scope=scope)
    images = [A, LOOKALIKE, near("m", A, width=32), B, near("n", B), *(image(key) for key in "xyz")]
    rows = []

    def made(number):
        shown = chance.choices("almbnxyz", k=chance.choice([1, 1, 1, 2, 0]))
        question, answer = chance.choice(["What?", "Where?", "Who?"]), chance.choice(["a cat", "a dog"])
        return sample(f"{number:03d}", shown, question, answer, answers=[answer] * chance.choice([0, 1, 5]))

    for number in range(5):
        for _ in range(chance.choice([1, 8, 20])):
            rows.insert(chance.randint(0, len(rows)), made(1000 * number + len(rows)))
        rows = [row for row in rows if chance.random() > 0.1]
        dropped = [at for at in range(len(rows)) if chance.random() < 0.2]
        outcomes = []
        for folder in ("grown", f"fresh-{number}"):
            space = store(tmp_path / folder, rows, images)
            find_duplicates(space, settings)
            choose(space, settings, dropped)
            outcomes.append(repeated(space))
        assert outcomes[0] == outcomes[1]


def test_only_what_is_asked_about_a_new_rows_image_is_compared_again(tmp_path, monkeypatch):
    rows = [sample(str(number), ["a"], f"What {number % 20}?") for number in range(60)]
    compared, chosen = [], kept._chosen
    monkeypatch.setattr(kept, "_chosen", lambda *given: compared.append(len(given[3])) or chosen(*given))
    for some in (rows, [sample("new", ["a"], "What 3?"), *rows]):
        space = store(tmp_path, some, [A])
        find_duplicates(space, DuplicateSettings())
        choose(space, DuplicateSettings())
    assert compared[0] == 60 and compared[1] in range(4, 12), "those with its question, and what shares their partition"
    choose(space, DuplicateSettings())
    assert len(compared) == 2
