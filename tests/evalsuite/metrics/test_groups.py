"""Metrics of groups of rows: grouped and circular accuracy, pass@k, agreement, calibration; against peers (fixture)."""

import itertools
import json
import warnings
from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from evalsuite.metrics import METRICS, Answers, MetricColumn, MetricOptions
from evalsuite.metrics.calibration import bin_of
from evalsuite.metrics.repeated import agreement, pass_at_k
from evalsuite.statistics import intervals
from winnow.errors import UserError

PEER = json.loads((Path(__file__).parents[1] / "peers" / "groups.json").read_text(encoding="utf-8"))


def rows(right: Sequence[float], **more: Any) -> Answers:
    """Rows that are right or wrong by ``accuracy``; None has no answer."""
    texts = [None if one is None else "red" if one else "blue" for one in right]
    count = len(right)
    defaults = {"ids": [str(n) for n in range(count)], "choices": [()] * count, "images": ["i"] * count,
                "raws": texts, "references": [["red"]] * count, "slices": [{}] * count}  # fmt: skip
    return Answers(texts=texts, **{**defaults, **more})


def columns(metric: str, answers: Answers, **options: Any) -> dict[str, MetricColumn]:
    found = METRICS[metric].columns(metric, answers, MetricOptions(**options))
    return {column.name: column for column in found}


def value(column: MetricColumn) -> float:
    return float(column.estimate(column.sums.sum(0, keepdims=True))[0])


def test_figure_and_question_accuracy_equal_hallusionbench_s_own_code() -> None:
    peer = PEER["hallusionbench"]
    answers = rows([row["correct"] for row in peer["rows"]], facts=peer["rows"], groups=["x"])
    place = ("category", "subcategory", "set_id")
    figure = columns("grouped_accuracy", answers, by=(*place, "figure_id"))["grouped_accuracy"]
    question = columns("grouped_accuracy", answers, by=(*place, "question_id"))["grouped_accuracy"]
    assert 0.4 < peer["figure"] < peer["all"]
    assert value(figure) == pytest.approx(peer["figure"]) and value(question) == pytest.approx(peer["question"])


