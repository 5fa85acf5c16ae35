"""Rows whose texts are nearly the same, within a set and across sets, against all pairs by brute force."""

import random
from itertools import combinations

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.duplicates.texts import similar_pairs as pairs_of
from curate.duplicates.texts import text_keys
from curate.duplicates.texts.shingles import read_shingles, words_of
from curate.duplicates.texts.signatures import bands_for
from curate.duplicates.texts.similar_pairs import similar_pairs, text_stars
from curate.duplicates.texts.similar_texts import find_similar_texts
from curate.duplicates.texts.text_leaks import find_text_leaks
from curate.recipe import all_rules
from curate.rules.decide import check_rules, decide
from curate.settings.copies import TextLeakSettings, TextSettings
from tests.curate import sets
from tests.curate.stored import sample, store
from winnow.rows.keys import normalized

CAPTION = "a small brown dog runs over the wet grass of a park in the morning sun"


def jaccard(one, other):
    """By definition: words and pairs of neighbours, edges included."""
    a, b = (set(words) | set(zip(["<", *words], [*words, ">"], strict=True)) for words in (one, other))
    return len(a & b) / len(a | b)


def numbers(words):
    return sorted(word for word in words if any(sign.isdigit() for sign in word))


def all_pairs(texts, threshold):
    return {
        (i, j)
        for i, j in combinations(range(len(texts)), 2)
        if jaccard(texts[i], texts[j]) >= threshold and numbers(texts[i]) == numbers(texts[j])
    }


def found(texts, threshold, tmp_path, **more):
    return similar_pairs(read_shingles(texts, tmp_path / "shingles.u8"), threshold, **more)


def edited(seed, count):
    """Texts of 5 to 30 words, half of them edits of an earlier one."""
    rng = random.Random(seed)
    vocabulary = [f"word{letter}{other}" for letter in "abcdefghij" for other in "abcdefghij"] + ["3", "4"]
    texts = []
    for _ in range(count):
        if texts and rng.random() < 0.5:
            words = list(rng.choice(texts))
            for _ in range(rng.randint(0, 2)):
                at = rng.randrange(len(words))
                words[at : at + rng.randint(0, 1)] = rng.choices(vocabulary, k=rng.randint(0, 1))
            texts.append(words or ["worda"])
        else:
            texts.append(rng.choices(vocabulary, k=rng.randint(5, 30)))
    return texts


@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.9])
def test_pairs_are_those_of_brute_force(threshold, tmp_path):
    texts = edited(1, 300)
    pairs = found(texts, threshold, tmp_path)
    wanted = all_pairs(texts, threshold)
    got = set(zip(pairs.i.tolist(), pairs.j.tolist(), strict=True))
    assert got <= wanted
    assert len(got) >= 0.98 * len(wanted) and len(wanted) > 30
    for i, j, index in zip(pairs.i, pairs.j, pairs.jaccard, strict=True):
        assert index == pytest.approx(jaccard(texts[i], texts[j]))


def test_the_bands_find_pairs_at_the_threshold():
    for threshold in np.linspace(0.5, 1, 11):
        bands, rows = bands_for(float(threshold))
        assert 1 - (1 - threshold**rows) ** bands >= 0.995 and 128 <= bands * rows <= 256


def test_pairs_across_two_sets_only(tmp_path):
    texts = edited(2, 200)
    pairs = found(texts, 0.7, tmp_path, left=80)
    wanted = {(i, j) for i, j in all_pairs(texts, 0.7) if i < 80 <= j}
    got = set(zip(pairs.i.tolist(), pairs.j.tolist(), strict=True))
    assert got <= wanted and len(got) >= 0.95 * len(wanted) and wanted


def test_stars_are_confirmed_against_the_first_and_do_not_chain(tmp_path):
    texts = edited(3, 300)
    shingles = read_shingles(texts, tmp_path / "shingles.u8")
    star, similarity = text_stars(similar_pairs(shingles, 0.7), shingles, 0.7)
    assert (star <= np.arange(300)).all() and (star[star] == star).all() and (star != np.arange(300)).sum() > 50
    for text, first in enumerate(star.tolist()):
        assert similarity[text] == pytest.approx(jaccard(texts[text], texts[first])) and similarity[text] >= 0.7


@settings(max_examples=200, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 30), st.integers(0, 30))), st.booleans())
def test_each_text_belongs_to_its_first_free_partner(pairs, chain):
    pairs = {(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}
    pairs |= {(at, at + 1) for at in range(30)} if chain else set()
    star = list(range(31))
    for j, i in sorted((j, i) for i, j in pairs):
        if star[j] == j and star[i] == i:
            star[j] = i
    code = np.sort(np.array([j << 32 | i for i, j in pairs], np.uint64))
    assert pairs_of._assigned(code, 31).tolist() == star


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=7), min_size=2, max_size=6))
def test_short_texts_are_alike_only_if_they_are_equal(tmp_path_factory, texts):
    pairs = found(texts, 0.8, tmp_path_factory.mktemp("short"))
    for i, j in zip(pairs.i.tolist(), pairs.j.tolist(), strict=True):
        assert (set(texts[i]), texts[i][0], texts[i][-1]) == (set(texts[j]), texts[j][0], texts[j][-1])


def test_words_of_scripts_without_blanks():
    assert words_of(normalized("What's this? 猫が2匹, ราคา")) == ["what", "s", "this", *"猫が2匹ราคา"]


