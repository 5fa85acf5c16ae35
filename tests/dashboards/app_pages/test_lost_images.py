"""A page says once where it looked for images that are not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dashboards.settings import IMAGE_ROOTS_VARIABLE
from tests.dashboards.pages import open_page, texts

_PAGES = [
    ("failures", {"outcome": "All"}), ("sample", {"id": "easy_vqa/test/0"}), ("sample", {"id": "easy_vqa/train/3"}),
    ("curation", {}),
]  # fmt: skip


def _said(data: Path, monkeypatch: pytest.MonkeyPatch, name: str, parameters: dict[str, str]) -> list[str]:
    return [text for text in texts(open_page(data, monkeypatch, name, **parameters)) if "are looked for in" in text]


@pytest.mark.parametrize(("name", "parameters"), _PAGES)
def test_the_places_are_named_and_a_new_one_can_be(
    own: Path, monkeypatch: pytest.MonkeyPatch, name: str, parameters: dict[str, str]
) -> None:
    images = own / "raw" / "images"
    moved = own / "moved"
    shutil.move(images, moved)
    (said,) = _said(own, monkeypatch, name, parameters)
    assert str(images) in said and "--image-root OLD=NEW" in said
    monkeypatch.setenv(IMAGE_ROOTS_VARIABLE, json.dumps([[str(images), str(moved)]]))
    assert _said(own, monkeypatch, name, parameters) == []
