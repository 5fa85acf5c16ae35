from __future__ import annotations

import numpy as np
import pytest

from curate.signals import nsfw
from serving.guard.worker import Scorers
from tests.serving.guard.live import png

SETTINGS = {
    "caps": {"max_bytes": 1 << 20, "max_pixels": 1 << 20}, "nsfw": True, "ocr": False, "clip": None, "prompts": {},
    "classifier": None, "always": False,
}  # fmt: skip


def test_a_score_that_is_no_number_is_a_failure_and_no_fact_about_the_image(monkeypatch):
    scorers = Scorers(SETTINGS)
    assert 0 <= scorers.image(png())[0]["nsfw"] <= 1
    monkeypatch.setattr(nsfw, "nsfw_scores", lambda model, pixels: np.full(len(pixels), np.nan))
    with pytest.raises(ValueError, match="a score is nan"):
        scorers.image(png())
