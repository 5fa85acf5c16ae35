"""What a leak does to a score: VQA-RAD, whose 203 test radiographs are all in the training set.

    git clone https://github.com/longle0702/med-v2qa
    python -m studies.leak --vqa-rad med-v2qa/data_RAD --out data/studies/leak --docs

VQA-RAD (https://osf.io/89kps, CC0 1.0) is 314 radiographs with questions of clinicians; the repository has the split of
3,064 and 451 rows that many papers use. `curate run` finds the leak. A small model (``studies.small_vlm``) is trained
on the yes/no questions of all rows, of what curation keeps, and of as many random rows, and asked the 251 yes/no
questions of the test.

No test picture is without a leak, so the contrast is made: each seed cuts the test pictures into two halves at random.
One training holds the first half from all its rows, one the second. So each test question is answered by a model that
saw its picture in training and by one that did not, both from as many pictures. The difference is the inflation.

Three conclusions that a reviewer may draw from the test are drawn twice, on pictures that leaked and on pictures that
did not: that the model looks at the picture (against one that is given no picture), that longer training is better, and
that curation hurts (against as many random rows). They were written down before anything was scored on the test.

Intervals are 95%, bootstrapped over pictures and seeds at once; compared models answer the same questions and share
seeds. A killed run goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow.parquet as pq
import typer
from numpy.typing import NDArray

from curate.pipeline import run
from curate.recipe import CurateRecipe
from curate.settings.copies import ContaminationSettings
from curate.settings.sources import SourceSettings
from curate.workspace import Workspace
from evalsuite.statistics.resampling import LEVEL, REPLICATES, Floats, cluster_codes, percentiles, resample, sums_by
from studies.pooled import write_tables
from studies.small_vlm import BATCH, VERSION, Asked, Words, features_of, losses, train, vocabulary_of, words_of
from winnow import console
from winnow.errors import UserError
from winnow.files import digest_of, write_json

PAGE, RESULTS, FIGURE = Path("docs/results/leak.md"), Path("studies/results/leak.json"), Path("docs/images/leak.png")
EPOCHS, EARLY = 15, 4
YES, NO = ("yes",), ("no",)
SAME_WORDS = 0.5  # share of common words from which two questions count as alike
# Copies of equal content; edits are not sought, for the page says why.
KINDS = {"exact": "drop", "re-encoded": "drop", "resized": "drop"}
EDITS = ("toned", "brighter", "cropped", "framed", "overlaid", "mirrored", "turned")


@dataclass(frozen=True)
class Data:
    """VQA-RAD's yes/no questions.

    Attributes:
        pictures: names of the files, sorted; questions refer to them by number.
        rows, test: training rows and test questions.
        leaked: (rows,) number of the test picture that curation found in the row, or -1.
        counts: of all rows, questions of other kinds included.
    """

    pictures: tuple[str, ...]
    rows: tuple[Asked, ...]
    test: tuple[Asked, ...]
    leaked: NDArray[np.int64]
    counts: dict[str, int]


app = console.new_app(single_command=True)


@app.command()
def main(
    vqa_rad: Annotated[Path, typer.Option(help="Folder with trainset.json, testset.json and images.")],
    out: Annotated[Path, typer.Option(help="Folder of what is kept.")] = Path("data/studies/leak"),
    seeds: Annotated[int, typer.Option(help="Trainings of each arm.", min=2)] = 3,
    docs: Annotated[bool, typer.Option("--docs", help=f"Write {RESULTS}, {FIGURE} and the tables of {PAGE}.")] = False,
) -> None:
    """Curate, train, score, and print what a leak does to a score; docs/results/leak.md says how."""
    data = read(vqa_rad, out)
    answers = answered(data, pictures_of(data, vqa_rad, out), out, range(seeds))
    found = analysed(data, answers, seeds)
    if docs:
        write_json(RESULTS, found)
        draw(found, FIGURE)
    write_tables(PAGE, tables_of(found), docs=docs)


def read(folder: Path, out: Path) -> Data:
    """Curate the training set against the test set, and take the yes/no questions of both.

    Raises:
        UserError: the folder is not VQA-RAD's.
    """
    for name in ("trainset.json", "testset.json", "images"):
        if not (folder / name).exists():
            raise UserError(
                f"{folder / name}: is not there; get VQA-RAD (CC0 1.0) by `git clone"
                " https://github.com/longle0702/med-v2qa` and name its folder data_RAD"
            )
    sources = {name: SourceSettings(location=str(folder / f"{name}.json"), image_root=str(folder / "images"))
               for name in ("trainset", "testset")}  # fmt: skip
    kinds: dict[Any, Any] = {**KINDS, **dict.fromkeys(EDITS, "ignore")}
    against = ContaminationSettings(against=[sources["testset"]], kinds=kinds)
    recipe = CurateRecipe(name="leak", out=out / "curated", sources=[sources["trainset"]], contamination=against)
    run(recipe, "studies/leak.py")
    workspace = Workspace(out / "curated")
    table = pq.read_table(workspace.samples_table, columns=["sample_id", "images", "question", "answer", "decision"])
    matches = pq.read_table(workspace.contamination, columns=["sample_id", "evaluation_path", "dropped"]).to_pylist()
    matched = {match["sample_id"]: match["evaluation_path"] for match in matches if match["dropped"]}
    every = table.to_pylist()
    test = json.loads((folder / "testset.json").read_text(encoding="utf-8"))
    names = sorted({row["images"][0] for row in every} | {row["image_name"] for row in test})
    number = {name: at for at, name in enumerate(names)}
    rows, leaked = [], []
    for row in every:
        one = Asked(number[row["images"][0]], words_of(row["question"]), words_of(row["answer"]))
        if one.answer in (YES, NO):
            rows.append(one)
            leaked.append(number.get(matched.get(row["sample_id"], ""), -1))
    asked = [Asked(number[row["image_name"]], words_of(row["question"]), words_of(str(row["answer"]))) for row in test]
    counts = {
        "rows": len(every),
        "rows_dropped": sum(row["decision"] == "drop" for row in every),
        "test_rows": len(test),
        "test_pictures": len({row["image_name"] for row in test}),
        "test_pictures_in_train": len(set(matched.values())),
    }
    yes_no = tuple(one for one in asked if one.answer in (YES, NO))
    return Data(tuple(names), tuple(rows), yes_no, np.array(leaked), counts)


def pictures_of(data: Data, folder: Path, out: Path) -> NDArray[np.float32]:
    """The features of the pictures; they are read once and kept in ``out``."""
    kept = out / f"features-{digest_of(data.pictures)[:8]}.npy"
    if not kept.is_file():
        np.save(kept, features_of([folder / "images" / name for name in data.pictures]))
    return np.asarray(np.load(kept), np.float32)


def arms_of(data: Data, seed: int) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.bool_]]:
    """The training rows of each arm, and (test,) whether a question's picture is in the first half of the test.

    Curation's rows are those without a match; ``half 0`` may have rows that match the first half of the test pictures
    and none that match the second.
    """
    rng = np.random.default_rng([seed, 22])
    tested = sorted({one.picture for one in data.test} | set(data.leaked[data.leaked >= 0].tolist()))
    first = set(rng.permutation(tested)[: (len(tested) + 1) // 2].tolist())
    in_first = np.array([picture in first for picture in data.leaked.tolist()])
    every, clean = np.arange(len(data.rows)), data.leaked < 0
    arms = {
        "all": every,
        "curated": every[clean],
        "half 0": every[clean | in_first],
        "half 1": every[clean | ~in_first],
    }
    size = int(clean.sum())
    for name in ("all", "half 0", "half 1"):
        arms[f"random of {name}"] = np.sort(rng.permutation(arms[name])[:size])
    return arms, np.array([one.picture in first for one in data.test])


BLIND = ("all", "curated")  # arms that are also trained without pictures


def answered(
    data: Data, features: NDArray[np.float32], out: Path, seeds: Sequence[int]
) -> dict[tuple[int, str, str], NDArray[np.float64]]:
    """(seed, arm, 'early' or 'end') → (test,) 1.0 where the answer is right, of every training.

    What is done already comes from ``out``. A model says yes where it gives "yes" a lower loss than "no".
    """
    vocabulary = vocabulary_of(data.rows)
    right = np.array([one.answer == YES for one in data.test])
    kept = out / f"answers-{digest_of([VERSION, EPOCHS, EARLY, data.counts])[:8]}.jsonl"
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.is_file() else []
    done = {(line["seed"], line["arm"]): line for line in map(json.loads, lines)}
    with kept.open("a", encoding="utf-8") as file:
        for seed in seeds:
            arms, _ = arms_of(data, seed)
            wanted = [(name, rows, features) for name, rows in arms.items()]
            wanted += [(f"{name}, blind", arms[name], np.zeros_like(features)) for name in BLIND]
            for name, rows, seen in wanted:
                if (seed, name) in done:
                    continue
                some = [data.rows[row] for row in rows]
                steps = [epochs * -(-len(some) // BATCH) for epochs in (EARLY, EPOCHS)]
                line: dict[str, Any] = {"seed": seed, "arm": name, "rows": len(some)}
                for when, model in zip(
                    ("early", "end"), train(some, seen, vocabulary, seed=seed, steps=steps), strict=True
                ):
                    yes, no = (losses(model, _with(data.test, answer), seen, vocabulary) for answer in (YES, NO))
                    line[when] = ((yes < no) == right).astype(int).tolist()
                done[seed, name] = line
                file.write(json.dumps(line) + "\n")
                file.flush()
                print(f"seed {seed}, {name}: {np.mean(line['end']):.3f}", flush=True)
    return {
        (seed, name, when): np.array(line[when], np.float64)
        for (seed, name), line in done.items() if seed in seeds
        for when in ("early", "end")
    }  # fmt: skip


def _with(rows: Sequence[Asked], answer: Words) -> list[Asked]:
    return [Asked(row.picture, row.question, answer) for row in rows]


def analysed(data: Data, answers: dict[tuple[int, str, str], NDArray[np.float64]], seeds: int) -> dict[str, Any]:
    """Scores, inflation and the three conclusions, each with its interval."""

    def of(arm: str, when: str = "end") -> Floats:
        return np.stack([answers[seed, arm, when] for seed in range(seeds)])

    in_first = np.stack([arms_of(data, seed)[1] for seed in range(seeds)])

    def halves(prefix: str, *, leaked: bool, when: str = "end") -> Floats:
        return np.where(in_first == leaked, of(f"{prefix}half 0", when), of(f"{prefix}half 1", when))

    pictures = cluster_codes([one.picture for one in data.test])
    alike = asked_alike(data)
    held, leaked = halves("", leaked=False), halves("", leaked=True)
    scores = {
        "all rows": of("all"),
        "random rows, as many as curated": of("random of all"),
        "curated": of("curated"),
        "half of the test pictures leaked: those": leaked,
        "half of the test pictures leaked: the others": held,
        "all rows, no picture given": of("all, blind"),
        "curated, no picture given": of("curated, blind"),
    }
    differences = {
        "inflation: leaked minus held picture": (leaked, held, None),
        "the same, questions like one of training left out": (leaked, held, ~alike),
        "all rows minus curated": (of("all"), of("curated"), None),
        "as many random rows minus curated": (of("random of all"), of("curated"), None),
    }
    conclusions = {
        "the model looks at the picture: with minus without it": (
            (of("all"), of("all, blind")), (of("curated"), of("curated, blind")),
        ),
        f"longer training is better: {EPOCHS} minus {EARLY} epochs": (
            (leaked, halves("", leaked=True, when="early")), (held, halves("", leaked=False, when="early")),
        ),
        "curation hurts: as many random rows minus curated": (
            (of("random of all"), of("curated")), (halves("random of ", leaked=False), of("curated")),
        ),
    }  # fmt: skip
    sizes = {name: len(rows) for name, rows in arms_of(data, 0)[0].items()}
    return {
        "counts": data.counts | {
            "yes_no_rows": len(data.rows), "yes_no_test": len(data.test), "seeds": seeds,
            "yes_no_test_pictures": int(pictures.max()) + 1, "asked_alike": int(alike.sum()),
        },
        "rows_of_arms": sizes,
        "most_frequent_answer": float(max(np.mean([one.answer == said for one in data.test]) for said in (YES, NO))),
        "scores": {name: mean_of(right, pictures) for name, right in scores.items()},
        "differences": {
            name: mean_of((one - other)[:, kept], pictures[kept])
            for name, (one, other, mask) in differences.items()
            for kept in [np.ones(len(pictures), bool) if mask is None else mask]
        },
        "conclusions": {
            name: {"leaked": mean_of(seen[0] - seen[1], pictures), "not_leaked": mean_of(true[0] - true[1], pictures)}
            for name, (seen, true) in conclusions.items()
        },
    }  # fmt: skip


def asked_alike(data: Data) -> NDArray[np.bool_]:
    """(test,) whether a training row asks the same picture a question with half or more of the words in common."""
    by_picture: dict[int, list[set[str]]] = {}
    for row in data.rows:
        by_picture.setdefault(row.picture, []).append(set(row.question))
    return np.array([
        any(len(words & other) >= SAME_WORDS * len(words | other) for other in by_picture.get(one.picture, []))
        for one in data.test for words in [set(one.question)]
    ])  # fmt: skip


def mean_of(values: Floats, pictures: NDArray[np.int64]) -> dict[str, Any]:
    """Mean of ``values`` (seeds, questions) with its interval over pictures and seeds, and the mean of each seed.

    The mean of k seeds drawn from k varies too little, by a factor of sqrt((k-1)/k); this is corrected.
    """
    codes = np.unique(pictures, return_inverse=True)[1]
    sums = sums_by(codes, int(codes.max()) + 1, np.column_stack([values.T, np.ones(len(codes))]))
    generator, count = np.random.default_rng(1), len(values)

    def estimate(totals: Floats) -> Floats:
        each = totals[:, :-1] / totals[:, -1:]
        mean = each.mean(1)
        if count == 1:
            return np.asarray(mean)
        drawn = np.take_along_axis(each, generator.integers(0, count, each.shape), axis=1).mean(1)
        return np.asarray(mean + np.sqrt(count / (count - 1)) * (drawn - mean))

    low, high = percentiles(resample(sums, estimate, 0, REPLICATES), LEVEL)
    return {"mean": float(values.mean()), "low": low, "high": high, "seeds": [float(one) for one in values.mean(1)]}


def tables_of(found: dict[str, Any]) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Header and rows of each table of the page."""

    def points(one: dict[str, Any]) -> str:
        return f"{100 * one['mean']:+.1f} ({100 * one['low']:+.1f} to {100 * one['high']:+.1f})"

    def share(one: dict[str, Any]) -> str:
        return f"{100 * one['mean']:.1f}% ({100 * one['low']:.1f} to {100 * one['high']:.1f})"

    return {
        "scores": (["trained on", "right of the test's yes/no questions"],
                   [[name, share(one)] for name, one in found["scores"].items()]),
        "differences": (["difference", "points"], [[name, points(one)] for name, one in found["differences"].items()]),
        "conclusions": (
            ["conclusion", "points on leaked pictures", "points on pictures never seen"],
            [[name, points(one["leaked"]), points(one["not_leaked"])] for name, one in found["conclusions"].items()],
        ),
    }  # fmt: skip


