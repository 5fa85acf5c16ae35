"""The plots of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette, safe for colour-blind readers.
COLORS = {"dirty": "#D55E00", "curated": "#0072B2", "clean": "#009E73"}
_TOOLS = ("#0072B2", "#D55E00", "#E69F00")


def _saved(figure: Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _grid(axis: Axes) -> None:
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def draw_main(main: dict[str, Any], path: Path) -> None:
    """A panel per comparison: accuracy of each set with its interval; the arms of a seed are joined by a line."""
    compared = main["comparisons"]
    figure, axes = plt.subplots(1, len(compared), figsize=(3.6 * len(compared), 3.6), sharey=True, squeeze=False)
    for axis, one in zip(axes[0], compared, strict=True):
        found, rates = one["untouched"]["accuracy"], one["rates"]
        for seeds in zip(*(found[version]["seeds"] for version in COLORS), strict=True):
            axis.plot(range(len(COLORS)), [100 * seed for seed in seeds], "-", color="black", alpha=0.2, linewidth=1)
        for at, (version, color) in enumerate(COLORS.items()):
            height = 100 * found[version]["accuracy"]
            bounds = [[height - 100 * found[version]["low"]], [100 * found[version]["high"] - height]]
            axis.errorbar(at, height, bounds, fmt="o", color=color, capsize=6, markersize=8)
        axis.set_xticks(range(len(COLORS)), list(COLORS))
        axis.set(xlim=(-0.4, 2.4))
        axis.set_title(f"{rates['pictures']:.0%} of pictures, {rates['answers']:.0%} of answers", fontsize=9)
        _grid(axis)
    axes[0][0].set_ylabel("accuracy on test questions, %")
    _saved(figure, path)


def draw_curves(rules: dict[str, Any], path: Path) -> None:
    """Recall and precision over the threshold, with the default marked."""
    curves = rules["curves"]
    figure, axes = plt.subplots(1, len(curves), figsize=(4 * len(curves), 3.3), sharey=True, squeeze=False)
    for axis, (name, one) in zip(axes[0], curves.items(), strict=True):
        axis.step(one["threshold"], one["recall"], where="post", color=COLORS["curated"], label="recall")
        axis.step(one["threshold"], one["precision"], where="post", color=COLORS["dirty"], label="precision")
        axis.axvline(one["default"]["threshold"], color="black", linestyle=":", label="default")
        axis.set(title=f"{name}, by {one['unit']}", xlabel="threshold", ylim=(0, 1.05))
        _grid(axis)
    axes[0][0].legend(fontsize="small")
    _saved(figure, path)


def draw_blur(blur: dict[str, Any], path: Path) -> None:
    """Area under the ROC curve over the strength of the blur."""
    figure, axis = plt.subplots(figsize=(5, 3.4))
    sigmas = [float(one) for one in blur["sigmas"]]
    for tool, color in (("winnow", _TOOLS[0]), ("cleanvision", _TOOLS[1])):
        for against, style in (("photographs", "-"), ("all sharp images", "--")):
            areas = [one[tool][against]["roc_auc"] for one in blur["sigmas"].values()]
            axis.plot(sigmas, areas, style, marker="o", color=color, label=f"{tool}, against {against}")
    axis.set(xlabel="σ of the blur, pixels of 256", ylabel="area under the ROC curve", ylim=(0.2, 1.02))
    axis.legend(fontsize="x-small", loc="lower right")
    _grid(axis)
    _saved(figure, path)


def draw_copies(copies: dict[str, Any], path: Path) -> None:
    """Copies found and pairs of different images joined, over the radius."""
    figure, axes = plt.subplots(2, len(copies), figsize=(3 * len(copies), 5), sharex=True, sharey="row", squeeze=False)
    for (found, joined), (kind, one) in zip(axes.T, copies.items(), strict=True):
        for (tool, rates), color in zip(sorted(one["tools"].items(), reverse=True), _TOOLS, strict=True):
            found.plot(rates["found_by_radius"], "o-", markersize=3, color=color, label=tool)
            joined.plot(rates["joined_by_radius"], "o-", markersize=3, color=color)
        found.set(title=kind, ylim=(0, 1.05))
        joined.set_yscale("symlog", linthresh=1)
        joined.set_xlabel("radius, bits")
        _grid(found)
        _grid(joined)
    most = max(
        count for one in copies.values() for rates in one["tools"].values() for count in rates["joined_by_radius"]
    )
    axes[1][0].set_ylim(-0.1, 2 * most)
    axes[0][0].set_ylabel("copies found")
    axes[1][0].set_ylabel("different pairs joined")
    axes[0][0].legend(fontsize="x-small", loc="lower right")
    _saved(figure, path)
