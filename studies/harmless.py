"""False alarms of the nudity score on harmless pictures, at several thresholds, with the pictures that score highest.

Photographs are those of a folder. The figures of the docs are of all 500 of BSDS500; of those that score highest none
shows nudity:

    git clone https://github.com/BIDS/BSDS500
    python -m studies.harmless --photos BSDS500/BSDS500/data/images --docs

Beside them stand pictures that packages ship or that are drawn here (``studies.demo.copies``). How much nudity
the score finds is not measured: that needs pictures that nobody should have to collect for it.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import binomtest

from curate.engines import batched
from curate.signals.nsfw import load_nsfw, nsfw_pixels, nsfw_scores
from studies.demo.copies import KINDS
from winnow.text import table

PAGE = Path("docs/explanation/safety.md")
_BEGIN, _END = "<!-- harmless: begin -->", "<!-- harmless: end -->"
_THRESHOLDS = (0.3, 0.5, 0.7, 0.8, 0.9)
_DRAWN = {"tiles of skimage's and sklearn's photographs": "photographs", "drawings": "drawings", "pages": "pages",
          "forms": "forms"}  # fmt: skip
_EACH, _BATCH, _LISTED = 300, 32, 3


def main() -> None:
    """Print the table; with ``--docs`` write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="a folder of harmless photographs")
    parser.add_argument("--docs", action="store_true", help=f"write the table into {PAGE}")
    given = parser.parse_args()
    files = photographs_of(given.photos)
    scores = {"photographs": score(Image.open(path).convert("RGB") for path in files)}
    for title, kind in _DRAWN.items():
        scores[title] = score(KINDS[kind](_EACH, np.random.default_rng(0)))
    shown = table(["harmless pictures", "n", *(f"> {each}" for each in _THRESHOLDS), "highest"], rows_of(scores))
    highest = np.argsort(-scores["photographs"])[:_LISTED]
    named = ", ".join(f"{files[k].stem} {scores['photographs'][k]:.2f}" for k in highest)
    shown += f"\n\nThe photographs that score highest: {named}."
    print(shown)
    if given.docs:
        page = PAGE.read_text(encoding="utf-8")
        page = re.sub(f"{_BEGIN}.*{_END}", lambda _: f"{_BEGIN}\n{shown}\n{_END}", page, flags=re.DOTALL)
        PAGE.write_text(page, encoding="utf-8")


def photographs_of(folder: Path) -> list[Path]:
    """JPEG and PNG files below a folder, in order of their paths."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))


def score(images: Iterable[Image.Image]) -> np.ndarray:
    """(n,) open_nsfw's probabilities."""
    session = load_nsfw()

    def found() -> Iterator[np.ndarray]:
        for batch in batched((nsfw_pixels(image) for image in images), _BATCH):
            yield nsfw_scores(session, np.stack(batch))

    return np.concatenate([*found()])


def rows_of(scores: dict[str, np.ndarray]) -> list[list[str]]:
    """For each set, how many score above each threshold, with Wilson's 95% interval of the share."""
    rows: list[list[str]] = []
    for name, values in scores.items():
        cells = [above(int((values > threshold).sum()), len(values)) for threshold in _THRESHOLDS]
        rows.append([name, f"{len(values):,}", *cells, f"{values.max():.3f}"])
    return rows


def above(count: int, of: int) -> str:
    """``2 (0.1–1.4%)``."""
    low, high = binomtest(count, of).proportion_ci(method="wilson")
    return f"{count} ({100 * low:.1f}–{100 * high:.1f}%)"


if __name__ == "__main__":
    main()
