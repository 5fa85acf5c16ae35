"""BLEU, ROUGE-L and CIDEr-D against pycocoevalcap's own values (fixture), and their limits."""

import json
import math
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalsuite.metrics import bleu, cider, rouge_l
from evalsuite.metrics.ngrams import build_corpus
from evalsuite.metrics.ptb_tokenizer import ptb_tokenize, words
from winnow.errors import UserError

PEERS = Path(__file__).parents[1] / "peers"
sys.path.insert(0, str(PEERS))
from hard_captions import caption_set  # noqa: E402

SETS = json.loads((PEERS / "scores.json").read_text(encoding="utf-8"))["sets"]
CAPTION = st.lists(st.sampled_from(["a", "dog", "red", ".", "man's", "is"]), max_size=6).map(" ".join)
SCORED = st.dictionaries(
    st.text("ab", min_size=1, max_size=3), st.tuples(CAPTION, st.lists(CAPTION, min_size=1, max_size=3)), min_size=1,
    max_size=5,
)  # fmt: skip


@pytest.mark.parametrize("peer", SETS, ids=lambda peer: f"seed {peer['seed']}")
def test_scores_equal_pycocoevalcap(peer: dict) -> None:
    predictions, references = caption_set(random.Random(peer["seed"]))
    found = bleu(predictions, references)
    assert found.corpus == pytest.approx(peer["bleu"], abs=1e-9)
    np.testing.assert_allclose(list(found.per_sample.values()), peer["bleu_each"], atol=1e-9, rtol=0)
    for name, metric in (("cider", cider), ("rouge_l", rouge_l)):
        scores = metric(predictions, references)
        assert scores.corpus == pytest.approx(peer[name], abs=1e-9)
        assert list(scores.per_sample) == list(predictions)
        np.testing.assert_allclose(list(scores.per_sample.values()), peer[f"{name}_each"], atol=1e-9, rtol=0)


def naive_cider(predictions: dict, references: dict) -> dict:
    """CIDEr-D with dictionaries, straight from its definition."""

    def grams(text: str, n: int) -> dict:
        tokens = words(text)
        counts: dict = {}
        for i in range(len(tokens) - n + 1):
            counts[tuple(tokens[i : i + n])] = counts.get(tuple(tokens[i : i + n]), 0) + 1
        return counts

    scores = {}
    for key, text in predictions.items():
        total = 0.0
        for reference in references[key]:
            gap = max(0, len(words(text)) - 1) - max(0, len(words(reference)) - 1)
            for n in range(1, 5):

                def weights(counts: dict, n: int = n) -> dict:
                    def idf(gram: tuple) -> float:
                        images = sum(any(gram in grams(r, n) for r in references[k]) for k in references)
                        return math.log(len(references)) - math.log(max(1, images))

                    return {gram: count * idf(gram) for gram, count in counts.items()}

                h, r = weights(grams(text, n)), weights(grams(reference, n))
                norms = math.sqrt(sum(w * w for w in h.values())) * math.sqrt(sum(w * w for w in r.values()))
                dot = sum(min(w, r.get(gram, 0.0)) * r.get(gram, 0.0) for gram, w in h.items())
                total += (dot / norms if norms else dot) * math.exp(-gap * gap / 72) / 4
        scores[key] = 10 * total / len(references[key])
    return scores


@settings(max_examples=40)
@given(SCORED)
def test_scores_stay_in_bounds_and_cider_equals_its_definition(scored: dict) -> None:
    predictions = {key: text for key, (text, _) in scored.items()}
    references = {key: texts for key, (_, texts) in scored.items()}
    found = bleu(predictions, references)
    assert all(
        -1e-9 <= value <= 1 + 1e-9
        for value in [*found.corpus, *(v for four in found.per_sample.values() for v in four)]
    )
    assert all(0 <= value <= 1 + 1e-9 for value in rouge_l(predictions, references).per_sample.values())
    scores = cider(predictions, references)
    assert all(-1e-9 <= value <= 10 + 1e-9 for value in scores.per_sample.values())
    assert scores.per_sample == pytest.approx(naive_cider(predictions, references), abs=1e-9)
    assert scores.corpus == pytest.approx(np.mean(list(scores.per_sample.values())), abs=1e-12)


def test_corner_cases_are_those_of_the_original() -> None:
    one = bleu({"a": "a red dog"}, {"a": ["a red dog"]})
    assert one.per_sample["a"][3] == pytest.approx(0.0316, abs=1e-4), "too short for 4-grams"
    assert cider({"a": "a dog"}, {"a": ["a dog"]}).corpus == 0.0, "one image has no idf"
    assert rouge_l({"a": ""}, {"a": ["."]}).corpus == 1.0, "two empty captions share the empty word"
    assert bleu({"a": ""}, {"a": [""]}).corpus[0] < 1e-5


def test_reference_length_is_the_closest_and_the_shorter_on_a_tie() -> None:
    counted = build_corpus({"a": "x x x"}, {"a": ["x x x x", "x x"]})
    from evalsuite.metrics.ngrams import bleu_counts

    assert bleu_counts(counted).reference_length.tolist() == [2]


@settings(max_examples=60)
@given(CAPTION, CAPTION)
def test_common_subsequence_equals_the_table(a: str, b: str) -> None:
    one, two = ptb_tokenize(a) or [""], ptb_tokenize(b) or [""]
    table = np.zeros((len(one) + 1, len(two) + 1), int)
    for i, left in enumerate(one):
        for j, right in enumerate(two):
            table[i + 1, j + 1] = table[i, j] + 1 if left == right else max(table[i, j + 1], table[i + 1, j])
    precision, recall = table[-1, -1] / len(one), table[-1, -1] / len(two)
    f = 2.44 * precision * recall / (recall + 1.44 * precision) if precision else 0.0
    assert rouge_l({"a": a}, {"a": [b]}).corpus == pytest.approx(f, abs=1e-12)


@pytest.mark.parametrize(
    ("predictions", "references", "sentence"),
    [
        ({}, {}, "no prediction"),
        ({"a": "x"}, {}, "id 'a': 1 predictions have no references"),
        ({"a": "x"}, {"a": ["x"], "b": ["y"]}, "id 'b': 1 references have no prediction"),
        ({"a": "x"}, {"a": []}, "id 'a': references must be a non-empty list"),
        ({"a": "x"}, {"a": "x"}, "id 'a': references must be a non-empty list"),
    ],
)
def test_bad_input_is_named(predictions: dict, references: dict, sentence: str) -> None:
    for metric in (bleu, cider, rouge_l):
        with pytest.raises(UserError, match=sentence):
            metric(predictions, references)
