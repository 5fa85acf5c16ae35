"""Write the demo's raw data: easy-vqa with known defects in its train split, and the truth about them.

python -m winnow.demo.dataset --out data/raw/demo
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import typer

from winnow import console
from winnow.demo import defects
from winnow.demo.defects import Shares, count
from winnow.demo.easy_vqa import (
    Question,
    QuestionType,
    answers_of,
    by_image,
    caption_samples,
    caption_table,
    image_paths,
    load_questions,
    package_inputs,
    question_type,
)
from winnow.files import digest_of, sha256_file
from winnow.progress import track
from winnow.rows.records import Sample, Turn, to_line
from winnow.run import is_current, read_manifest, whole_folder, write_manifest

STAGE = "demo-data"
VERSION = 1  # raise it when this code makes other data from the same package
TABLES = ("vqa.jsonl", "captions.parquet", "truth.parquet", "test.jsonl", "test_captions.jsonl")
SEED = 20
DEFAULT_SHARES = Shares()
SOURCE = "easy_vqa"
NEAR_SHARE = 0.5  # of the injected groups stand directly behind their originals, the others anywhere
_INTACT = (None, "near_duplicate")  # the image itself is as the package has it


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the output; rows are sorted by ``place``."""

    place: tuple[int, int, int]
    own_id: str
    image: str
    text: str
    answer: str


@dataclass(frozen=True, slots=True)
class Truth:
    """One affected row, what was done to it (``detail``, JSON) and the row that it copies, contradicts or leaks."""

    sample_id: str
    defect: str
    detail: str
    twin_id: str | None = None


def sample_id(own_id: str | int, split: str = "train") -> str:
    """The full id of a row."""
    return f"{SOURCE}/{split}/{own_id}"


def truth(own_id: str | int, defect: str, detail: Mapping[str, Any], twin_id: str | None = None) -> Truth:
    """A truth row of the train split, ``detail`` as JSON."""
    return Truth(sample_id(own_id), defect, json.dumps(detail, sort_keys=True), twin_id)


def to_sample(row: Row, split: str) -> Sample:
    """The row as a record with question and answer type in ``meta``."""
    kind = question_type(row.text)
    return Sample(
        id=sample_id(row.own_id, split),
        image=(row.image,),
        conversations=(Turn("user", row.text), Turn("assistant", row.answer)),
        answers=(row.answer,),
        source=SOURCE,
        split=split,
        meta={"question_type": kind, "answer_type": "yes/no" if kind == "yes_no" else "other"},
    )


def original(question: Question, split: str) -> Row:
    """The row of a question as the package has it."""
    image = f"images/{split}/{question.image_id}.png"
    return Row((question.number, 0, question.number), str(question.number), image, question.text, question.answer)


def other_answer(question: Question, rng: random.Random) -> str:
    """A wrong answer of the right type."""
    return rng.choice([answer for answer in answers_of(question_type(question.text)) if answer != question.answer])


def spoil_answers(
    rows: Sequence[Row], clean: Sequence[Question], shares: Shares, rng: random.Random
) -> tuple[list[Row], list[Truth]]:
    """Make some answers wrong and contradict some others by an extra row.

    Args:
        rows: the original rows.
        clean: the questions that may be touched; each gets one defect at most.
    """
    index = {row.own_id: at for at, row in enumerate(rows)}
    counts = {name: count(share, len(rows)) for name, share in shares.some("wrong_answer", "contradictory").items()}
    drawn = rng.sample(clean, sum(counts.values()))
    changed, known = list(rows), []
    for question in drawn[: counts["wrong_answer"]]:
        wrong = other_answer(question, rng)
        at = index[str(question.number)]
        changed[at] = replace(rows[at], answer=wrong)
        detail = {"right_answer": question.answer, "wrong_answer": wrong}
        known.append(truth(question.number, "wrong_answer", detail))
    for question in drawn[counts["wrong_answer"] :]:
        wrong, own_id = other_answer(question, rng), f"con-{question.number}"
        place = _places([question], len(rows), rng)[0]
        changed.append(Row(place, own_id, rows[index[str(question.number)]].image, question.text, wrong))
        detail = {"right_answer": question.answer, "wrong_answer": wrong}
        known.append(truth(question.number, "contradictory", detail, sample_id(own_id)))
        known.append(truth(own_id, "contradictory", detail, sample_id(question.number)))
    return changed, known


def repeat(questions: Sequence[Question], image: str, total: int, rng: random.Random) -> list[Row]:
    """The questions again, under ids ``dup-<number>``, about a copy of their image."""
    places = _places(questions, total, rng)
    return [
        Row(place, f"dup-{question.number}", image, question.text, question.answer)
        for place, question in zip(places, questions, strict=True)
    ]