def draw(found: dict[str, Any], path: Path) -> None:
    """The three conclusions on leaked pictures and on others, in points with intervals."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    pairs = {"the same models": (found["scores"]["half of the test pictures leaked: those"],
                                 found["scores"]["half of the test pictures leaked: the others"])}  # fmt: skip
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), width_ratios=(1, 3))
    shown = {name.partition(":")[0]: (one["leaked"], one["not_leaked"]) for name, one in found["conclusions"].items()}
    for axis, groups in ((left, pairs), (right, shown)):
        for at, both in enumerate(groups.values()):
            for move, color, one in zip((-0.12, 0.12), ("#D55E00", "#0072B2"), both, strict=True):
                height = 100 * one["mean"]
                bounds = [[height - 100 * one["low"]], [100 * one["high"] - height]]
                axis.errorbar(at + move, height, bounds, fmt="o", color=color, capsize=5)
        axis.set_xticks(range(len(groups)), [name.replace(" is ", " is\n").replace(" at ", "\nat ") for name in groups])
        axis.set_xlim(-0.5, len(groups) - 0.5)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    left.axhline(100 * found["most_frequent_answer"], color="grey", linestyle=":")
    left.set_ylabel("right, %")
    right.axhline(0, color="grey", linewidth=0.8)
    right.set_ylabel("points in favour")
    right.plot([], [], "o", color="#D55E00", label="pictures that leaked")
    right.plot([], [], "o", color="#0072B2", label="pictures never seen")
    right.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    console.run(app)
