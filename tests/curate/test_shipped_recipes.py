"""Every shipped recipe is valid, and its rules do on telltale rows what its comments say."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import cli
from curate.inputs import all_sources
from curate.readers import LAYOUTS
from curate.recipe import all_rules, read_recipe
from curate.rules.decide import check_rules, decide
from curate.signals.pii import personal_data
from tests.curate.stored import image, sample, store

RECIPES = Path(cli.__file__).parent / "recipes"
SHIPPED = sorted(RECIPES.glob("*.yaml"))


def decisions(folder: Path, name: str, rows, images, scored=()):
    """Decision and reason of each row by the rules of a shipped recipe.

    Args:
        scored: keys of the images that prompt sets suspect.
    """
    recipe = read_recipe(RECIPES / f"{name}.yaml")
    space = store(folder, rows, images)
    if recipe.signals.scores:  # what the prompt sets gave: nothing suspicious
        keys = [one["image_key"] for one in images]
        values = [0.99 if key in scored else 0.1 for key in keys]
        scores = {"image_key": keys, **dict.fromkeys(recipe.signals.scores, values)}
        pq.write_table(pa.table(scores), space.scores)
    decide(space, check_rules(all_rules(recipe), recipe.signals.scores))
    return {row["sample_id"]: (row["decision"], row["reason"]) for row in pq.read_table(space.decisions).to_pylist()}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_recipes_are_valid_and_say_how_to_use_them(path):
    recipe = read_recipe(path)
    assert check_rules(all_rules(recipe), recipe.signals.scores)
    assert recipe.duplicates
    assert recipe.contamination or path.stem == "default", "whose user knows what the model will be judged by"
    assert path.read_text().startswith("# ")
    unproven = [rule.name for rule in check_rules(all_rules(recipe), recipe.signals.scores) if rule.unvalidated]
    assert {all_rules(recipe)[name].action for name in unproven} <= {"flag"}, "by one score that nobody has validated"
    for source in all_sources(recipe):
        assert source.layout is None or source.layout in LAYOUTS


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_an_ordinary_row_is_kept_by_every_recipe(path, tmp_path):
    good = image("a", width=640, height=480, detail=-10.0, detail_full=-8.0, blocking=1.02, banding=0.0, entropy=6.0,
                 flat=0.1, aspect_ratio=4 / 3, luminance_p99=240.0, luminance_p5=10.0, nsfw=0.01)  # fmt: skip
    text = {"answer_words": 8, "clip_alignment": 0.3, "agreement": 0.9, "turns": 2, "alternates": True,
            "markers_match": True, "empty_answer": False, "refusal": False, "echoed_answer": False,
            "longest_turn_words": 8, "longest_turn_chars": 40, "answer_type_mismatch": False}  # fmt: skip
    answer = "a man rides a horse along the beach"
    row = sample("1", ["a"], "What is happening?", answer, answers=[answer] * 10, text=text)
    words = sample("2", [], "What is 2 + 2?", "It is 4.", text={**text, "answer_words": 4, "clip_alignment": None})
    found = decisions(tmp_path, path.stem, [row, words], [good])
    assert found == {"1": ("keep", None), "2": ("keep", None)}


def test_votes(tmp_path):
    rows = [
        sample("guess", ["a"], answers=list("abcdefghij"), text={"agreement": 0.1}),
        sample("unsure", ["a"], answers=list("aaaabcdefg"), text={"agreement": 0.4}),
        sample("one vote", ["a"], answers=["a"], text={"agreement": 1.0}),
        sample("soft", ["b"], answers=["a"], text={"agreement": 1.0}),
        sample("blind", ["b"], source="vizwiz", answers=["a"], text={"agreement": 1.0}),
    ]
    images = [image("a"), image("b", detail=-25.0, entropy=6.0)]
    assert decisions(tmp_path, "vqa_votes", rows, images) == {
        "guess": ("drop", "disputed"),
        "unsure": ("flag", None),
        "one vote": ("keep", None),
        "soft": ("flag", None),
        "blind": ("keep", None),
    }


def test_captions(tmp_path):
    texts = ["a dog", "see https://x.example/y for more of it", "IMG_2041 of the dog there", "a dog runs on grass"]
    rows = [sample(text, ["a"], "Describe.", text, text={"answer_words": len(text.split())}) for text in texts]
    images = [image("a", width=640, height=480)]
    assert list(decisions(tmp_path, "captions", rows, images).values()) == [
        ("drop", "short"),
        ("drop", "scraped"),
        ("drop", "scraped"),
        ("keep", None),
    ]


def test_conversations(tmp_path):
    rows = [
        sample("forged", ["a"], text={"control_token": "<|im_start|>"}),
        sample("order", ["a"], text={"alternates": False}),
        sample("markers", ["a"], text={"markers_match": False}),
        sample("sorry", ["a"], text={"refusal": True}),
        sample("words", [], text={"turns": 2}),
    ]
    assert list(decisions(tmp_path, "conversations", rows, [image("a")]).values()) == [
        ("drop", "control_text"),
        ("drop", "bad_turns"),
        ("drop", "markers"),
        ("drop", "refusal"),
        ("keep", None),
    ]


def test_safety(tmp_path):
    rows = [
        sample("sure", ["sure"]),
        sample("both", ["both"]),
        sample("perhaps", ["perhaps"]),
        *[
            sample(name, ["fine"], answer=answer, text={"pii": personal_data([answer])})
            for name, answer in {
                "mail": "write to jane.doe@example.org",
                "phone": "call +49 (30) 1234-5678 today",
                "year": "it was taken in 1998, number 12",
            }.items()
        ],
    ]
    images = [image("sure", nsfw=0.99), image("both", nsfw=0.4), image("perhaps", nsfw=0.4), image("fine", nsfw=0.0)]
    assert list(decisions(tmp_path, "safety", rows, images, scored=("both",)).values()) == [
        ("flag", None),
        ("drop", "nsfw"),
        ("flag", None),
        ("flag", None),
        ("flag", None),
        ("keep", None),
    ]
