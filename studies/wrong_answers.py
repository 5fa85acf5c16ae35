"""How well wrong answers are found: by pictures alone, by picture gain, and by their combination.

`digits` takes the handwritten digits that scikit-learn ships and mislabels 5 to 20% of them, at random or as people
do (3 for 8, 1 for 7 …), and compares with cleanlab on the same features and folds. cleanlab is AGPL and no dependency:
`pip install cleanlab` to have its column.

`gains` takes the demo's data with its injected wrong answers and files of `finetune score`.

    python -m studies.wrong_answers digits
    python -m studies.wrong_answers calibration
    python -m studies.wrong_answers cost
    python -m studies.wrong_answers sample data/curated/demo-noisy data/raw/demo/score.jsonl
    python -m studies.wrong_answers gains tuned=tuned.parquet base=base.parquet
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow.parquet as pq
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits

from curate.answers.components import project
from curate.answers.confidence import FOLDS, Confidence, fit, judge
from curate.answers.neighbours import unit
from curate.answers.suspects import Signals, evidence, suspect
from winnow import console
from winnow.demo.truth import added_answers, ranking

app = console.new_app(__doc__)
_NEIGHBOURS = 20
_TRUTH = Path("data/raw/demo/truth.parquet")
# What people take a digit for.
_CONFUSED = {0: (6,), 1: (7, 8), 2: (7, 3), 3: (8, 5), 4: (9,), 5: (3, 6), 6: (0, 8), 7: (1, 9), 8: (3, 1), 9: (4, 7)}


def mislabelled(right: NDArray[np.int64], share: float, seed: int, *, like_people: bool) -> NDArray[np.int64]:
    """The labels with a share of them wrong: any other digit, or one that people confuse it with."""
    rng = np.random.default_rng(seed)
    given = right.copy()
    for row in rng.permutation(len(right))[: round(share * len(right))].tolist():
        others = _CONFUSED[int(right[row])] if like_people else [n for n in range(10) if n != right[row]]
        given[row] = rng.choice(others)
    return given


def of_pictures(found: Confidence) -> dict[str, NDArray[np.float64]]:
    """The evidence of a set that has pictures only, by signal, and ``suspect``."""
    none = np.full(len(found.model), np.nan)
    nats = evidence(Signals(found.neighbours_against, found.model_against, none, none, none, none, none, none))
    return {"neighbours": nats["neighbours"], "model": nats["model"], "suspect": suspect(nats)[0]}


def by_cleanlab(vectors: NDArray[np.float32], given: NDArray[np.int64], folds: NDArray[np.int64]) -> dict[str, Any]:
    """cleanlab's scores, higher is more suspect, from the same out-of-fold probabilities; empty if not installed."""
    if importlib.util.find_spec("cleanlab") is None:
        return {}
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    probabilities = np.zeros((len(given), 10))
    for fold in range(FOLDS):
        asked = folds == fold
        probabilities[asked] = fit(vectors[~asked], given[~asked])(vectors[asked], 10)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    scores = {
        f"cleanlab {method}": -get_label_quality_scores(given, probabilities, method=method)
        for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
    }
    own = scores["cleanlab self_confidence"]
    issues = find_label_issues(given, probabilities, n_jobs=1)
    return {**scores, "cleanlab find_label_issues": np.where(issues, 1 + own, own)}


@app.command()
def digits(seeds: Annotated[int, typer.Option(help="Draws of wrong labels; figures are their mean.")] = 5) -> None:
    """AUROC and average precision on digits with wrong labels, beside cleanlab on the same features and folds."""
    data = load_digits()
    vectors, right = unit(data.data.astype(np.float32)), data.target.astype(np.int64)
    rank = np.arange(len(right), dtype=np.uint64)
    for like_people in (False, True):
        for share in (0.05, 0.1, 0.2):
            figures: dict[str, list[dict[str, float]]] = {}
            for seed in range(seeds):
                given = mislabelled(right, share, seed, like_people=like_people)
                folds = np.random.default_rng(seed).integers(0, FOLDS, len(right))
                scores = of_pictures(judge(lambda rows: vectors[rows], given, folds, rank, _NEIGHBOURS))
                for name, score in (scores | by_cleanlab(vectors, given, folds)).items():
                    figures.setdefault(name, []).append(ranking(score, given != right))
            show(f"{share:.0%} wrong, {'like people' if like_people else 'any other digit'}", figures)


