"""Differences over several seeds: the mean of the seeds, images drawn whole, other rows refused."""

import pytest

from studies.pooled import mean_score, pooled_difference, shown, write_tables
from tests.evalsuite.made import made_row, write_evaluation


def evaluation(folder, right, images=2):
    rows = [made_row(n, "red" if hit else "blue", images=images) for n, hit in enumerate(right)]
    return write_evaluation(folder, rows)


def test_the_difference_is_that_of_the_means_over_seeds(tmp_path):
    start = evaluation(tmp_path / "start", [1] * 10 + [0] * 30)
    one, two = (evaluation(tmp_path / str(n), [1] * n + [0] * (40 - n)) for n in (20, 30))
    assert mean_score(one, "made") == 0.5
    found = pooled_difference([(start, one), (start, two)], "made")
    assert (found.a, found.b, found.difference) == (0.25, 0.625, pytest.approx(0.375))
    assert (found.rows, found.images) == (40, 20)
    assert 0 < found.low < found.difference < found.high
    # A seed more with the same answers says nothing new about other images.
    twice = pooled_difference([(start, one), (start, one)], "made")
    once = pooled_difference([(start, one)], "made")
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))
    assert shown(once)[:3] == ["25.0", "50.0", "+25.0"]


def test_other_rows_are_refused(tmp_path):
    with pytest.raises(ValueError, match="hold other rows"):
        pooled_difference([(evaluation(tmp_path / "a", [1, 0]), evaluation(tmp_path / "b", [1, 0, 1]))], "made")


def test_tables_take_their_place_in_the_page(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- one: begin -->\nold\n<!-- one: end -->\nb\n")
    write_tables(page, {"one": (["x"], [["1"]])}, docs=True)
    assert page.read_text() == "a\n<!-- one: begin -->\n| x |\n|---|\n| 1 |\n<!-- one: end -->\nb\n"
