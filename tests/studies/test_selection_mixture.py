"""The skewed mixture: classes, repeated rows, and what a choice consists of."""

from pathlib import Path

import numpy as np

from studies.label_noise.cifar import Cifar
from studies.label_noise.questions import KINDS
from studies.label_noise.sets import Part, Row
from studies.selection.__main__ import facts_of
from studies.selection.mixture import REPEATED, REPEATS, SKEW, mixture
from studies.selection.report import STRATEGIES, asked

COUNT = 1000


def made():
    clean = np.arange(COUNT) % 10
    data = Cifar(Path("data"), (), clean, {}, (), np.zeros(0, np.int64))
    rows = [Row(f"cifar/train/{number}/{kind}", number, kind, "?", "a") for number in range(COUNT) for kind in KINDS]
    return data, rows


def test_classes_are_skewed_and_rows_of_some_pictures_come_again():
    data, rows = made()
    found = mixture(data, Part("all", range(COUNT), range(0)), rows)
    assert mixture(data, Part("all", range(COUNT), range(0)), rows) == found
    assert len({row.id for row in found}) == len(found)
    pictures = {row.picture for row in found}
    counts = np.bincount(data.clean[sorted(pictures)], minlength=10)
    assert counts[0] == 100 and counts[9] == 100 / SKEW and (np.diff(counts) <= 0).all()
    again = {row.picture for row in found if row.id.count("/") == 4}
    assert len(again) == round(REPEATED * len(pictures))
    assert len(found) == 3 * (len(pictures) + REPEATS * len(again))


def test_what_a_choice_consists_of():
    data, rows = made()
    found = facts_of([*rows[:30], Row("cifar/train/0/open/2", 0, "open", "?", "a")], {"cifar/train/0/open"}, data.clean)
    assert found["pictures_a_row"] == 10 / 31 and found["wrong"] == 2 / 31
    assert found["open"] == 11 / 31 and found["rarest"] == 3 / 31


def test_the_report_says_what_was_asked():
    assert asked("least suspect") == '`--by quality --column "suspect ASC"`'
    assert asked("balanced cluster") == "`--by balanced --per cluster`" and asked("random") == "`--by random`"
    assert next(iter(STRATEGIES)) == "random"
