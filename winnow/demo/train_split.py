"""The train split with its defects: image files, rows between rows, and the truth about all of them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from winnow.demo import defects, rows
from winnow.demo.captions import caption_samples, caption_table
from winnow.demo.defects import Shares
from winnow.demo.package import Question, by_image, image_paths
from winnow.demo.rows import Row, Truth
from winnow.progress import track
from winnow.records import Sample, to_line

_INTACT = (None, "near_duplicate")  # the image itself is as the package has it


def write_train(
    folder: Path, questions: Sequence[Question], test: Sequence[Question], shares: Shares, seed: int
) -> list[Truth]:
    """Write ``vqa.jsonl``, ``captions.parquet`` and ``images/train``.

    Args:
        questions, test: the train questions, and the test questions of which some are leaked.
        shares: how much of it gets which defect.

    Returns:
        One row per affected row, in the order of ``vqa.jsonl``.
    """
    (folder / "images/train").mkdir(parents=True)
    total, grouped = len(questions), by_image(questions)
    chosen = defects.choose(list(grouped), shares.some(*defects.IMAGE_DEFECTS), random.Random(f"{seed}/images"))
    injected, known = write_images(folder, grouped, chosen, total, seed)
    leaked_rows, leaked_truth = write_leaks(folder, by_image(test), total, shares, seed)
    clean = [question for question in questions if question.image_id not in chosen]
    plain = [rows.original(question, "train") for question in questions]
    answered, answer_truth = rows.spoil_answers(plain, clean, shares, random.Random(f"{seed}/answers"))
    ordered = sorted([*answered, *injected, *leaked_rows], key=lambda row: (row.place, row.own_id))
    write_lines(folder / "vqa.jsonl", (rows.to_sample(row, "train") for row in ordered))
    intact = {image_id: asked for image_id, asked in grouped.items() if chosen.get(image_id) in _INTACT}
    captions = caption_samples(intact, "train", random.Random(f"{seed}/train captions"))
    pq.write_table(caption_table(captions), folder / "captions.parquet")
    position = {rows.sample_id(row.own_id): number for number, row in enumerate(ordered)}
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
            injected += rows.repeat(asked, name, total, rng)
            known += [
                rows.truth(f"dup-{question.number}", defect, copy.detail, rows.sample_id(question.number))
                for question in asked
            ]
        elif defect:
            file = defects.spoiled(data, defect, rng)
            _write_image(folder, str(image_id), file)
            known += [rows.truth(question.number, defect, file.detail) for question in asked]
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
        injected += rows.leak(grouped[image_id], name, total, rng)
        known += [
            rows.truth(f"leak-{question.number}", "leaked", file.detail, rows.sample_id(question.number, "test"))
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