@app.command()
def calibration() -> None:
    """Share of wrong labels by `suspect`, on digits of which 5% are mislabelled as people do."""
    data = load_digits()
    vectors, right = unit(data.data.astype(np.float32)), data.target.astype(np.int64)
    given = mislabelled(right, 0.05, 0, like_people=True)
    folds = np.random.default_rng(0).integers(0, FOLDS, len(right))
    judged = judge(lambda rows: vectors[rows], given, folds, np.arange(len(right), dtype=np.uint64), _NEIGHBOURS)
    score = of_pictures(judged)["suspect"]
    table = Table("suspect", "rows", "mean", "wrong", title="5% wrong, like people", title_justify="left")
    for low, high in ((0, 0.01), (0.01, 0.05), (0.05, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.01)):
        inside = (score >= low) & (score < high)
        if inside.any():
            wrong = (given != right)[inside].mean()
            table.add_row(f"{low}–{min(high, 1)}", f"{inside.sum():,}", f"{score[inside].mean():.3f}", f"{wrong:.3f}")
    Console().print(table)


@app.command()
def cost(rows: Annotated[int, typer.Option(help="Rows that ask one question.")] = 20_000) -> None:
    """CPU seconds to judge made-up pictures of 512 numbers in 20 clusters."""
    rng = np.random.default_rng(0)
    answers, rank = rng.integers(0, 20, rows), np.arange(rows, dtype=np.uint64)
    centres = rng.normal(size=(20, 512)).astype(np.float32)
    with tempfile.TemporaryFile() as made, tempfile.TemporaryFile() as file:
        for start in range(0, rows, 8192):
            some = centres[answers[start : start + 8192]]
            made.write(unit(some + rng.normal(0, 3, some.shape).astype(np.float32)).astype(np.float16).tobytes())
        made.flush()
        begun = time.process_time()
        pictures = project(np.memmap(made, np.float16, "r", shape=(rows, 512)), rank, 128, file)
        folds = rng.integers(0, FOLDS, rows)
        judge(lambda some: unit(np.asarray(pictures[some], np.float32)), answers, folds, rank, _NEIGHBOURS)
        Console().print(f"{rows:,} rows: {time.process_time() - begun:.1f} CPU s")


def show(title: str, figures: dict[str, list[dict[str, float]]]) -> None:
    """Print the mean figures of each score."""
    table = Table("by", "AUROC", "average precision", "recall at 90% precision", title=title, title_justify="left")
    for name, draws in figures.items():
        means = [np.mean([draw[key] for draw in draws]) for key in _FIGURES]
        table.add_row(name, *(f"{mean:.3f}" for mean in means))
    Console().print(table)


_FIGURES = ("roc_auc", "average_precision", "recall_at_90_precision")


@app.command()
def sample(
    curated: Annotated[Path, typer.Argument(help="A curation of the demo that keeps its wrong answers.")],
    out: Annotated[Path, typer.Argument(help="JSON lines to write, in the folder that image paths start from.")],
    wrong: Annotated[int, typer.Option(help="Rows with a wrong answer.")] = 500,
    right: Annotated[int, typer.Option(help="Other rows.")] = 1000,
    truth: Annotated[Path, typer.Option(help="The truth about the demo's data.")] = _TRUTH,
) -> None:
    """Draw rows of the demo to score, with a seed: AUROC does not depend on their proportion."""
    known = pq.read_table(truth).to_pylist()
    is_wrong = {row["sample_id"] for row in known if row["defect"] == "wrong_answer"}
    neutral = added_answers(known)
    lines = {json.loads(line)["id"]: line for line in (curated / "samples.jsonl").open(encoding="utf-8")}
    rng = np.random.default_rng(0)
    bad, good = sorted(is_wrong & lines.keys()), sorted(lines.keys() - is_wrong - neutral)
    chosen = {*rng.permutation(bad)[:wrong].tolist(), *rng.permutation(good)[:right].tolist()}
    out.write_text("".join(line for key, line in lines.items() if key in chosen), encoding="utf-8")


@app.command()
def gains(
    files: Annotated[list[str], typer.Argument(metavar="NAME=FILE", help="Files of `finetune score`.")],
    truth: Annotated[Path, typer.Option(help="The truth about the demo's data.")] = _TRUTH,
) -> None:
    """AUROC of picture gain and loss for the demo's injected wrong answers; extra contradictory rows are left out."""
    known = pq.read_table(truth).to_pylist()
    wrong = {row["sample_id"] for row in known if row["defect"] == "wrong_answer"}
    neutral = added_answers(known)
    for named in files:
        name, _, file = named.partition("=")
        rows = [row for row in pq.read_table(file).to_pylist() if row["sample_id"] not in neutral]
        rows = [row for row in rows if row["picture_gain"] is not None]
        positive = np.array([row["sample_id"] in wrong for row in rows])
        figures = {
            what: [ranking(sign * np.array([row[column] for row in rows]), positive)]
            for what, column, sign in (
                ("picture gain", "picture_gain", -1), ("loss", "loss", 1), ("loss without", "loss_without", 1),
            )
        }  # fmt: skip
        show(f"{name}: {positive.sum()} wrong of {len(rows)}", figures)


if __name__ == "__main__":
    console.run(app)