def test_a_bucket_of_one_template_is_not_compared_pair_by_pair(tmp_path, monkeypatch):
    asked = []
    likely = pairs_of.likely
    monkeypatch.setattr(pairs_of, "likely", lambda s, i, j, t: asked.append(len(i)) or likely(s, i, j, t))
    words = CAPTION.split()
    texts = [[*words[:7], f"x{chr(97 + n // 26)}{chr(97 + n % 26)}", *words[7:]] for n in range(600)]
    pairs = found(texts, 0.8, tmp_path)
    assert sum(asked) < 600 * 8 * 32 and len(set(pairs.j.tolist())) == 599  # 179,700 pairs of them are alike
    star, _ = text_stars(pairs, read_shingles(texts, tmp_path / "again.u8"), 0.8)
    assert (star == 0).all()


def rows_of(tmp_path, rows, **more):
    space = store(tmp_path / "set", rows, [])
    find_similar_texts(space, TextSettings(**more))
    return {row["position"]: row for row in pq.read_table(space.similar_texts).to_pylist()}, space


def test_rows_of_a_set(tmp_path):
    rows = [
        sample("1", [], "Describe it.", CAPTION),
        sample("2", [], "Describe it.", "yes"),
        sample("3", [], "Describe it.", f"{CAPTION.title()}!"),
        sample("4", [], "Say what you see.", CAPTION.replace("wet", "green")),
        sample("5", [], "Describe it.", "yes"),
        sample("6", [], "Describe it.", "three cats and two dogs sit on a very old and red sofa in a room"),
        sample("7", [], "Describe it.", "four cats and 2 dogs sit on a very old and red sofa in a room"),
        sample("8", [], "Describe it.", CAPTION, bad_row="broken"),
    ]
    made, space = rows_of(tmp_path, rows, of=["answer", "row"])
    assert {at: (row["answer_cluster"], row["answer_cluster_place"]) for at, row in made.items()} == {
        0: ("1", 1), 2: ("1", 2), 3: ("1", 3),
    }  # fmt: skip
    assert made[2]["answer_similarity"] == 1 and 0.8 <= made[3]["answer_similarity"] < 1
    assert {row["answer_cluster_size"] for row in made.values()} == {3}
    assert made[2]["row_cluster"] == "1" and made[3]["row_cluster"] is None and made[0]["question_cluster"] is None
    recipe = sets.recipe(tmp_path, similar_texts={"of": ["answer"], "keep": 2}, rules={})
    decide(space, check_rules(all_rules(recipe)))
    decided = pq.read_table(space.decisions).to_pylist()
    fired = {row["sample_id"]: row["rules"] for row in decided if row["decision"] == "flag"}
    assert list(fired) == ["4"] and fired["4"][0]["related_row"] == "1" and fired["4"][0]["rule"] == "similar_text"


def test_equal_texts_are_compared_once(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(text_keys, "words_of", lambda text: read.append(text) or words_of(text))
    rows = [sample(f"{n:04}", [], "What colour is the car over there?") for n in range(2000)]
    made, _ = rows_of(tmp_path, rows, of=["question"])
    assert len(read) == 1 and made[1999]["question_cluster_place"] == 2000 == made[0]["question_cluster_size"]


QUESTION = "Which of the two lungs shows the larger opacity in this chest radiograph?"


def test_leaked_questions_and_answers(tmp_path):
    near = QUESTION.replace("this chest", "this frontal chest")
    rows = [
        sample("t1", [], QUESTION, "the right lung"),
        sample("t2", [], near, "The right lung."),
        sample("t3", [], QUESTION, "the left lung"),
        sample("t4", [], "What is this?", "a dog"),
        *[sample(f"o{n:02}", [], "Is there any fracture in this picture?", "no") for n in range(11)],
    ]
    held = [
        sample("v1", [], QUESTION, "the right lung"),
        sample("v2", [], "What is this?", "a dog"),
        sample("v3", [], "Is there any fracture in this picture?", "no"),
    ]
    space, other = store(tmp_path / "train", rows, []), store(tmp_path / "held", held, [])
    find_text_leaks(space, [("rad/test", other)], TextLeakSettings())
    made = pq.read_table(space.text_leaks).to_pylist()
    assert [(row["benchmark"], row["sample_id"], row["evaluation"]) for row in made] == [
        ("rad/test", "t1", "v1"), ("rad/test", "t2", "v1"),
    ]  # fmt: skip
    assert made[0]["similarity"] == 1 > made[1]["similarity"] >= 0.8
    rules = all_rules(sets.recipe(tmp_path, contamination={"against": [{"location": "x"}]}, rules={}))
    decide(space, check_rules({"contaminated_text": rules["contaminated_text"]}))
    decided = pq.read_table(space.decisions).to_pylist()
    assert [(row["decision"], row["rules"][0]["related_row"]) for row in decided[:2]] == [("flag", "v1")] * 2
    assert [row["decision"] for row in decided[2:4]] == ["keep", "keep"]
    find_text_leaks(space, [("rad/test", other)], TextLeakSettings(threshold=1))
    assert pq.read_table(space.text_leaks)["sample_id"].to_pylist() == ["t1"]


def test_equal_questions_of_a_template_are_all_found(tmp_path):
    names = [f"x{one}{other}" for one in "abcdefghijklmno" for other in "abcdefghijklmnopqrst"]
    questions = [f"Which of the two lungs shows the larger {name} on this chest radiograph?" for name in names]
    rows = [sample(f"t{n:03}", [], question, f"answer {n}") for n, question in enumerate(questions)]
    held = [sample(f"v{n:03}", [], question, f"answer {n}") for n, question in enumerate(questions)]
    space, other = store(tmp_path / "train", rows, []), store(tmp_path / "held", held[::-1], [])
    find_text_leaks(space, [("rad/test", other)], TextLeakSettings())
    made = pq.read_table(space.text_leaks).to_pylist()
    assert [(row["sample_id"], row["evaluation"]) for row in made] == [(f"t{n:03}", f"v{n:03}") for n in range(300)]
