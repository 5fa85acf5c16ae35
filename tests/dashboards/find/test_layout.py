"""Maps: the same points for the same seed, a sample that puts failures first, and a lasso against a plain test."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboards.components.lasso import polygon_of
from dashboards.data.answers import matching_rows
from dashboards.data.catalog import scan
from dashboards.data.filters import FilterSpec, resolve_filters
from dashboards.data.predictions import WRONG, row_index
from dashboards.find import layout as layouts
from dashboards.find.embed import embed_missing
from dashboards.find.layout import drawn_pictures, inside, layout_digest, make_layout, open_layout, principal, scaled
from dashboards.find.points import COLOURS, groups, rows_of_points
from dashboards.find.search import Pictured, pictured_run, pictured_set


def _pictured(pictures: int) -> Pictured:
    rows = np.arange(pictures, dtype=np.int32)
    return Pictured(rows, rows.astype(np.uint64) + 1, rows.astype(np.int64), np.zeros((pictures, 4), np.float16))


def test_components_are_those_of_a_singular_value_decomposition() -> None:
    vectors = np.random.default_rng(0).standard_normal((60, 9)).astype(np.float32)
    vectors[:, 0] *= 5
    centred = vectors - vectors.mean(axis=0)
    left, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    found = principal(vectors, 2)
    np.testing.assert_allclose(np.abs(found), np.abs(left[:, :2] * lengths[:2]), atol=1e-3)
    np.testing.assert_array_equal(found, principal(vectors.copy(), 2))
    assert principal(vectors, 50).shape == (60, 9)


def test_coordinates_are_scaled_by_one_factor() -> None:
    xy = scaled(np.array([[0, 0], [4, 2], [2, 1]], dtype=np.float32))
    np.testing.assert_allclose(xy, [[-1, -0.5], [1, 0.5], [0, 0]])
    np.testing.assert_array_equal(scaled(np.ones((3, 2), dtype=np.float32)), np.zeros((3, 2)))


@pytest.mark.parametrize(
    ("runs", "sets", "expected"), [(10, 10, (10, 10)), (100, 100, (20, 20)), (100, 5, (35, 5)), (3, 90, (3, 37))]
)
def test_half_of_the_points_are_of_the_run_and_failures_come_first(
    runs: int, sets: int, expected: tuple[int, int]
) -> None:
    wrong = np.arange(0, runs, 9)
    of_run, of_set, pictures = drawn_pictures(_pictured(runs), _pictured(sets), wrong, 40)
    assert (len(of_run), len(of_set), pictures) == (*expected, runs + sets)
    assert np.isin(wrong, of_run).all() and len(np.unique(of_run)) == len(of_run)
    again = drawn_pictures(_pictured(runs), _pictured(sets), wrong, 40)
    np.testing.assert_array_equal(of_run, again[0])
    np.testing.assert_array_equal(of_set, again[1])


def _is_inside(point: tuple[float, float], corners: list[tuple[int, int]]) -> bool:
    """Sum of the signed angles to the corners: ±2π inside a simple polygon, 0 outside."""
    total = 0.0
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        one, two = complex(x0 - point[0], y0 - point[1]), complex(x1 - point[0], y1 - point[1])
        total += float(np.angle(two / one))
    return abs(total) > 1


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 359)), min_size=3, max_size=12, unique_by=lambda at: at[1]))
def test_the_lasso_holds_what_it_surrounds(spokes: list[tuple[int, int]]) -> None:
    # A star around the origin is a simple polygon as long as no two spokes are half a turn apart.
    ordered = sorted(spokes, key=lambda at: at[1])
    turns = np.diff([*[angle for _, angle in ordered], ordered[0][1] + 360])
    if turns.max() >= 180:
        return
    corners = [(r * np.cos(np.radians(a)), r * np.sin(np.radians(a))) for r, a in ordered]
    points = np.random.default_rng(1).uniform(-10, 10, (80, 2)).astype(np.float32)
    expected = [_is_inside((float(x), float(y)), corners) for x, y in points]
    assert inside(points, np.array(corners, dtype=np.float32)).tolist() == expected


def test_only_polygons_are_taken_from_the_browser() -> None:
    assert polygon_of([[0, 0], [1, 0], [0, 1]]) is not None
    for wrong in (None, "x", [], [[0, 0]], [[0, 0], [1], [2, 2]], [["a", 0]] * 3, [[None, 1]] * 3, [[0, 0, 0]] * 3,
                  [[float("nan"), 0]] * 3, [[0, 0]] * 3000):  # fmt: skip
        assert polygon_of(wrong) is None


def test_a_map_is_kept_and_its_points_lead_to_rows(found: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = scan(found)
    view, folder = resolve_filters(catalog, FilterSpec(run="demo-tuned")), catalog.find("curated", "small")
    assert view and folder
    embed_missing(view.run, folder, lambda done, total: None)
    of_run, of_set = pictured_run(view.run, folder), pictured_set(folder)
    assert of_run and of_set
    digest = layout_digest(view.run, folder, "PCA")
    make_layout(view.run, folder, of_run, of_set, "PCA", lambda done, total: None)
    layout = open_layout(found, digest)
    assert layout and layout.pictures == len(layout.xy) == 50 and layout.of_run.sum() == 40
    make_layout(view.run, folder, of_run, of_set, "PCA", lambda done, total: None)
    again = open_layout(found, digest)
    assert again
    np.testing.assert_array_equal(layout.xy, again.xy)
    rows, correct = matching_rows(view), row_index(view.run).correct
    coloured = groups(layout, "Outcome", view.run, folder, of_run, of_set, rows)
    with_wrong = {int(place) for place in of_run.place[correct == WRONG]}
    for point in range(50):
        name = coloured.names[coloured.codes[point]]
        shown = int(layout.place[point]) in with_wrong
        assert name == (
            "training picture" if not layout.of_run[point] else "wrong answer" if shown else "not in this view"
        )
    for colour in COLOURS:
        named = groups(layout, colour, view.run, folder, of_run, of_set, rows)
        assert len(named.codes) == 50 and set(named.codes.tolist()) == set(range(len(named.names)))
    answers, cases = rows_of_points(layout, np.ones(50, dtype=bool), of_run, of_set, rows)
    np.testing.assert_array_equal(answers, rows)
    assert len(cases) == 90
    (layouts._file(found, digest)).write_bytes(b"torn")
    assert open_layout(found, digest) is None


@pytest.mark.slow
def test_umap_places_alike_under_its_seed_and_keeps_groups_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("umap")
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")  # to compile it takes a minute, to run it on 16 points seconds
    chance = np.random.default_rng(0)
    vectors = np.concatenate([chance.normal(at, 0.1, (8, 6)) for at in (0.0, 5.0)]).astype(np.float32)
    with ThreadPoolExecutor() as both:  # each waits for a process
        one, two = both.map(layouts._umap, [vectors, vectors])
    np.testing.assert_array_equal(one, two)
    centres = one[:8].mean(axis=0), one[8:].mean(axis=0)
    spread = max(float(np.abs(one[:8] - centres[0]).max()), float(np.abs(one[8:] - centres[1]).max()))
    assert np.linalg.norm(centres[0] - centres[1]) > spread
