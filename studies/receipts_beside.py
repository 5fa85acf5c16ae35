"""Swapped totals and dates of receipts: OCR beside conflicts alone and beside a model's loss alone.

    python -m studies.receipts_beside --sroie FOLDER --out data/studies/receipts --limit 110 --docs

Of every field a tenth of the answers of all receipts is replaced by that of another receipt, in five draws. All three
ways judge the rows of the same receipts, those that `studies.receipts` reads by OCR (``--limit``, ``--out`` as there):

- **OCR**: `ocr_contradiction` of at least 0.7, which was set before any receipt was read;
- **conflicts**: `conflicting` of `curate run` over the swapped rows: another answer to the same question about the same
  picture or a near copy of it;
- **loss**: the small model of `studies.small_vlm`, trained on all swapped rows, gives each of them a loss with its
  picture and without: the most suspect tenth by loss, and by picture gain (the loss without the picture minus that with
  it), is what is judged. Its tower was made for photographs and sees 224 × 224 pixels, in which no letter of a receipt
  can be read: it is what a small model says, not what a large one would.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow.parquet as pq
import typer
from numpy.typing import NDArray

from curate.pipeline import run
from curate.recipe import CurateRecipe
from curate.settings.copies import DuplicateSettings
from curate.settings.sources import SourceSettings
from studies.pooled import write_tables
from studies.receipts import FIXED, QUESTIONS, SHARE, Row, judge, names_of, read, rows_of, same_value
from studies.small_vlm import BATCH, VERSION, Asked, features_of, losses, train, vocabulary_of, words_of
from winnow import console
from winnow.demo.truth import ranking
from winnow.files import digest_of, write_json, write_text

PAGE, RESULTS = Path("docs/results/receipts.md"), Path("studies/results/receipts.json")
DRAWS, EPOCHS = 5, 8


app = console.new_app(single_command=True)


@app.command()
def main(
    sroie: Annotated[Path, typer.Option(help="A clone of ICDAR-2019-SROIE.")],
    out: Annotated[Path, typer.Option(help="Folder of what is kept.")] = Path("data/studies/receipts"),
    limit: Annotated[int | None, typer.Option(help="Receipts that are read by OCR; all without it.")] = None,
    docs: Annotated[bool, typer.Option("--docs", help=f"Write {RESULTS} and the table of {PAGE}.")] = False,
) -> None:
    """Swap a tenth of the answers, judge the rows in three ways, and print recall and precision of each.

    A killed run goes on where it stopped.
    """
    data = sroie / "data"
    names = names_of(data)
    texts = read(data, names[:limit], out)
    every = rows_of(data, names)
    features = pictures_of(data, names, out)
    judged = np.array([row[0] in texts for row in every])
    figures: dict[str, list[dict[str, float]]] = {}
    for seed in range(DRAWS):
        rows, wrong = swapped_rows(every, seed)
        few = [row for row, kept in zip(rows, judged, strict=True) if kept]
        by_ocr = np.array([judge(row, texts) for row in few])
        by_conflict = conflicting(data, few, out)
        kept = out / f"losses-{digest_of([VERSION, EPOCHS, rows])[:8]}.npy"
        if not kept.is_file():
            np.save(kept, by_model(rows, names, features, seed))
        by_loss, by_gain = np.load(kept)
        truth = wrong[judged]
        acted = {
            "OCR": (by_ocr, by_ocr >= FIXED),
            "conflicts": (by_conflict.astype(float), by_conflict),
            "loss": (by_loss[judged], most(by_loss[judged])),
            "picture gain": (-by_gain[judged], most(-by_gain[judged])),
        }
        for name, (score, flagged) in acted.items():
            figures.setdefault(name, []).append(of_draw(score, flagged, truth))
    found = {name: {key: [one[key] for one in draws] for key in draws[0]} for name, draws in figures.items()}
    if docs:
        counts = {"receipts": len(texts), "rows": int(judged.sum()), "trained_rows": len(every), "draws": DRAWS}
        write_json(RESULTS, {"counts": counts, "beside": found})
    write_tables(PAGE, {"beside": table_of(found)}, docs=docs)


def swapped_rows(rows: Sequence[Row], seed: int) -> tuple[list[Row], NDArray[np.bool_]]:
    """The rows with a tenth of each field's answers replaced by that of another receipt, and which ones."""
    rng = random.Random(seed)
    made, wrong = list(rows), np.zeros(len(rows), bool)
    for field in QUESTIONS:
        places = [at for at, row in enumerate(rows) if row[1] == field]
        for at in rng.sample(places, round(SHARE * len(places))):
            answer = rows[at][2]
            while same_value(answer, rows[at][2]):
                answer = rows[rng.choice(places)][2]
            made[at], wrong[at] = (rows[at][0], field, answer), True
    return made, wrong


