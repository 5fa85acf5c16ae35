"""Comparisons: the right rows, exact tests, corrections for many tests."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from made import made_row, run_of, write_evaluation
from scipy import stats
from typer.testing import CliRunner

from evalsuite.analysis.compare import compare, compare_folders
from evalsuite.cli import app
from evalsuite.statistics import benjamini_hochberg, holm, mean_sums, paired_difference, smallest_detectable
from winnow.errors import UserError

RNG = np.random.default_rng(8)


def answers(right: list[int], **more: object) -> list[dict]:
    return [made_row(n, "red" if hit else "blue", **more) for n, hit in enumerate(right)]


def test_only_shared_answered_and_unchanged_rows_are_compared() -> None:
    a = [made_row(n, "red") for n in range(10)] + [made_row(20, "red"), made_row(21, None), made_row(22, "red")]
    b = [made_row(n, "blue") for n in range(8)] + [made_row(n, "red") for n in (20, 21, 22, 30, 31, 32)]
    b[-4]["references"] = ["green"]
    c = [made_row(n, "red") for n in (*range(1, 10), 20, 21, 22)]
    pair = compare(run_of("a", a), [run_of("b", b)])["runs"][0]["tasks"]["made"]
    counted = {key: pair[key] for key in ("n", "only_in_a", "only_in_b", "elsewhere", "changed", "failed")}
    assert counted == {"n": 9, "only_in_a": 2, "only_in_b": 3, "elsewhere": 0, "changed": 1, "failed": 1}
    assert (pair["metrics"]["accuracy"]["a"], pair["metrics"]["accuracy"]["b"]) == (1.0, pytest.approx(1 / 9))
    both = compare(run_of("a", a), [run_of("b", b), run_of("c", c)])
    assert [run["tasks"]["made"]["n"] for run in both["runs"]] == [8, 8], "all three answer the same rows"
    assert both["runs"][0]["tasks"]["made"]["elsewhere"] == 1


def test_exact_test_where_rows_share_no_image_else_the_clustered_bootstrap() -> None:
    old, new = [1] * 10 + [0] * 30, [1] * 8 + [0] * 2 + [1] * 12 + [0] * 18
    alone = compare(run_of("a", answers(old)), [run_of("b", answers(new))])["runs"][0]["tasks"]["made"]
    entry = alone["metrics"]["accuracy"]
    expected = stats.binomtest(2, 14, 0.5).pvalue
    assert entry["test"] == "McNemar, exact" and entry["p"] == pytest.approx(expected) == entry["mcnemar"]["p_exact"]
    assert entry["mcnemar"]["p_mid"] == pytest.approx(expected - stats.binom.pmf(2, 14, 0.5))
    assert (alone["better"], alone["worse"], alone["both_wrong"]) == (12, 2, 18)
    assert alone["worse_ids"] == ["made/test/8", "made/test/9"]
    shared = compare(run_of("a", answers(old, images=4)), [run_of("b", answers(new, images=4))])
    entry = shared["runs"][0]["tasks"]["made"]["metrics"]["accuracy"]
    assert entry["test"] == "paired bootstrap over images" and entry["images"] == 10
    assert entry["mcnemar"]["p_exact"] == pytest.approx(expected)


def test_p_is_adjusted_over_tasks_and_q_over_slices() -> None:
    def with_kinds(right: list[int]) -> list[dict]:
        return [row | {"slice_kind": "xyz"[n % 3]} for n, row in enumerate(answers(right))]

    old, one, two = with_kinds([0] * 30), with_kinds([1] * 9 + [0] * 21), with_kinds([1] * 3 + [0] * 27)
    found = compare(
        run_of("a", old, slices=["kind"]), [run_of("b", one, slices=["kind"]), run_of("c", two, slices=["kind"])]
    )
    assert found["tests"] == 2
    tasks = [run["tasks"]["made"] for run in found["runs"]]
    p = [task["metrics"]["accuracy"]["p"] for task in tasks]
    assert p == [pytest.approx(2 * 0.5**9), pytest.approx(2 * 0.5**3)]
    assert [task["metrics"]["accuracy"]["p_holm"] for task in tasks] == [pytest.approx(2 * p[0]), pytest.approx(p[1])]
    raw = [one["accuracy"]["p"] for task in tasks for one in task["slices"]["slice_kind"].values()]
    q = [one["accuracy"]["q"] for task in tasks for one in task["slices"]["slice_kind"].values()]
    assert len(q) == 6 and q == pytest.approx(stats.false_discovery_control(raw).tolist())


@pytest.mark.parametrize("p", [[0.01], [0.04, 0.01, 0.03], [0.5, 0.5, 0.5], [1.0, 0.0, 0.2, 0.2], []])
def test_adjusted_p_values_equal_the_definitions(p: list[float]) -> None:
    order = np.argsort(p, kind="stable")
    stepped: list[float] = [0.0] * len(p)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        stepped[place] = highest
    assert holm(p).tolist() == pytest.approx(stepped)
    if p:
        assert benjamini_hochberg(p).tolist() == pytest.approx(stats.false_discovery_control(p).tolist())


def test_missing_tests_count_for_nothing() -> None:
    assert holm([0.01, math.nan, 0.02]).tolist() == pytest.approx([0.02, math.nan, 0.02], nan_ok=True)
    assert benjamini_hochberg([math.nan, 0.02]).tolist() == pytest.approx([math.nan, 0.02], nan_ok=True)


def test_smallest_detectable_difference_is_found_four_times_in_five() -> None:
    n, spread = 400, 0.5
    least = smallest_detectable(spread / math.sqrt(n))
    hits = 0
    for trial in range(200):
        drawn = np.random.default_rng(trial).normal(least, spread, n)
        found = paired_difference(mean_sums(np.zeros(n)), mean_sums(drawn), None, seed=trial, replicates=200)
        hits += found.low > 0
        assert found.se == pytest.approx(spread / math.sqrt(n), rel=0.3)
    assert 0.7 <= hits / 200 <= 0.9


def test_corpus_metrics_are_compared_as_corpora() -> None:
    texts = ["a red cat on the mat", "the dog runs home now", "two birds in a tree", "one boat on the sea"] * 5
    references = [["a red cat on a mat"], ["the dog runs home"], ["two birds sit in a tree"], ["a boat on the sea"]] * 5
    a = [made_row(n, text, references=refs) for n, (text, refs) in enumerate(zip(texts, references, strict=True))]
    b = [row | {"raw": row["references"][0]} for row in a]
    found = compare(run_of("a", a, metrics=["bleu", "cider"]), [run_of("b", b, metrics=["bleu", "cider"])])
    metrics = found["runs"][0]["tasks"]["made"]["metrics"]
    assert set(metrics) == {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "cider"}
    for entry in metrics.values():
        assert entry["mcnemar"] is None and entry["difference"] == pytest.approx(entry["b"] - entry["a"])
        assert entry["ci_low"] > 0 and entry["p"] < 0.01


def test_command_writes_every_form_and_says_what_was_compared(tmp_path: Path) -> None:
    a = write_evaluation(tmp_path / "run_a", answers([0] * 20), slices=["kind"])
    b = write_evaluation(tmp_path / "run_b", [*answers([1] * 15 + [0] * 5), made_row(50, "red")], slices=["kind"])
    runner = CliRunner()
    for ending, part in (
        (".md", "| accuracy | 20 | 100.0 → 100.0 % | 0.0 | 75.0 | +75.0 |"),
        (".tex", r"run\_b & made & accuracy"),
        (".json", '"p_holm"'),
    ):
        out = tmp_path / f"found{ending}"
        done = runner.invoke(app, ["compare", str(a), str(b), "--out", str(out)], env={"COLUMNS": "200"})
        assert done.exit_code == 0, done.output
        assert part in out.read_text()
    assert "Compared on the 20 rows that all runs hold; left out: 1 only in this run." in done.output
    assert "15 rows are better, 0 worse, and 5 score 0 in both" in done.output
    found = json.loads(runner.invoke(app, ["compare", str(a), str(b), str(a), "--json"]).output)
    assert [run["run"] for run in found["runs"]] == [str(b), str(a)]
    with pytest.raises(UserError, match=r"can be written as \.md, \.json or \.tex"):
        runner.invoke(app, ["compare", str(a), str(b), "--out", "x.doc"], catch_exceptions=False)
    strangers = write_evaluation(tmp_path / "other", [made_row(n + 100, "red") for n in range(3)])
    with pytest.raises(UserError, match="share no row"):
        compare_folders(a, [strangers])
