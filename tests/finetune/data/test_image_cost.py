"""What images cost under caps on their pixels."""

from __future__ import annotations

import math

import pytest

from finetune.data.image_costs import image_costs
from winnow.vlm.inputs import capped_size


def test_image_costs_by_cap():
    """A made-up processor: one token per 100 pixels."""
    sizes = {(2000, 1000): 3, (100, 100): 7}
    lines = image_costs(sizes, lambda cap: lambda size: math.prod(capped_size(size, cap)) // 100, 50, None)
    assert lines[0] == {"max_pixels": None, "image_mean": 6070.0, "image_max": 20000, "longest": 20050}
    assert [line["max_pixels"] for line in lines[1:]] == [1024 * 1024, 768 * 768, 512 * 512, 336 * 336]
    assert all(line["image_max"] <= line["max_pixels"] // 100 for line in lines[1:])
    many = {(n, n): 1 for n in range(10, 400)}
    asked = set()
    image_costs(many, lambda cap: lambda size: asked.add(size) or 1, 0, 10_000)
    assert len(asked) < 120
    assert image_costs({}, lambda cap: len, 5, None)[0]["longest"] == 5


@pytest.mark.parametrize(("size", "cap"), [((2000, 1000), 500_000), ((7, 1000), 100), ((50, 40), 2000), ((3, 3), 1)])
def test_capped_sizes(size, cap):
    width, height = capped_size(size, cap)
    assert 1 <= width * height <= cap
    assert capped_size(size, None) == size
    if size[0] * size[1] <= cap:
        assert (width, height) == size
