"""Swapped totals and dates of receipts, found by the text in the picture.

``python -m studies.receipts --sroie FOLDER --out data/studies/receipts`` reads the 626 receipts
of ``git clone https://github.com/zzzDavid/ICDAR-2019-SROIE FOLDER``. A killed run goes on where it stopped; ``--limit``
takes the first receipts of a random order. ``--transcripts`` judges by the text that people typed in for the contest in
place of OCR: what a reader of text without faults would give.

Each receipt is asked for its total and its date. A tenth of both answers is replaced by that of another receipt. The
threshold of ``ocr_contradiction`` is chosen on one half (the best F1 there) and measured on the other, for twenty
random halves and swaps. Beside it, at a fixed threshold, the published answers are judged and 50 wrong ones of each
row. ``python -m studies.receipts_beside`` sets conflicts and a model's loss beside it.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image

from curate.answers.ocr import contradiction, dates_in, numbers_in
from curate.signals.ocr import Piece, columns_of, read_text
from winnow import console
from winnow.errors import UserError

QUESTIONS = {"total": "What is the total?", "date": "What is the date?"}
SHARE, REPEATS, FIXED, HALF = 0.1, 20, 0.7, 0.25
MANY = 200  # rows without which halves say nothing
Row = tuple[str, str, str]  # receipt, field, answer
Texts = dict[str, tuple[str, list[int]]]  # receipt → ocr_text, ocr_boxes
_JUDGED: dict[Row, float] = {}  # what was judged already; one run has one text of each receipt


app = console.new_app(single_command=True)


@app.command()
def main(
    sroie: Annotated[Path, typer.Option(help="A clone of ICDAR-2019-SROIE.")],
    out: Annotated[Path, typer.Option(help="Folder of what is kept.")] = Path("data/studies/receipts"),
    limit: Annotated[int | None, typer.Option(help="The first receipts of a random order; all without it.")] = None,
    transcripts: Annotated[bool, typer.Option("--transcripts", help="Judge by the typed text, without OCR.")] = False,
) -> None:
    """Read, swap, judge, print."""
    data = sroie / "data"
    names = names_of(data)[:limit]
    texts = {name: transcript(data, name) for name in names} if transcripts else read(data, names, out)
    rows = rows_of(data, list(texts))
    print(f"{len(texts)} receipts, {len(rows)} rows")
    if len(rows) >= MANY:
        measured = [one_split(rows, texts, seed) for seed in range(REPEATS)]
        for at, label in enumerate(("threshold", "precision", "recall", "recall of totals", "recall of dates", "F1")):
            values = sorted(each[at] for each in measured)
            print(f"{label}: {statistics.mean(values):.3f} ({values[1]:.3f} to {values[-2]:.3f})")
    for field in QUESTIONS:
        of_field = [row for row in rows if row[1] == field]
        rng = random.Random(0)
        wrong = [
            (row[0], field, other[2])
            for row in of_field
            for other in rng.sample(of_field, min(50, len(of_field)))
            if not same_value(other[2], row[2])
        ]
        for label, answers in (("published", of_field), ("wrong", wrong)):
            scores = [judge(row, texts) for row in answers]
            found, half = sum(score >= FIXED for score in scores), sum(HALF <= score < FIXED for score in scores)
            share = f"{found} of {len(scores)} ({found / len(scores):.1%}) at {FIXED}"
            print(f"{field}, {label} answers: {share}, {half} from {HALF} to {FIXED}")
    judged = sorted(((judge(row, texts), row) for row in rows), reverse=True)
    print("suspects among the published answers:")
    for score, row in judged[:30]:
        if score > 0:
            print(f"  {score:.2f}  {' '.join(row)}")


def names_of(data: Path) -> list[str]:
    """The receipts in a random order.

    Raises:
        UserError: there are none.
    """
    names = sorted(path.stem for path in (data / "key").glob("*.json"))
    if not names:
        raise UserError(
            f"{data}: holds no receipts (key/*.json); `git clone https://github.com/zzzDavid/ICDAR-2019-SROIE` has them"
            " (code under MIT; the scans are those of the contest ICDAR 2019 SROIE)"
        )
    random.Random(0).shuffle(names)
    return names


def rows_of(data: Path, names: Sequence[str]) -> list[Row]:
    """The published answers of the receipts; one receipt has no total."""
    return [
        (name, field, answer)
        for name in names
        for field in QUESTIONS
        if (answer := json.loads((data / "key" / f"{name}.json").read_text()).get(field))
    ]


def read(data: Path, names: Sequence[str], out: Path) -> Texts:
    """The text of each receipt by OCR; what was read is kept in ``out``."""
    kept = out / "ocr.jsonl"
    out.mkdir(parents=True, exist_ok=True)
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.is_file() else []
    done: dict[str, dict[str, Any]] = {row["name"]: row for row in (json.loads(line) for line in lines)}
    with kept.open("a", encoding="utf-8") as file:
        for name in (name for name in names if name not in done):
            with Image.open(data / "img" / f"{name}.jpg") as image:
                rgb = image.convert("RGB")
            started = time.process_time()
            found = read_text(rgb)
            done[name] = {"name": name, "cpu": time.process_time() - started, **found}
            file.write(json.dumps(done[name]) + "\n")
            file.flush()
    seconds = [done[name]["cpu"] for name in names]
    print(f"CPU seconds a receipt: median {statistics.median(seconds):.2f}, worst {max(seconds):.2f}")
    return {name: (done[name]["ocr_text"], done[name]["ocr_boxes"]) for name in names}


def transcript(data: Path, name: str) -> tuple[str, list[int]]:
    """The text that people typed in, in the rows that its boxes make."""
    pieces = []
    for line in (data / "box" / f"{name}.csv").read_text(encoding="utf-8", errors="replace").splitlines():
        *corners, text = line.split(",", 8)
        if len(corners) == 8:
            points = [float(number) for number in corners]
            pieces.append(Piece(text, tuple(zip(points[::2], points[1::2], strict=True)), 1.0))
    size = (round(max(piece.box[2] for piece in pieces)), round(max(piece.box[3] for piece in pieces)))
    return columns_of(pieces, size)["ocr_text"], []


def one_split(rows: Sequence[Row], texts: Texts, seed: int) -> tuple[float, ...]:
    """Threshold chosen on one half; precision, recall (whole, totals, dates) and F1 of the other."""
    rng = random.Random(seed)
    receipts = sorted(texts)
    rng.shuffle(receipts)
    first = set(receipts[::2])
    halves = [[row for row in rows if (row[0] in first) == chosen] for chosen in (True, False)]
    tuned, held = (list(swapped(half, texts, rng)) for half in halves)
    threshold = max(sorted({score for _, score, _ in tuned if score > 0}), key=lambda cut: _rates(tuned, cut)[-1])
    fields = [_rates([one for one in held if one[2] == field], threshold)[1] for field in QUESTIONS]
    precision, recall, f1 = _rates(held, threshold)
    return threshold, precision, recall, *fields, f1


def swapped(rows: Sequence[Row], texts: Texts, rng: random.Random) -> Iterator[tuple[bool, float, str]]:
    """(whether its answer was swapped, score, field) of each row, with a tenth of each field's answers swapped."""
    for field in QUESTIONS:
        of_field = [row for row in rows if row[1] == field]
        chosen = set(rng.sample(range(len(of_field)), round(SHARE * len(of_field))))
        for number, row in enumerate(of_field):
            answer = row[2]
            if number in chosen:
                while same_value(answer, row[2]):
                    answer = rng.choice(of_field)[2]
            yield number in chosen, judge((row[0], field, answer), texts), field


def judge(row: Row, texts: Texts) -> float:
    """``ocr_contradiction`` of a row, 0 where nothing is said."""
    if row not in _JUDGED:
        name, field, answer = row
        _JUDGED[row] = contradiction(QUESTIONS[field], answer, *texts[name]).contradiction or 0.0
    return _JUDGED[row]


def same_value(one: str, other: str) -> bool:
    """Whether two answers may be one date or one number, so that a swap would change nothing."""
    if dates_in(one) & dates_in(other):
        return True
    return any(left & right for left in numbers_in(one) for right in numbers_in(other)) and not dates_in(one)


def _rates(judged: Sequence[tuple[bool, float, str]], threshold: float) -> tuple[float, float, float]:
    """Precision, recall and F1 of the rows whose score is at least ``threshold``."""
    found = sum(wrong for wrong, score, _ in judged if score >= threshold)
    flagged, wrong = sum(score >= threshold for _, score, _ in judged), sum(wrong for wrong, _, _ in judged)
    precision, recall = found / flagged if flagged else 0.0, found / wrong if wrong else 0.0
    return precision, recall, 2 * precision * recall / (precision + recall) if found else 0.0


if __name__ == "__main__":
    console.run(app)