def leak(questions: Sequence[Question], image: str, total: int, rng: random.Random) -> list[Row]:
    """Test questions as train rows, under ids ``leak-<number>``, together at a random place."""
    base = rng.randrange(total)
    return [
        Row((base, 3, question.number), f"leak-{question.number}", image, question.text, question.answer)
        for question in questions
    ]


def _places(questions: Iterable[Question], total: int, rng: random.Random) -> list[tuple[int, int, int]]:
    if rng.random() < NEAR_SHARE:
        return [(question.number, 1, question.number) for question in questions]
    base = rng.randrange(total)
    return [(base, 2, question.number) for question in questions]


def write_train(
    folder: Path, questions: Sequence[Question], test: Sequence[Question], shares: Shares, seed: int
) -> list[Truth]:
    """Write ``vqa.jsonl``, ``captions.parquet`` and ``images/train``.

    Args:
        questions, test: the train questions, and the test questions of which some are leaked.
        shares: share of each defect.

    Returns:
        One row per affected row, in the order of ``vqa.jsonl``.
    """
    (folder / "images/train").mkdir(parents=True)
    total, grouped = len(questions), by_image(questions)
    chosen = defects.choose(list(grouped), shares.some(*defects.IMAGE_DEFECTS), random.Random(f"{seed}/images"))
    injected, known = write_images(folder, grouped, chosen, total, seed)
    leaked_rows, leaked_truth = write_leaks(folder, by_image(test), total, shares, seed)
    clean = [question for question in questions if question.image_id not in chosen]
    plain = [original(question, "train") for question in questions]
    answered, answer_truth = spoil_answers(plain, clean, shares, random.Random(f"{seed}/answers"))
    ordered = sorted([*answered, *injected, *leaked_rows], key=lambda row: (row.place, row.own_id))
    write_lines(folder / "vqa.jsonl", (to_sample(row, "train") for row in ordered))
    intact = {image_id: asked for image_id, asked in grouped.items() if chosen.get(image_id) in _INTACT}
    captions = caption_samples(intact, "train", random.Random(f"{seed}/train captions"))
    pq.write_table(caption_table(captions), folder / "captions.parquet")
    position = {sample_id(row.own_id): number for number, row in enumerate(ordered)}
    return sorted([*known, *leaked_truth, *answer_truth], key=lambda row: position[row.sample_id])


def write_images(
    folder: Path, grouped: dict[int, list[Question]], chosen: dict[int, str], total: int, seed: int
) -> tuple[list[Row], list[Truth]]:
    """Write the train images, spoiled as ``chosen`` says; returns the rows about copies and the truth."""
    paths = image_paths("train")
    injected: list[Row] = []
    known: list[Truth] = []
    for image_id, asked in track(grouped.items(), "train images", total=len(grouped)):
        data, defect = paths[image_id].read_bytes(), chosen.get(image_id)
        rng = random.Random(f"{seed}/image/{image_id}")
        if defect in _INTACT:
            _write_image(folder, str(image_id), defects.ImageFile(data))
        if defect == "near_duplicate":
            copy = defects.copied(data, rng)
            name = _write_image(folder, f"dup-{image_id}", copy)
            injected += repeat(asked, name, total, rng)
            known += [
                truth(f"dup-{question.number}", defect, copy.detail, sample_id(question.number)) for question in asked
            ]
        elif defect:
            file = defects.spoiled(data, defect, rng)
            _write_image(folder, str(image_id), file)
            known += [truth(question.number, defect, file.detail) for question in asked]
    return injected, known


def write_leaks(
    folder: Path, grouped: dict[int, list[Question]], total: int, shares: Shares, seed: int
) -> tuple[list[Row], list[Truth]]:
    """Some test images under ``images/train``, with their test questions as train rows."""
    rng, paths = random.Random(f"{seed}/leaks"), image_paths("test")
    injected: list[Row] = []
    known: list[Truth] = []
    for image_id in sorted(defects.choose(list(grouped), shares.some("leaked"), rng)):
        file = defects.leaked(paths[image_id].read_bytes(), rng)
        name = _write_image(folder, f"leak-{image_id}", file)
        injected += leak(grouped[image_id], name, total, rng)
        known += [
            truth(f"leak-{question.number}", "leaked", file.detail, sample_id(question.number, "test"))
            for question in grouped[image_id]
        ]
    return injected, known


def write_lines(path: Path, samples: Iterable[Sample]) -> None:
    """Samples as JSONL."""
    with path.open("w", encoding="utf-8") as lines:
        lines.writelines(to_line(sample) + "\n" for sample in samples)


def _write_image(folder: Path, name: str, file: defects.ImageFile) -> str:
    path = f"images/train/{name}{file.suffix}"
    if file.data is not None:
        (folder / path).write_bytes(file.data)
    return path


