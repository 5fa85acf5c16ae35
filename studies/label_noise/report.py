"""The study's text and figure: every number in them is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from studies.paired import percent, points
from winnow.text import table

PAGE, FIGURE = Path("docs/results/label-noise.md"), Path("docs/images/label-noise.png")
_ORDER = ("dirty", "random", "cleanlab", "curated", "reviewed", "clean")
_SAYS = {
    "dirty": "dirty: as people labelled",
    "random": "as many random rows dropped",
    "cleanlab": "pruned by cleanlab",
    "curated": "curated by Winnow",
    "reviewed": "500 most suspect rows corrected",
    "clean": "clean: right labels",
}
_FORMS = {"all": "all", "open": "open", "yes_no": "yes or no", "choice": "choice of four"}


def section(report: dict[str, Any]) -> str:
    """The Markdown text."""
    return "\n\n".join([_setting(report), *(_level(name, one, report) for name, one in _levels(report))]) + "\n"


def _levels(report: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The most noise first, whatever the order in a file."""
    return sorted(report["levels"].items(), key=lambda item: -item[1]["wrong_labels"])


def _setting(report: dict[str, Any]) -> str:
    part, budget = report["part"], report["budget"]
    rows = report["levels"]["worst"]["rows"]
    return (
        f"{part['pictures']:,} training pictures, from number {part['first']:,} on, are asked about in three forms:"
        f" {rows:,} rows. The test asks in the same forms about {part['test_pictures']:,} test pictures. Every arm is"
        f" trained for {budget['steps']} steps of {budget['batch']} rows with {report['seeds']} seeds. Winnow drops"
        f" where `{report['rule']}`. Intervals are of 95% and paired: test pictures and seeds are drawn"
        " again, the arms of a seed together.\n\n![Accuracy of the arms](../images/label-noise.png)"
    )


def _level(name: str, one: dict[str, Any], report: dict[str, Any]) -> str:
    arms = [arm for arm in _ORDER if arm in one["arms"]]
    heading = ["trained on", "accuracy", "minus dirty, points", "gap won back", *list(_FORMS.values())[1:]]
    lines = [
        [
            _SAYS[arm],
            percent(one["arms"][arm]),
            points(one["minus_dirty"][arm]) if arm in one["minus_dirty"] else "",
            percent(one["won_back"][arm], 0) if arm in one["won_back"] else "",
            *(f"{100 * one['arms'][arm]['kinds'][kind]:.1f}%" for kind in list(_FORMS)[1:]),
        ]
        for arm in arms
    ]
    found = [
        [
            _FORMS[kind],
            f"{of['rows']:,}",
            f"{of['wrong']:.1%}",
            f"{of['auroc']:.3f}",
            *(_found(of[tool]) for tool in ("winnow", "cleanlab")),
        ]
        for kind, of in ((kind, one["found"][kind]) for kind in _FORMS)
    ]
    order, reviewed = one["order"], one["reviewed"]
    against = [f"random rows {points(one['curated_minus_random'])}"]
    if "curated_minus_cleanlab" in one:
        against.append(f"cleanlab {points(one['curated_minus_cleanlab'])}")
    spread = max(of["seed_std"] for of in one["arms"].values())
    return (
        f"### {name.capitalize()} labels: {one['wrong_labels']:.1%} wrong\n\n{table(heading, lines)}\n\n"
        f"Curated minus {', minus '.join(against)} points. Of the {reviewed['rows']} most suspect rows,"
        f" {reviewed['wrong']} are wrong. Seeds of an arm have a standard deviation of {100 * spread:.1f} points at"
        " most.\n\nWhat was dropped: rows · share of them that is wrong · share of the wrong rows that is dropped:\n\n"
        + table(["form", "rows", "wrong", "AUROC of `suspect`", "Winnow", "cleanlab"], found)
        + "\n\nThe labels are those of these pictures: the AUROC of how hard a picture is, by a model that saw right"
        f" labels of other pictures, for a wrong label is {order['auroc']:.3f}; with the labels moved on by 1 to 20"
        f" pictures of the same class it is {order['shifted']:.3f}, at most {order['shifted_most']:.3f}."
    )


def _found(of: dict[str, Any] | None) -> str:
    return "not installed" if of is None else f"{of['dropped']:,} · {of['precision']:.0%} · {of['recall']:.0%}"


def draw(report: dict[str, Any], path: Path) -> None:
    """One panel for each level: accuracy of each arm with its interval, each seed as a dash."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    levels = dict(_levels(report))
    figure, axes = plt.subplots(1, len(levels), figsize=(4.6 * len(levels), 3.2), squeeze=False)
    for axis, (name, one) in zip(axes[0], levels.items(), strict=True):
        arms = [arm for arm in _ORDER if arm in one["arms"]]
        for at, arm in enumerate(arms):
            of = one["arms"][arm]
            colour = {"dirty": "#D55E00", "curated": "#0072B2", "clean": "#009E73"}.get(arm, "#666666")
            value, low, high = (100 * of[key] for key in ("value", "low", "high"))
            axis.errorbar(at, value, [[value - low], [high - value]], fmt="o", color=colour, capsize=5)
            axis.plot([at + 0.2] * len(of["seeds"]), [100 * seed for seed in of["seeds"]], "_", color=colour)
        axis.set_xticks(range(len(arms)), arms, fontsize=8)
        axis.set_title(f"{name} labels: {one['wrong_labels']:.1%} wrong", fontsize=10)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("right answers, %")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
