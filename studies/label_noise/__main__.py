"""Does curation pay where people labelled real photographs wrongly? ``make proof STUDY=label_noise``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from sklearn.metrics import roc_auc_score

from studies.label_noise.arms import REVIEWED, by_cleanlab, found_by, likely, plans_of, top
from studies.label_noise.cifar import HOW_TO_GET, LEVELS, Cifar, order_evidence, read_cifar
from studies.label_noise.reader import Budget, Known, Lab
from studies.label_noise.report import FIGURE, PAGE, draw, section
from studies.label_noise.sets import REPORT, TUNING, Sets, decisions, make_sets, suspects
from studies.label_noise.settings import RULES
from studies.paired import accuracy, difference, won_back
from studies.sections import put
from winnow import console
from winnow.errors import UserError
from winnow.files import write_json, write_text

HERE = Path("studies/label_noise/results")
app = console.new_app(single_command=True)


@app.command()
def main(
    data: Annotated[Path, typer.Option(envvar="CIFAR_N", help=f"Folder of pictures and labels; {HOW_TO_GET}.")] = Path(
        "data/raw/cifar-n"
    ),
    out: Annotated[Path, typer.Option(help="Folder of the results; small files.")] = HERE,
    cache: Annotated[Path, typer.Option(help="Folder of sets, features and trainings.")] = Path(
        "data/cache/label_noise"
    ),
    seeds: Annotated[int, typer.Option(min=2, help="Trainings of each arm.")] = 10,
    tuning: Annotated[bool, typer.Option("--tuning", help="Use the pictures on which choices were made.")] = False,
    docs: Annotated[bool, typer.Option("--docs", help=f"Put text and figure into {PAGE}.")] = False,
) -> None:
    """Train on photographs as people labelled them, curated by Winnow, pruned by cleanlab, reviewed, and right.

    Every training is kept: after an interruption the same command goes on.
    """
    if importlib.util.find_spec("cleanlab") is None:
        if docs:
            raise UserError(f"{PAGE} compares with cleanlab: pip install cleanlab, or leave out --docs")
        print("cleanlab is not installed: its arm is left out (pip install cleanlab)", file=sys.stderr)
    pictures = read_cifar(data)
    part = TUNING if tuning else REPORT
    sets = make_sets(pictures, part, cache / part.name, RULES)
    first = next(iter(LEVELS))
    known = Known(sets.vectors, [*sets.given[first], *sets.test])
    lab = Lab(cache / part.name / "arms", known, sets.test, Budget())
    right = trained(sets, lab, seeds)
    report = {
        "part": {"pictures": len(part.train), "first": part.train.start, "test_pictures": 10 * len(part.test)},
        "seeds": seeds,
        "budget": vars(lab.budget),
        "rule": RULES["wrong"]["when"],
        "levels": {level: level_report(pictures, sets, level, right[level], lab) for level in LEVELS},
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "results.json", report)
    draw(report, FIGURE if docs else out / FIGURE.name)
    text = section(report)
    write_text(out / "section.md", text)
    if docs:
        put(PAGE, "label_noise", text)
    print(text)


def trained(sets: Sets, lab: Lab, seeds: int) -> dict[str, dict[str, np.ndarray]]:
    """Level → arm → (seeds, questions) 1.0 or 0.0; seed by seed, so that a first comparison is there early."""
    found: dict[str, dict[str, list[np.ndarray]]] = {level: {} for level in LEVELS}
    for seed in range(seeds):
        for level in LEVELS:
            for arm, plan in plans_of(sets, level, seed).items():
                right = lab.arm(f"{level}-{arm}", plan.rows, plan.kept, seed)
                found[level].setdefault(arm, []).append(right)
    return {level: {arm: np.stack(runs) for arm, runs in arms.items()} for level, arms in found.items()}


def level_report(data: Cifar, sets: Sets, level: str, right: dict[str, np.ndarray], lab: Lab) -> dict[str, Any]:
    """Everything about one level of noise."""
    wrong, rows = sets.wrong(level), sets.given[level]
    kinds = np.array([row.kind for row in rows])
    score_of = suspects(sets.folders[level])
    score = np.array([score_of.get(row.id, np.nan) for row in rows])
    kept = decisions(sets.folders[level])
    dropped = np.array([not kept[row.id] for row in rows])
    pruned = by_cleanlab(sets, level)
    numbers = [row.picture for row in rows if row.kind == "open"]
    labels, clean = data.given[level][numbers], data.clean[numbers]
    report: dict[str, Any] = {
        "wrong_labels": float((labels != clean).mean()),
        "wrong_rows": float(wrong.mean()),
        "rows": len(rows),
        "order": order_evidence(likely(sets, numbers, clean), clean, labels),
        "reviewed": {"rows": REVIEWED, "wrong": int(wrong[top(sets, level)].sum())},
        "found": {},
        "arms": {},
        "minus_dirty": {},
        "won_back": {},
    }
    for kind in ("all", *dict.fromkeys(kinds.tolist())):
        of = (kinds == kind) if kind != "all" else np.ones(len(rows), bool)
        judged = of & ~np.isnan(score)
        report["found"][kind] = {
            "rows": int(of.sum()),
            "wrong": float(wrong[of].mean()),
            "auroc": float(roc_auc_score(wrong[judged], score[judged])),
            "winnow": found_by(dropped[of], wrong[of]),
            "cleanlab": found_by(pruned[of], wrong[of]) if pruned is not None else None,
        }
    images = lab.pictures
    for arm, runs in right.items():
        report["arms"][arm] = {
            **accuracy(runs, images),
            "seeds": runs.mean(1).tolist(),
            "seed_std": float(runs.mean(1).std(ddof=1)),
            "kinds": {str(kind): float(runs[:, lab.kinds == kind].mean()) for kind in np.unique(lab.kinds)},
        }
        if arm != "dirty":
            report["minus_dirty"][arm] = difference(right, images, "dirty", arm)
        if arm not in ("dirty", "clean"):
            report["won_back"][arm] = won_back(right, images, "dirty", arm, "clean")
    report["curated_minus_random"] = difference(right, images, "random", "curated")
    if "cleanlab" in right:
        report["curated_minus_cleanlab"] = difference(right, images, "cleanlab", "curated")
    return report


if __name__ == "__main__":
    console.run(app)
