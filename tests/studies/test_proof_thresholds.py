import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve

from studies.demo.rules import Cases, curve, original


def cases(missed=0):
    rng = np.random.default_rng(0)
    positive = rng.random(2000) < 0.2
    value = np.round(rng.normal(np.where(positive, 30.0, 50.0), 8), 1)
    return Cases("sharpness", "image", value, positive, np.arange(2000) % 2, 40.0, missed)


def test_the_curve_is_scikit_learns():
    some = cases()
    found = curve(some)
    half = some.half == 1
    precision, recall, thresholds = precision_recall_curve(some.positive[half], -some.value[half])
    theirs = {round(-t, 6): (r, p) for t, r, p in zip(thresholds, recall, precision, strict=False)}
    for threshold, r, p in zip(found["threshold"], found["recall"], found["precision"], strict=True):
        assert theirs[round(threshold, 6)] == pytest.approx((r, p))
    assert len(found["threshold"]) > 50


def test_a_threshold_is_chosen_on_one_half_and_reported_on_the_other():
    some = cases()
    chosen = curve(some)["chosen"]["threshold"]
    flipped = Cases("s", "p", some.value, np.where(some.half == 1, ~some.positive, some.positive), some.half, 40.0)
    assert curve(flipped)["chosen"]["threshold"] == chosen  # the reporting half has no say
    assert curve(flipped)["chosen"]["recall"] != curve(some)["chosen"]["recall"]

    def f1(threshold):
        used, suspected = some.half == 0, some.value <= threshold
        hits = (suspected & some.positive & used).sum()
        return 2 * hits / ((suspected & used).sum() + (some.positive & used).sum())

    assert f1(chosen) == pytest.approx(max(f1(threshold) for threshold in np.unique(some.value)))


def test_positives_that_nothing_can_find_lower_recall():
    assert curve(cases(50))["default"]["recall"] < curve(cases())["default"]["recall"]
    assert curve(cases(50))["default"]["precision"] == curve(cases())["default"]["precision"]


@pytest.mark.parametrize(("path", "number"), [("images/train/12.png", 12), ("images/train/dup-7.jpg", 7)])
def test_which_image_a_file_shows(path, number):
    assert original(path) == number