def conflicting(data: Path, rows: Sequence[Row], out: Path) -> NDArray[np.bool_]:
    """(n,) whether `curate run` finds a row in conflict. Pictures are measured once for all draws."""
    source = out / "swapped.jsonl"
    lines = [
        {"id": f"{name}-{field}", "image": f"{name}.jpg", "conversations": [
            {"from": "user", "value": QUESTIONS[field]}, {"from": "assistant", "value": answer}]}
        for name, field, answer in rows
    ]  # fmt: skip
    write_text(source, "".join(json.dumps(line) + "\n" for line in lines))
    folder = out / "conflicts"
    located = SourceSettings(location=str(source), image_root=str(data / "img"))
    run(CurateRecipe(name="receipts", out=folder, sources=[located], duplicates=DuplicateSettings()), "receipts")
    decisions = pq.read_table(folder / "decisions.parquet", columns=["position", "rules"]).sort_by("position")
    return np.array([any(rule["rule"] == "conflicting" for rule in row) for row in decisions["rules"].to_pylist()])


def pictures_of(data: Path, names: Sequence[str], out: Path) -> NDArray[np.float32]:
    """The features of all receipts; they are read once and kept in ``out``."""
    kept = out / "features.npy"
    if not kept.is_file():
        np.save(kept, features_of([data / "img" / f"{name}.jpg" for name in names]))
    return np.asarray(np.load(kept), np.float32)


def by_model(
    rows: Sequence[Row], names: Sequence[str], features: NDArray[np.float32], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n,) loss of each row's answer, and its picture gain, by a model that was trained on the rows."""
    number = {name: at for at, name in enumerate(names)}
    asked = [Asked(number[name], words_of(QUESTIONS[field]), words_of(answer)) for name, field, answer in rows]
    vocabulary = vocabulary_of(asked)
    (model,) = train(asked, features, vocabulary, seed=seed, steps=[EPOCHS * -(-len(asked) // BATCH)])
    seen = losses(model, asked, features, vocabulary)
    return seen, losses(model, asked, np.zeros_like(features), vocabulary) - seen


def most(score: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The tenth with the highest score."""
    flagged = np.zeros(len(score), bool)
    flagged[np.argsort(-score, kind="stable")[: round(SHARE * len(score))]] = True
    return flagged


def of_draw(score: NDArray[np.float64], flagged: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> dict[str, float]:
    """AUROC of the score, recall and precision of what is flagged; precision is 0 where nothing is."""
    found = float((flagged & wrong).sum())
    return {
        "roc_auc": ranking(score, wrong)["roc_auc"],
        "recall": found / float(wrong.sum()),
        "precision": found / float(max(flagged.sum(), 1)),
        "flagged": float(flagged.sum()),
    }


def table_of(found: dict[str, dict[str, list[float]]]) -> tuple[list[str], list[list[str]]]:
    """Means over the draws, and their range."""

    def cell(values: list[float], digits: int = 2) -> str:
        low, high = min(values), max(values)
        mean = f"{np.mean(values):.{digits}f}"
        return mean if low == high else f"{mean} ({low:.{digits}f} to {high:.{digits}f})"

    header = ["by", "flagged", "recall", "precision", "AUROC"]
    rows: list[list[str]] = []
    for name, each in found.items():
        none: dict[str, Any] = {"precision": "–"} if not any(each["flagged"]) else {}
        cells = [cell(each["flagged"], 0), cell(each["recall"]), none.get("precision", cell(each["precision"]))]
        rows.append([name, *cells, cell(each["roc_auc"])])
    return header, rows


if __name__ == "__main__":
    console.run(app)