app = console.new_app(single_command=True)


def make_dataset(
    out: Path, *, images: int | None = None, kinds: Collection[QuestionType] | None = None, seed: int = SEED,
    shares: Shares = DEFAULT_SHARES,
) -> bool:  # fmt: skip
    """Write the folder ``out`` unless it is current. Returns whether anything was written.

    Args:
        images: number of train images to take, from the first; a quarter as many test images are taken.
        kinds: take only questions of these types.
        seed: of every choice; the same seed gives the same bytes.
        shares: how much of the train split gets which defect.

    Raises:
        UserError: ``easy-vqa`` is not installed, or ``out`` is a folder with something else in it.
    """
    started = time.monotonic()
    recipe: dict[str, Any] = {"version": VERSION, "images": images, "seed": seed, "shares": asdict(shares)}
    recipe |= {"kinds": sorted(kinds)} if kinds else {}
    inputs = package_inputs()
    if is_current(out, recipe=recipe, inputs=inputs) and images_are_there(out):
        return False
    with whole_folder(out, stage=STAGE) as folder:
        test = load_questions("test", None if images is None else -(-images // 4), kinds)
        train = load_questions("train", images, kinds)
        write_test(folder, test, seed)
        known = write_train(folder, train, test, shares, seed)
        write_truth(folder / "truth.parquet", known)
        files = sorted((folder / "images").rglob("*.*"))
        write_manifest(
            folder,
            stage=STAGE,
            recipe=recipe,
            inputs=inputs,
            outputs=[folder / name for name in TABLES],
            counts={
                "train_questions": len(train),
                "test_questions": len(test),
                "images": len(files),
                "defects": Counter(row.defect for row in known),
            },
            seconds={"total": time.monotonic() - started},
            seeds={"seed": seed},
            extra={"images_digest": digest_of([[str(f.relative_to(folder)), sha256_file(f)] for f in files])},
        )
    return True


def images_are_there(out: Path) -> bool:
    """Whether the image files of a finished folder are all still there."""
    expected = read_manifest(out, finish_with="").get("counts", {}).get("images")
    return bool(sum(1 for _ in (out / "images").rglob("*.*")) == expected)


def write_test(folder: Path, questions: Sequence[Question], seed: int) -> None:
    """``test.jsonl``, ``test_captions.jsonl`` and ``images/test``: the package's test split as it is."""
    paths, grouped = image_paths("test"), by_image(questions)
    (folder / "images/test").mkdir(parents=True)
    for image_id in track(grouped, "test images", total=len(grouped)):
        (folder / f"images/test/{image_id}.png").write_bytes(paths[image_id].read_bytes())
    write_lines(folder / "test.jsonl", (to_sample(original(question, "test"), "test") for question in questions))
    captions = caption_samples(grouped, "test", random.Random(f"{seed}/test captions"))
    write_lines(folder / "test_captions.jsonl", captions)


def write_truth(path: Path, known: Sequence[Truth]) -> None:
    """The truth as a table: sample_id, defect, detail (JSON), twin_id (null where there is none)."""
    columns = ("sample_id", "defect", "detail", "twin_id")
    schema = pa.schema([(name, pa.string()) for name in columns])
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in known], schema=schema), path)


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("data/raw/demo"),
    images: Annotated[
        int | None,
        typer.Option(
            min=defects.MINIMUM_IMAGES, help="Only the first N train images, and N/4 test images. [default: all]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the defects; the same seed gives the same bytes.")] = SEED,
) -> None:
    """Write easy-vqa (4,000 + 1,000 images, 48k questions) with seeded defects in its train split.

    Each image and each row has one defect at most. Shares, of the train images: 4% blurred (Gaussian,
    sigma 1.5-3 px), 5% also there as a re-encoded or resized copy whose questions are repeated, 2% each
    truncated, empty, HTML named .png, JPEG named .png, missing. 4% of the test images are leaked into
    train with their questions. Of the train questions 3% get a wrong answer of the right type, and 2% a
    second row that contradicts them.

    truth.parquet names every affected row. The test split is untouched. Needs the package `easy-vqa`.
    A folder that is current is left alone.

    Example: python -m winnow.demo.dataset --images 200 --out /tmp/small-demo
    """
    written = make_dataset(out, images=images, seed=seed)
    if not written:
        print(f"{out}: is current, nothing to do")
        return
    counts = read_manifest(out, finish_with="")["counts"]
    found = ", ".join(f"{defect} {number:,}" for defect, number in counts["defects"].items())
    print(f"{out}: {counts['images']:,} image files; affected rows: {found}")


if __name__ == "__main__":
    console.run(app)
