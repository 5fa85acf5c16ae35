"""A data folder to search in: a set curated for real, and runs over test images that no curation has embedded."""

from __future__ import annotations

from pathlib import Path

from easy_vqa import get_test_image_paths, get_test_questions

from tests.dashboards.curated import curate
from tests.dashboards.folders import answered_by, copied_images, questions_about


def build_found(root: Path, images: int = 40) -> Path:
    """``curate``, and two runs over all questions about the first ``images`` test images of easy-vqa."""
    curate(root)
    shown = copied_images(get_test_image_paths(), root / "raw" / "images", "test", images)
    rows = questions_about(get_test_questions(), shown, "test", 30 * images)
    answered_by(root, "demo-base", rows, [], right=0.5, seed=1)
    answered_by(root, "demo-tuned", rows, [], right=0.8, seed=2)
    return root