def test_naturalbench_s_four_accuracies_are_groups() -> None:
    right = [want == said for answers in PEER["naturalbench"]["answers"]
             for want, said in zip([1, 0, 0, 1], answers, strict=True)]  # fmt: skip
    facts = [{"group": group, "question": question, "image": image} for group in range(len(right) // 4)
             for question in "01" for image in "01"]  # fmt: skip
    answers = rows(right, facts=facts, groups=[str(fact["group"]) for fact in facts])
    found = {
        "Acc": value(columns("accuracy", answers)["accuracy"]),
        "Q_Acc": value(columns("grouped_accuracy", answers, by=("group", "question"))["grouped_accuracy"]),
        "I_Acc": value(columns("grouped_accuracy", answers, by=("group", "image"))["grouped_accuracy"]),
        "G_Acc": value(columns("grouped_accuracy", answers)["grouped_accuracy"]),
    }
    assert found == pytest.approx(PEER["naturalbench"]["scores"])


def test_circular_equals_vlmevalkit() -> None:
    groups = PEER["circular"]["groups"]
    turns = [row for group, _ in groups for row in group]
    answers = Answers(
        ids=[f"q{n // 4}" + (f"#{n % 4}" if n % 4 else "") for n in range(len(turns))],
        texts=[row["prediction"] for row in turns], raws=[row["prediction"] for row in turns],
        references=[[row["GT"]] for row in turns], choices=[row["options"] for row in turns],
        repeats=[n % 4 for n in range(len(turns))], slices=[{}] * len(turns), images=["i"] * len(turns),
    )  # fmt: skip
    found = columns("circular", answers)
    hits = [hit for _, hit in groups]
    assert value(found["circular"]) == pytest.approx(np.mean(hits)) and 0.3 < np.mean(hits) < 0.8
    assert found["circular"].per_row.tolist() == np.repeat(hits, 4).tolist()
    first = [group[0]["prediction"] == group[0]["GT"] for group, _ in groups]
    assert value(found["circular_vanilla"]) == pytest.approx(np.mean(first))
    assert "(4 a question on average)" in found["circular"].variant


def test_a_group_is_right_only_as_a_whole_and_silence_is_wrong() -> None:
    answers = rows([1, 1, 1, 0, 1, None], groups=["a", "a", "b", "b", "c", "c"])
    column = columns("grouped_accuracy", answers)["grouped_accuracy"]
    assert column.per_row.tolist() == [1, 1, 0, 0, 0, 0] and value(column) == pytest.approx(1 / 3)
    assert column.variant == "groups with all rows right, of 3 by the task's group; a row is right by accuracy"


def test_intervals_of_groups_resample_images_and_say_when_a_group_spans_them() -> None:
    right = np.random.default_rng(0).random(80) < 0.9
    groups, images = [str(n // 2) for n in range(80)], [str(n // 4) for n in range(80)]
    column = columns("grouped_accuracy", rows(right.tolist(), groups=groups, images=images))["grouped_accuracy"]
    (found,) = intervals([(column.sums, column.estimate, None)], np.arange(80) // 4)
    assert found.value == pytest.approx(np.all(right.reshape(-1, 2), axis=1).mean())
    assert found.low is not None and found.low < found.value < (found.high or 0)
    assert "span images" not in column.variant
    apart = columns("grouped_accuracy", rows([1, 1], groups=["a", "a"], images=["1", "2"]))["grouped_accuracy"]
    assert apart.variant.endswith("1 groups span images, which intervals take for independent")


def test_what_groups_lack_is_named() -> None:
    with pytest.raises(UserError, match=r"1: has no 'set_id'; .*in the task: `facts: \[set_id\]`"):
        columns("grouped_accuracy", rows([1, 1], groups=["a", "b"], facts=[{"set_id": 1}, {}]), by=("set_id",))
    with pytest.raises(UserError, match="of: cider: this metric does not say whether a row is right"):
        columns("grouped_accuracy", rows([1], groups=["a"]), of="cider")
    with pytest.raises(UserError, match="there is no such metric"):
        columns("grouped_accuracy", rows([1], groups=["a"]), of="nothing")
    with pytest.raises(UserError, match="`samples: 5` or `repeat: circular`"):
        columns("pass_at_k", rows([1, 1], repeats=[0, 0]))
    alone = columns("grouped_accuracy", rows([1, 1], groups=["a", "b"]))["grouped_accuracy"]
    assert alone.warning and "every group has one row" in alone.warning


@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_draws_with_a_right_answer(case: tuple[int, int, int]) -> None:
    n, right, k = case
    draws = [any(each < right for each in drawn) for drawn in itertools.combinations(range(n), k)]
    assert pass_at_k(n, right, k) == pytest.approx(np.mean(draws))
    # as in Chen et al. 2021, figure 3
    published = 1.0 if n - right < k else 1.0 - np.prod(1.0 - k / np.arange(n - right + 1, n + 1))
    assert pass_at_k(n, right, k) == pytest.approx(published)


def sampled(right: Sequence[float], samples: int) -> Answers:
    repeats = [n % samples for n in range(len(right))]
    ids = [f"q{n // samples}" + (f"#{n % samples}" if n % samples else "") for n in range(len(right))]
    return rows(right, ids=ids, repeats=repeats)


def test_samples_give_pass_at_k_mean_and_agreement() -> None:
    answers = sampled([1, 0, 0, 0, 1, 1, 1, None], 4)
    assert value(columns("pass_at_k", answers)["pass_at_k"]) == pytest.approx((1 / 4 + 3 / 4) / 2)
    two = columns("pass_at_k", answers, k=2)["pass_at_k"]
    assert value(two) == pytest.approx((1 / 2 + 1) / 2) and two.variant.startswith("pass@2 from 4 to 4 answers")
    found = columns("agreement", answers)
    assert found["agreement"].per_row.tolist() == pytest.approx([1 / 2] * 8)
    assert found["agreement_majority"].per_row.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    with pytest.raises(UserError, match="pass@9 needs 9 answers to each question, and there are 4"):
        columns("pass_at_k", answers, k=9)


@given(st.lists(st.sampled_from(["a", "b", None]), min_size=2, max_size=7))
def test_agreement_is_the_share_of_equal_pairs(answers: list[str | None]) -> None:
    pairs = [a is not None and a == b for a, b in itertools.combinations(answers, 2)]
    assert agreement(answers) == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_error_and_brier_score(bins: int) -> None:
    draw = np.random.default_rng(bins)
    confidence, right = draw.random(300).round(2), draw.random(300) < 0.6
    found = columns("ece", rows(right.tolist(), confidences=confidence.tolist()), bins=bins)
    # in exact fractions, so that 0.2 lies on the border of the third bin of 15
    place = np.array([max(0, ceil(Fraction(str(each)) * bins) - 1) for each in confidence.tolist()])
    inside = [place == number for number in set(place.tolist())]
    error = sum(mask.mean() * abs(confidence[mask].mean() - right[mask].mean()) for mask in inside)
    assert value(found["ece"]) == pytest.approx(error, abs=1e-12)
    assert value(found["ece_brier"]) == pytest.approx(brier_score_loss(right, confidence))
    assert f"{bins} bins of equal width" in found["ece"].variant


def test_bins_are_closed_at_their_upper_end() -> None:
    assert bin_of(np.array([0.0, 0.05, 0.1, 0.11, 0.999, 1.0]), 10).tolist() == [0, 0, 0, 1, 9, 9]


def test_rows_without_a_confidence_are_left_out_and_stated() -> None:
    found = columns("ece", rows([1, 0, None], confidences=[0.8, None, 0.6]))
    assert value(found["ece"]) == pytest.approx((0.2 + 0.6) / 2)
    assert np.isnan(found["ece"].per_row[1]) and "1 rows without a confidence are left out" in found["ece"].variant
    with pytest.raises(UserError, match=r"set `generation\.logprobs: true`"):
        columns("ece", rows([1], confidences=[None]))


def test_whole_sets_take_no_warnings_from_what_they_count() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        columns("grouped_accuracy", rows([1, 0], groups=["a", "a"]), of="vqa_accuracy")
