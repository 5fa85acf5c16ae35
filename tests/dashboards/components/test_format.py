from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.components.format import count_of, short_name, short_names


@given(st.text(max_size=80), st.integers(4, 60))
def test_a_short_name_keeps_both_ends(name: str, longest: int) -> None:
    short = short_name(name, longest)
    assert len(short) <= longest and (short == name) == (len(name) <= longest or short == name)
    if len(name) > longest:
        start, _, end = short.partition("…") if "…" not in name else (short[:1], "", short[-1:])
        assert name.startswith(start) and name.endswith(end) and len(short) == longest


def test_checkpoints_of_one_run_stay_apart() -> None:
    names = [f"llava-v1.6-mistral-7b-lora-r64-curated/checkpoint-{step}" for step in range(1000, 9000, 1000)]
    assert len({short_name(name) for name in names}) == len(names)


@given(st.sets(st.text(max_size=60), max_size=8))
def test_short_names_never_stand_for_two(names: set[str]) -> None:
    short = short_names(names)
    assert set(short) == names
    wanted = {name: short_name(name) for name in names}
    for name in names:
        assert short[name] in (name, wanted[name])
        alike = [other for other in names if wanted[other] == wanted[name]]
        assert len(alike) == 1 or short[name] == name


def test_names_that_differ_in_the_middle_stay_whole() -> None:
    names = [f"{'a' * 20}{middle}{'z' * 30}" for middle in "xy"]
    assert short_names(names) == dict(zip(names, names, strict=True))


@pytest.mark.parametrize(
    ("count", "words", "text"),
    [
        (1, ("row",), "1 row"), (0, ("row",), "0 rows"), (1200, ("row",), "1,200 rows"),
        (2, ("row is", "rows are"), "2 rows are"), (1, ("row is", "rows are"), "1 row is"),
    ],
)  # fmt: skip
def test_counts_have_the_right_plural(count: int, words: tuple[str, ...], text: str) -> None:
    assert count_of(count, *words) == text
