"""A split queue: every row is given, as evenly as can be, and the same way whoever asks."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.review.assignment import Assignment, new_assignment, read_assignments, save, split
from winnow.errors import UserError

_NAME = st.text("abcdefgxyzÄß ", min_size=1, max_size=6).map(lambda name: " ".join(name.split())).filter(len)
NAMES = st.lists(_NAME, min_size=1, max_size=7, unique_by=str.casefold)


def _assignment(names: list[str], total: int = 50, overlap: float = 0.1, seed: int = 1) -> Assignment:
    made = new_assignment("list=audit", "Audit", total, "d", names, overlap, "anna")
    return made.model_copy(update={"seed": seed})


@given(total=st.integers(1, 400), people=st.integers(1, 9), overlap=st.floats(0, 1), seed=st.integers(0, (1 << 32) - 1))
def test_a_split_gives_every_row_and_the_overlap_twice(total: int, people: int, overlap: float, seed: int) -> None:
    found = split(total, people, overlap, seed)
    given_to = np.zeros(total, dtype=int)
    for places in found.places:
        assert (np.diff(places) > 0).all(), "in order of the queue, no row twice for one person"
        given_to[places] += 1
    twice = round(overlap * total) if people > 1 else 0
    assert (given_to == 2).sum() == twice and (given_to == 1).sum() == total - twice
    assert np.flatnonzero(given_to == 2).tolist() == found.shared.tolist()
    sizes = [len(places) for places in found.places]
    assert max(sizes) - min(sizes) <= 1
    again = split.__wrapped__(total, people, overlap, seed)  # type: ignore[attr-defined]  # not from the cache
    assert all(np.array_equal(one, other) for one, other in zip(found.places, again.places, strict=True))


@given(names=NAMES, seed=st.integers(0, 1000))
def test_the_order_and_the_spelling_of_names_change_nothing(names: list[str], seed: int) -> None:
    one, other = (
        _assignment(names, seed=seed),
        _assignment([f" {name.upper()} " for name in reversed(names)], seed=seed),
    )
    for name in names:
        if name.strip().casefold() == name.upper().strip().casefold():
            assert np.array_equal(one.share(name), other.share(name)) and len(one.share(name))
            assert one.holds(name.upper()) and other.holds(f"  {name}")


def test_everybody_meets_everybody_about_equally_often() -> None:
    found = split(20_000, 5, 0.3, seed=4)
    met = [
        len(np.intersect1d(found.places[one], found.places[other]))
        for one, other in itertools.combinations(range(5), 2)
    ]
    assert sum(met) == 6000 and min(met) > 500 and max(met) < 700


def test_somebody_else_has_no_share() -> None:
    assert _assignment(["anna", "ben"]).share("chen").tolist() == [] and not _assignment(["anna"]).holds("")


def test_one_person_is_named_once_and_shares_nothing() -> None:
    made = new_assignment("", "", 10, "d", ["Anna", " anna ", ""], 0.5, "ben")
    assert made.names == ("anna",) and made.overlap == 0 and made.share("ANNA").tolist() == list(range(10))
    assert made.shared().tolist() == []


@pytest.mark.parametrize(
    ("names", "total", "overlap"), [([" "], 5, 0.1), ([], 5, 0.1), (["a"], 0, 0.1), (["a"], 5, 1.5), (["a"], 5, -0.1)]
)
def test_what_cannot_be_split_is_refused(names: list[str], total: int, overlap: float) -> None:
    with pytest.raises(UserError):
        new_assignment("", "", total, "d", names, overlap, "ben")


def test_assignments_are_read_back_newest_first_and_broken_files_are_named(tmp_path: Path) -> None:
    assert read_assignments(tmp_path) == ([], [])
    made = [_assignment(["anna", "ben"]), _assignment(["chen"])]
    for one in made:
        save(tmp_path, one)
    assert read_assignments(tmp_path)[0] == made[::-1]
    folder = tmp_path / "assignments"
    (folder / "broken.json").write_text('{"assignment_id": 3}')
    (folder / "cut.json").write_text('{"assignment')
    loaded = json.loads((folder / f"{made[0].assignment_id}.json").read_text())
    (folder / "far.json").write_text(json.dumps({**loaded, "overlap": 7}))
    found, problems = read_assignments(tmp_path)
    assert found == made[::-1] and len(problems) == 3
    assert all("is not an assignment" in sentence and "\n" not in sentence for sentence in problems)


def test_an_assignment_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "assignments").write_text("a file where a folder should be")
    with pytest.raises(UserError, match="could not be written"):
        save(tmp_path, _assignment(["anna"]))
