import numpy as np
import pytest

from studies.demo import arms
from studies.demo.arms import Arm, Group, accuracy, difference, won_back
from winnow.errors import UserError


def arm(right, name="arm", per_image=4):
    ids = tuple(f"q{k}" for k in range(len(right)))
    images = tuple(f"{k // per_image}.png" for k in range(len(right)))
    return Arm(name, ids, images, np.asarray(right, float))


def draw(share, seed, n=800):
    return np.random.default_rng(seed).random(n) < share


def test_accuracy_is_the_mean_over_seeds_and_rows():
    arms = [arm(draw(0.6, seed)) for seed in range(3)]
    found = accuracy(Group(arms))
    assert found["accuracy"] == pytest.approx(np.mean([one.right.mean() for one in arms]))
    assert found["low"] < found["accuracy"] < found["high"]
    assert found["seeds"] == [one.right.mean() for one in arms]
    assert (found["n"], found["images"]) == (800, 200)


def test_images_left_out_take_their_rows_with_them():
    one = arm([1, 1, 1, 1, 0, 0, 0, 0])
    assert accuracy(Group([one], {"1.png"}))["accuracy"] == 1.0
    assert accuracy(Group([one], {"0.png"}))["accuracy"] == 0.0


def test_difference_is_paired():
    a, b = draw(0.5, 0), draw(0.5, 0)
    b[:80] = True
    found = difference(Group([arm(a)]), Group([arm(b)]))
    assert found["difference"] == pytest.approx(b.mean() - a.mean())
    assert found["low"] > 0 and found["p"] < 0.001


def test_rows_of_one_image_move_together():
    """The same 800 outcomes, once as 800 images and once as 20: fewer images, wider interval."""
    right = np.repeat(draw(0.5, 3, 20), 40)
    apart = accuracy(Group([arm(right, per_image=1)]))
    together = accuracy(Group([arm(right, per_image=40)]))
    assert together["high"] - together["low"] > 3 * (apart["high"] - apart["low"])


def test_share_of_the_gap():
    dirty = draw(0.5, 1)
    clean, curated = dirty.copy(), dirty.copy()
    wrong = np.flatnonzero(~dirty)[:200]
    clean[wrong], curated[wrong[:150]] = True, True
    found = won_back(*(Group([arm(one)]) for one in (dirty, curated, clean)))
    assert found["share"] == pytest.approx(0.75) and found["low"] < 0.75 < found["high"] and found["gap_is_real"]


def test_seeds_are_paired():
    """What a seed does to both sets alike is not in the interval of their difference."""
    shares = (0.6, 0.7, 0.8, 0.9)
    one = Group([arm(draw(share, k, 4000), per_image=1) for k, share in enumerate(shares)])
    other = Group([arm(draw(share + 0.02, k, 4000), per_image=1) for k, share in enumerate(shares)])
    found = difference(one, other)
    assert found["high"] - found["low"] < 0.015 and found["seed_std"] < 0.01
    swapped = Group([arm(draw(share + 0.02, k, 4000), per_image=1) for k, share in reversed(list(enumerate(shares)))])
    apart = difference(one, swapped)
    assert apart["difference"] == pytest.approx(found["difference"]) and apart["high"] - apart["low"] > 0.3


def test_other_seeds_are_refused():
    one = Group([arm(draw(0.5, seed)) for seed in range(3)])
    with pytest.raises(UserError, match="other seeds"):
        difference(one, one.first(2))


def test_the_interval_of_the_share_covers_it(monkeypatch):
    """Made-up arms whose images, questions and seeds differ as in the study: 9 of 10 intervals hold it."""
    monkeypatch.setattr(arms, "REPLICATES", 300)
    means = {"dirty": 1.5, "curated": 3.0, "clean": 3.2}

    def chances(rng, seeds, images):
        seed, easy = rng.normal(0, 0.3, (seeds, 1)), np.repeat(rng.normal(0, 1, (1, images)), 3, 1)
        return {
            name: 1
            / (1 + np.exp(-mean - seed - easy - rng.normal(0, 0.4, seed.shape) - rng.normal(0, 0.7, easy.shape)))
            for name, mean in means.items()
        }

    true = {name: found.mean() for name, found in chances(np.random.default_rng(99), 500, 1000).items()}
    share = (true["curated"] - true["dirty"]) / (true["clean"] - true["dirty"])
    hits = 0
    for k in range(100):
        rng = np.random.default_rng(k)
        made = chances(rng, 5, 100)
        groups = [Group([arm(rng.random(300) < row, per_image=3) for row in made[name]]) for name in means]
        found = won_back(*groups)
        hits += found["low"] <= share <= found["high"]
    assert hits >= 90


def test_no_gap_is_said():
    same = Group([arm(draw(0.5, 1))])
    found = won_back(same, same, same)
    assert found["share"] is None and not found["gap_is_real"]


def test_other_rows_are_refused():
    with pytest.raises(UserError, match="different test rows"):
        Group([arm([1, 0]), arm([1, 0, 1])])


def test_trainings_that_differ_widen_the_interval():
    """Three trainings of one accuracy, and three that lie apart around it: the second mean is less certain."""
    rows = draw(0.8, 1, 4000)
    alike = Group([arm(np.random.default_rng(k).permuted(rows), per_image=1) for k in range(3)])
    apart = Group([arm(draw(share, k, 4000), per_image=1) for k, share in enumerate((0.7, 0.8, 0.9))])
    widths = [found["high"] - found["low"] for found in map(accuracy, (alike, apart))]
    assert widths[1] > 4 * widths[0]
    found = difference(alike, apart)
    assert found["low"] < 0 < found["high"] and found["p"] > 0.3


def test_the_interval_over_trainings_has_the_right_width():
    """Eight trainings with a known spread: the interval is about two standard errors on either side of the mean."""
    shares = np.random.default_rng(5).normal(0.7, 0.05, 8)
    group = Group([arm(draw(share, k, 40_000), per_image=1) for k, share in enumerate(shares)])
    seeds = group.right.mean(1)
    expected = 2 * 1.96 * seeds.std(ddof=1) / np.sqrt(8)
    found = accuracy(group)
    assert found["high"] - found["low"] == pytest.approx(expected, rel=0.12)
