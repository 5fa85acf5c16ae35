"""The loss curve as a picture beside the adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.files import atomic_path

if TYPE_CHECKING:
    import pyarrow as pa


def smoothed(values: Sequence[float], weight: float = 0.9) -> list[float]:
    """Exponential moving average without the bias of a zero start (Adam's correction)."""
    average, seen, result = 0.0, 0.0, []
    for value in values:
        average = weight * average + (1 - weight) * value
        seen = weight * seen + (1 - weight)
        result.append(average / seen)
    return result


def draw_loss_curve(metrics: Sequence[dict[str, Any]], stages: Sequence[str], title: str, target: Path) -> None:
    """Draw the logged losses, raw and smoothed, one colour a stage, over all steps.

    Args:
        metrics: lines of ``metrics.jsonl``.
        stages: names of the stages, in order.
        target: the PNG to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=140, layout="constrained")
    axes = figure.add_subplot()
    colours = ["#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626"]
    first = 0
    for number, name in enumerate(stages):
        lines = [line for line in metrics if line["stage"] == number]
        if not lines:
            continue
        steps, losses = [first + line["step"] for line in lines], [line["loss"] for line in lines]
        colour = colours[number % len(colours)]
        axes.plot(steps, losses, color=colour, alpha=0.28, linewidth=1.1, marker="o" if len(lines) < 3 else None)
        axes.plot(steps, smoothed(losses, 0.8), color=colour, linewidth=2.2, label=f"{name}: {losses[-1]:.3f}")
        if first:
            axes.axvline(first, color="#9ca3af", linewidth=0.9, linestyle=":")
        first = steps[-1]
    axes.set(xlabel="optimiser step", ylabel="loss, nats per trained token", title=title)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with atomic_path(target) as temporary:
        figure.savefig(temporary, format="png")


def draw_source_curves(losses: pa.Table, title: str, target: Path) -> None:
    """Draw the smoothed loss of every source over all steps.

    Args:
        losses: ``source_losses.parquet``: stage, step, source, loss per trained token.
        target: the PNG to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=140, layout="constrained")
    axes = figure.add_subplot()
    frame = losses.to_pandas()
    last = frame.groupby("stage")["step"].max().sort_index()
    frame["place"] = frame["step"] + frame["stage"].map(last.cumsum() - last)
    for name, part in frame.groupby("source"):
        values = smoothed(part["loss"].tolist())
        axes.plot(part["place"], values, linewidth=1.8, label=f"{name or '(no source)'}: {values[-1]:.3f}")
    axes.set(xlabel="optimiser step", ylabel="loss, nats per trained token", title=title)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    with atomic_path(target) as temporary:
        figure.savefig(temporary, format="png")
