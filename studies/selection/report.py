"""The study's text and figure: every number in them is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from studies.label_noise.questions import KINDS
from studies.paired import percent, points
from winnow.text import table

_MORE = ("open / yes or no / choice", "rarest class")
PAGE, FIGURE = Path("docs/results/selection.md"), Path("docs/images/selection.png")
# Name in the report → strategy of `curate select`, columns, per.
STRATEGIES: dict[str, tuple[str, tuple[str, ...], str | None]] = {
    "random": ("random", (), None),
    "quality": ("quality", (), None),
    "least suspect": ("quality", ("suspect ASC",), None),
    "coverage": ("coverage", (), None),
    "facility": ("facility", (), None),
    "balanced answer": ("balanced", (), "answer"),
    "balanced cluster": ("balanced", (), "cluster"),
    "loss": ("loss", (), None),
    "picture gain": ("picture_gain", (), None),
}


def asked(name: str) -> str:
    """What is written behind ``curate select``."""
    strategy, columns, per = STRATEGIES[name]
    more = [*(f'--column "{column}"' for column in columns), *([f"--per {per}"] if per else [])]
    return f"`--by {' '.join([strategy, *more])}`"


def section(report: dict[str, Any]) -> str:
    """The Markdown text."""
    parts = [
        f"The mixture has {report['rows']:,} rows about {report['pictures']:,} pictures; {report['wrong']:.1%} of its"
        f" answers are wrong. The most frequent class has {report['skew']} times the pictures of the rarest; the rows"
        f" of {report['repeated']:.0%} of the pictures come {report['repeats']} times more. Each arm is trained for"
        f" {report['steps']} steps of {report['batch']} rows with {report['seeds']} seeds, which also draw the random"
        f" rows and break ties. All rows give {percent(report['all'])}. Intervals are of 95%, paired with the random"
        " rows of the same seed, over test pictures and seeds; they hold for one strategy each, not for the best of"
        " all.\n\n![Chosen minus random](../images/selection.png)"
    ]
    for budget, found in report["budgets"].items():
        lines = [
            [
                asked(name),
                percent(of),
                points(of["minus_random"]) if of["minus_random"] else "",
                f"{of['pictures_a_row']:.2f}",
                f"{of['wrong']:.1%}",
                " / ".join(f"{of[kind]:.0%}" for kind in KINDS),
                f"{of['rarest']:.1%}",
            ]
            for name, of in ((name, found[name]) for name in STRATEGIES)
        ]
        heading = ["chosen", "accuracy", "minus random, points", "pictures a row", "wrong answers", *_MORE]
        parts.append(f"### {budget} of the rows\n\n{table(heading, lines)}")
    return "\n\n".join(parts) + "\n"


def draw(report: dict[str, Any], path: Path) -> None:
    """Chosen minus random of each strategy and budget, with its interval."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    budgets = report["budgets"]
    names = [name for name in STRATEGIES if name != "random"]
    figure, axis = plt.subplots(figsize=(7, 3.6))
    for shift, (budget, colour) in zip((0.12, -0.12), zip(budgets, ("#D55E00", "#0072B2"), strict=True), strict=True):
        for at, name in enumerate(reversed(names)):
            of = budgets[budget][name]["minus_random"]
            value, low, high = (100 * of[key] for key in ("value", "low", "high"))
            label = f"{budget} of the rows" if at == 0 else None
            axis.errorbar(
                value, at + shift, xerr=[[value - low], [high - value]], fmt="o", color=colour, capsize=3, label=label
            )
    axis.axvline(0, color="#666666", linewidth=1)
    axis.set_yticks(range(len(names)), list(reversed(names)))
    axis.set_xlabel("chosen minus random, points of right answers")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
