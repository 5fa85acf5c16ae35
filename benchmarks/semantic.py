"""Cosines of efficientnet-lite0's embeddings on photographs: how many different pairs a threshold joins, what it finds.

Usage: python -m benchmarks.semantic FOLDER, a folder of different photographs. The table in
docs/explanation/duplicates.md is of BSDS500 (git clone https://github.com/BIDS/BSDS500), BSDS500/data/images/test.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from curate.signals.efficientnet import embed

THRESHOLDS = (0.7, 0.8, 0.85, 0.9, 0.95)


def _centre(share: float) -> Callable[[Image.Image], Image.Image]:
    def cropped(image: Image.Image) -> Image.Image:
        x, y = (round(side * (1 - share) / 2) for side in image.size)
        return image.crop((x, y, image.width - x, image.height - y))

    return cropped


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "brighter ×1.4": lambda image: ImageEnhance.Brightness(image).enhance(1.4),
    "mirrored": ImageOps.mirror,
    "grey": lambda image: image.convert("L").convert("RGB"),
    "cropped to 80%": _centre(0.8),
    "cropped to 60%": _centre(0.6),
}


def main(folder: Path) -> None:
    """Print the table."""
    images = [Image.open(path).convert("RGB") for path in sorted(folder.glob("*.jpg"))]
    own = _embedded(images)
    pairs = (own @ own.T)[np.triu_indices(len(own), 1)]
    print(f"{len(images)} photographs, {len(pairs):,} pairs of different ones; the nearest at {pairs.max():.3f}")
    print(f"median {np.median(pairs):.3f}, 99.9% below {np.quantile(pairs, 0.999):.3f}\n")
    print("| cosine | different pairs joined |", *(f"{name} |" for name in COPIES))
    print("|---|" * 1 + "---|" * (len(COPIES) + 1))
    found = {name: np.sum(own * _embedded([edit(image) for image in images]), axis=1) for name, edit in COPIES.items()}
    for threshold in THRESHOLDS:
        shares = (f"{(cosines >= threshold).mean():.0%} |" for cosines in found.values())
        print(f"| {threshold} | {(pairs >= threshold).sum()} |", *shares)


def _embedded(images: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(embed(image)["embedding"], np.float32) for image in images])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
