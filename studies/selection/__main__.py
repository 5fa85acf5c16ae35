"""Is a chosen part of a set better than a random one? ``make proof STUDY=selection``.

It uses the pictures, features and model of ``studies.label_noise``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from curate.selection.select import select
from studies.label_noise.cifar import CLASSES, HOW_TO_GET, Labels, read_cifar
from studies.label_noise.questions import KINDS
from studies.label_noise.reader import Budget, Known, Lab
from studies.label_noise.sets import REPORT, Row, decisions, make_sets
from studies.label_noise.settings import LEVEL_OF_SELECTION, RULES
from studies.paired import accuracy, difference
from studies.sections import put
from studies.selection.mixture import REPEATED, REPEATS, SKEW, curated, mixture
from studies.selection.report import FIGURE, PAGE, STRATEGIES, draw, section
from winnow import console
from winnow.files import write_json, write_text

HERE = Path("studies/selection/results")
BUDGETS = ("20%", "50%")
app = console.new_app(single_command=True)


@app.command()
def main(
    data: Annotated[Path, typer.Option(envvar="CIFAR_N", help=f"Folder of pictures and labels; {HOW_TO_GET}.")] = Path(
        "data/raw/cifar-n"
    ),
    out: Annotated[Path, typer.Option(help="Folder of the results; small files.")] = HERE,
    cache: Annotated[
        Path, typer.Option(help="Folder of sets, features and trainings, shared with label_noise.")
    ] = Path("data/cache/label_noise"),
    seeds: Annotated[int, typer.Option(min=2, help="Draws and trainings of each strategy.")] = 5,
    docs: Annotated[bool, typer.Option("--docs", help=f"Put text and figure into {PAGE}.")] = False,
) -> None:
    """Train on 20% and 50% of a skewed mixture, chosen by each strategy of ``curate select``, and on random rows.

    Every training is kept: after an interruption the same command goes on.
    """
    pictures = read_cifar(data)
    sets = make_sets(pictures, REPORT, cache / REPORT.name, RULES)
    given = sets.given[LEVEL_OF_SELECTION]
    lab = Lab(cache / "selection/arms", Known(sets.vectors, [*given, *sets.test]), sets.test, Budget(steps=300))
    rows = mixture(pictures, REPORT, given)
    folder = curated(pictures, rows, sets.folders[LEVEL_OF_SELECTION], lab, cache / "selection")
    wrong_ids = {row.id for row, wrong in zip(given, sets.wrong(LEVEL_OF_SELECTION), strict=True) if wrong}
    every = np.ones(len(rows), bool)
    whole = np.stack([lab.arm("all", rows, every, seed) for seed in range(seeds)])
    report: dict[str, Any] = {
        "rows": len(rows),
        "pictures": len({row.picture for row in rows}),
        "skew": SKEW,
        "repeated": REPEATED,
        "repeats": REPEATS,
        "wrong": float(np.mean([_plain(row.id) in wrong_ids for row in rows])),
        "seeds": seeds,
        "steps": lab.budget.steps,
        "batch": lab.budget.batch,
        "all": accuracy(whole, lab.pictures),
        "budgets": {},
    }
    for budget in BUDGETS:
        right: dict[str, list[np.ndarray]] = {}
        facts: dict[str, list[dict[str, float]]] = {}
        for seed in range(seeds):
            for name, (strategy, columns, per) in STRATEGIES.items():
                at = cache / "selection/chosen" / f"{name.replace(' ', '-')}-{budget.rstrip('%')}-{seed}"
                if not (at / "manifest.json").is_file():
                    select(folder, budget, strategy, at, columns=columns, per=per, seed=seed)
                chosen = decisions(at)
                kept = np.array([chosen[row.id] for row in rows])
                right.setdefault(name, []).append(lab.arm(f"{name}-{budget}", rows, kept, seed))
                chosen_rows = [row for row, taken in zip(rows, kept, strict=True) if taken]
                facts.setdefault(name, []).append(facts_of(chosen_rows, wrong_ids, pictures.clean))
        stacked = {name: np.stack(runs) for name, runs in right.items()}
        report["budgets"][budget] = {
            name: {
                **accuracy(runs, lab.pictures),
                "minus_random": None if name == "random" else difference(stacked, lab.pictures, "random", name),
                **{what: float(np.mean([fact[what] for fact in facts[name]])) for what in facts[name][0]},
            }
            for name, runs in stacked.items()
        }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "results.json", report)
    draw(report, FIGURE if docs else out / FIGURE.name)
    text = section(report)
    write_text(out / "section.md", text)
    if docs:
        put(PAGE, "selection", text)
    print(text)


def facts_of(rows: Sequence[Row], wrong: set[str], clean: Labels) -> dict[str, float]:
    """What a choice consists of: pictures a row, wrong answers, forms of question, share of the rarest class."""
    classes = np.bincount(clean[[row.picture for row in rows]], minlength=len(CLASSES))
    return {
        "pictures_a_row": len({row.picture for row in rows}) / len(rows),
        "wrong": float(np.mean([_plain(row.id) in wrong for row in rows])),
        **{kind: float(np.mean([row.kind == kind for row in rows])) for kind in KINDS},
        "rarest": float(classes.min() / len(rows)),
    }


def _plain(name: str) -> str:
    """The id of the row that a repeated one repeats: source/split/picture/form."""
    return "/".join(name.split("/")[:4])


if __name__ == "__main__":
    console.run(app)
