"""Recall and precision of near-duplicate search by hash, radius and thumbnail thresholds.

    python -m benchmarks.curves_duplicates [--images 150] [--plot FILE.png]

Images of four kinds (tiles of photographs, easy-vqa's drawings, pages of text, filled-in forms), copies of each
re-encoded or resized in seven ways, and all pairs of different images of a kind. The defaults of ``MatchSettings``
are chosen from these tables: all copies that were only re-encoded are found, and no different images are joined.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.duplicates.images.fingerprints import ImageFingerprints, PairDifference, compare
from curate.settings.copies import MatchSettings
from studies.demo.copies import EDITED, KINDS, RE_ENCODED, different_pairs, fingerprints_of

_HASHES = ("phash", "dhash", "both")
_RADII = (0, 2, 4, 6, 8, 10, 12)
_BY_HASH_ALONE = {"max_mean_diff": 255.0, "max_cell_diff": 255.0, "max_contrast_diff": 255.0}
_CONFIRMED: dict[str, dict[str, float]] = {
    "by hash alone": _BY_HASH_ALONE,
    "mean 2, cell 36": {"max_mean_diff": 2.0, "max_contrast_diff": 255.0},
    "mean 4": {"max_cell_diff": 255.0, "max_contrast_diff": 255.0},
    "mean 4, cell 36": {"max_contrast_diff": 255.0},
    "mean 4, cell 18": {"max_cell_diff": 18.0, "max_contrast_diff": 255.0},
    "mean 4, cell 36, contrast 0.25": {"max_contrast_diff": 0.25},
    "mean 4, cell 36, contrast 0.5 (the default)": {},
    "mean 4, cell 36, contrast 1": {"max_contrast_diff": 1.0},
    "mean 8, cell 36, contrast 0.5": {"max_mean_diff": 8.0},
}


def _settings(**values: object) -> MatchSettings:
    return MatchSettings.model_validate(values)


@dataclass(frozen=True)
class Measured:
    """One kind: its images, the copies by name of the alteration, and all pairs of different images."""

    originals: ImageFingerprints
    copies: dict[str, ImageFingerprints]
    pairs: tuple[np.ndarray, np.ndarray]

    def recall(self, name: str, settings: MatchSettings) -> float:
        """Share of the copies that count as the same image as their original."""
        own = np.arange(len(self.copies[name].phash))
        return float(compare(self.originals, own, self.copies[name], own, settings).confirmed(settings).mean())

    def found(self, settings: MatchSettings) -> float:
        """Mean recall of copies that were only re-encoded."""
        return float(np.mean([self.recall(name, settings) for name in RE_ENCODED]))

    def joined(self, settings: MatchSettings) -> int:
        """Pairs of different images that count as the same."""
        found: PairDifference = compare(self.originals, self.pairs[0], self.originals, self.pairs[1], settings)
        return int(found.confirmed(settings).sum())


def measured(kind: str, count: int) -> Measured:
    """Draw images and copies of one kind, and measure them as ``curate run`` does."""
    images = KINDS[kind](count, np.random.default_rng(0))
    copies = {name: fingerprints_of([alter(one) for one in images]) for name, alter in {**RE_ENCODED, **EDITED}.items()}
    originals = fingerprints_of(images)
    return Measured(originals, copies, different_pairs(images))


def print_tables(kinds: dict[str, Measured]) -> None:
    """Recall / different pairs joined, by radius, by thresholds and by alteration."""
    heading = "".join(f"{f'{kind} ({len(one.pairs[0]):,} pairs)':>30}" for kind, one in kinds.items())
    print("share of copies found / different pairs joined\n")
    print(f"{'by hash alone':<44}{heading}")
    for name in _HASHES:
        for radius in _RADII:
            _print_row(f"{name} within {radius}", kinds, _settings(hash=name, radius=radius, **_BY_HASH_ALONE))
    print(f"\n{'confirmed with the defaults':<44}{heading}")
    for name in _HASHES:
        for radius in _RADII:
            _print_row(f"{name} within {radius}", kinds, _settings(hash=name, radius=radius))
    print(f"\n{'both hashes within 8, thresholds':<44}{heading}")
    for label, changed in _CONFIRMED.items():
        _print_row(label, kinds, _settings(**changed))
    print("\nshare of copies found with the defaults, by alteration\n")
    print(f"{'':<44}{''.join(f'{kind:>30}' for kind in kinds)}")
    for alteration in (*RE_ENCODED, *EDITED):
        shares = "".join(f"{one.recall(alteration, MatchSettings()):>30.1%}" for one in kinds.values())
        print(f"{alteration:<44}{shares}")


def _print_row(label: str, kinds: dict[str, Measured], settings: MatchSettings) -> None:
    cells = "".join(f"{f'{one.found(settings):.1%} / {one.joined(settings):,}':>30}" for one in kinds.values())
    print(f"{label:<44}{cells}", flush=True)


def plot(kinds: dict[str, Measured], path: Path) -> None:
    """Recall against precision along the radius, with and without the thumbnail."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(kinds), figsize=(4 * len(kinds), 4), sharey=True)
    for axis, (kind, one) in zip(axes, kinds.items(), strict=True):
        for name in _HASHES:
            for label, changed, style in (("hash alone", _BY_HASH_ALONE, "--"), ("confirmed", {}, "-")):
                curve = [_point(one, _settings(hash=name, radius=radius, **changed)) for radius in range(15)]
                axis.plot(*zip(*curve, strict=True), style, marker=".", label=f"{name}, {label}")
        axis.set(title=kind, xlabel="recall", xlim=(0.4, 1.02), ylim=(0, 1.05))
    axes[0].set_ylabel("precision")
    axes[0].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _point(one: Measured, settings: MatchSettings) -> tuple[float, float]:
    """Recall and precision: of the pairs joined the share that are copies."""
    found = one.found(settings)
    copies = found * len(RE_ENCODED) * len(one.originals.phash)
    joined = one.joined(settings)
    return found, copies / (copies + joined) if copies + joined else 1.0


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=150, help="different images of each kind")
    parser.add_argument("--plot", type=Path)
    asked = parser.parse_args()
    kinds = {kind: measured(kind, asked.images) for kind in KINDS}
    print_tables(kinds)
    if asked.plot:
        plot(kinds, asked.plot)
        print(f"\n{asked.plot} has the curves")


if __name__ == "__main__":
    main()
