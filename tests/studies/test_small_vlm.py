"""The small model of the studies: it learns what pictures show, and its losses are those of the plain formula."""

import numpy as np
import pytest

from studies import small_vlm
from studies.small_vlm import ANSWER, END, PLACES, UNKNOWN, Asked, build, losses, train, vocabulary_of, words_of

QUESTION = words_of("Is it round?")


def pictures(count, seed=0):
    """Half of the pictures have one pattern, half its opposite, with noise."""
    rng = np.random.default_rng(seed)
    sign = np.where(np.arange(count) % 2, 1.0, -1.0)[:, None, None]
    pattern = rng.normal(size=(1, PLACES, small_vlm.WIDTH))
    return (sign * pattern + 0.1 * rng.normal(size=(count, PLACES, small_vlm.WIDTH))).astype(np.float32)


def test_words_are_lower_case_words_numbers_and_signs():
    assert words_of("Is >12 ribs  seen? T2-weighted") == ("is", ">", "12", "ribs", "seen", "?", "t2", "-", "weighted")


def test_it_learns_from_the_picture_and_not_without_it():
    features = pictures(40)
    rows = [Asked(n, QUESTION, ("yes",) if n % 2 else ("no",)) for n in range(40)]
    vocabulary = vocabulary_of(rows)
    (model,) = train(rows[:32], features, vocabulary, seed=0, steps=[12])
    asked = rows[32:]
    right = np.array([n % 2 for n in range(32, 40)], bool)

    def says_yes(seen):
        yes, no = (losses(model, [Asked(r.picture, r.question, (a,)) for r in asked], seen, vocabulary)
                   for a in ("yes", "no"))  # fmt: skip
        return yes < no

    assert (says_yes(features) == right).all()
    assert len(set(says_yes(np.zeros_like(features)).tolist())) == 1


def test_the_same_seed_gives_the_same_model_and_the_order_of_checkpoints_holds():
    features, rows = pictures(8), [Asked(n, QUESTION, ("yes",) if n % 2 else ("no",)) for n in range(8)]
    vocabulary = vocabulary_of(rows)
    one, other = (
        [losses(model, rows, features, vocabulary) for model in train(rows, features, vocabulary, seed=3, steps=[2, 5])]
        for _ in range(2)
    )
    assert len(one) == 2
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_losses_are_those_of_one_row_at_a_time():
    import torch

    features = pictures(2)
    rows = [Asked(0, QUESTION, ("yes",)), Asked(1, words_of("What is it, and why so?"), words_of("no yes"))]
    vocabulary = vocabulary_of([rows[0]])  # other words are unknown
    model = build(len(vocabulary), seed=1).eval()
    found = losses(model, rows, features, vocabulary)
    for row, loss in zip(rows, found, strict=True):
        prompt = [*(vocabulary.get(word, UNKNOWN) for word in row.question), ANSWER]
        answer = [*(vocabulary.get(word, UNKNOWN) for word in row.answer), END]
        with torch.inference_mode():
            seen = model.model.multi_modal_projector(torch.from_numpy(features[[row.picture]]))
            embedded = torch.cat([seen, model.get_input_embeddings()(torch.tensor([prompt + answer]))], 1)
            logits = model.lm_head(model.model.language_model(inputs_embeds=embedded).last_hidden_state)[0]
        tokens = torch.log_softmax(logits[PLACES + len(prompt) - 1 : -1], 1)
        expected = -np.mean([float(tokens[at, token]) for at, token in enumerate(answer)])
        assert loss == pytest.approx(expected, abs=1e-5)


def test_batches_hold_each_row_once_an_epoch():
    rows = [Asked(n, QUESTION * (1 + n % 5), ("yes",)) for n in range(150)]
    batches = small_vlm._batches(rows, 0)
    epoch = [next(batches) for _ in range(3)]
    assert sorted(row.picture for batch in epoch for row in batch) == list(range(150))
    assert sorted(map(len, epoch)) == [22, 64, 64]
