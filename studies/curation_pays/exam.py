"""The test questions that all arms are asked."""

from __future__ import annotations

import random
from pathlib import Path

import yaml

from studies.curation_pays.sets import RawSet
from studies.curation_pays.settings import ProofSettings
from studies.curation_pays.stages import recipe_at
from winnow.files import write_text
from winnow.records import read_jsonl, to_line

TEST = Path("data/raw/demo/test.jsonl")
TASK = Path("evalsuite/tasks/easy_vqa.yaml")


def write_exam(raw: RawSet, settings: ProofSettings, folder: Path) -> None:
    """Write ``settings.questions`` rows of the whole test split and the task that asks them.

    Half of the questions are about the images in the test split of ``raw``, the only ones that
    can have leaked into it, so that a small set's few leaks are asked about; the others are about
    all other images.
    """
    rows, questions = list(read_jsonl(TEST)), settings.questions
    if settings.asked is not None:
        rows = [row for row in rows if row.meta["question_type"] in settings.asked]
    within_reach = {sample.id for sample in read_jsonl(raw.folder / "test.jsonl")}
    near, far = ([i for i, row in enumerate(rows) if (row.id in within_reach) is side] for side in (True, False))
    if questions is not None and questions < len(rows):
        rng = random.Random(0)
        half = min(len(near), max(questions // 2, questions - len(far)))
        chosen = [*rng.sample(near, half), *rng.sample(far, min(len(far), questions - half))]
        rows = [rows[i] for i in sorted(chosen)]
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "questions.jsonl", "".join(to_line(row) + "\n" for row in rows))
    task = recipe_at(TASK)
    task["source"] |= {"location": str(folder / "questions.jsonl"), "image_root": str(TEST.parent)}
    write_text(folder / "task.yaml", yaml.safe_dump(task, sort_keys=False))
