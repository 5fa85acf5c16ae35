"""Agreement: Cohen's kappa is scikit-learn's, and does not exist where it cannot."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from evalsuite.judge.agreement import agreement, cohens_kappa


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40))
def test_kappa_and_confusion_are_those_of_scikit_learn(pairs: list[tuple[bool, bool]]) -> None:
    judge, other = (np.array(side, dtype=bool) for side in zip(*pairs, strict=True))
    table = confusion_matrix(judge, other, labels=[True, False])
    kappa = cohens_kappa(table.reshape(1, 4).astype(float))[0]
    if len({*judge, *other}) == 1:
        assert np.isnan(kappa)
    else:
        assert kappa == pytest.approx(cohen_kappa_score(judge, other), abs=1e-12)


def test_counts_intervals_and_the_textbook_example() -> None:
    """20 both yes, 5 and 10 on one side, 15 both no: agreement 0.7, kappa 0.4."""
    judge = np.array([True] * 25 + [False] * 25)
    other = np.array([True] * 20 + [False] * 5 + [True] * 10 + [False] * 15)
    found = agreement(judge, other, np.arange(50), seed=0)
    assert found["n"] == 50 and found["agreement"]["value"] == pytest.approx(0.7)
    assert found["kappa"]["value"] == pytest.approx(0.4)
    assert [found[name] for name in ("both_right", "only_judge", "only_other", "both_wrong")] == [20, 5, 10, 15]
    assert found["kappa"]["ci_low"] < 0.4 < found["kappa"]["ci_high"]


def test_no_kappa_without_both_kinds_of_rows() -> None:
    right = np.array([True, True, True])
    found = agreement(right, right, np.arange(3), seed=0)
    assert found["agreement"]["value"] == 1.0 and found["kappa"] == {"value": None, "ci_low": None, "ci_high": None}
    assert agreement(right[:0], right[:0], np.arange(0), seed=0)["n"] == 0
