# ruff: noqa: E501
"""A few made-up rows of each benchmark, in the columns in which it is published, with replies.

The benchmarks' own code (``make_benchmark_fixtures.py``) and the tests read the same rows. Images stand apart: the code
of the peers that is used does not look at them.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]

_MMMU_IMAGES = {f"image_{number}": None for number in range(1, 8)}
_TEN = [f"choice {number}" for number in range(10)]

DOCS: dict[str, Rows] = {
    "ai2d": [
        {"question": "Which letter is the root?", "options": ["A", "B", "C", "D"], "answer": "2"},
        {"question": "What eats the frog?", "options": ["snake", "grass", "sun", "fly"], "answer": "0"},
        {"question": "How many stages?", "options": ["1", "3", "4", "5"], "answer": "3"},
        {"question": "What does B show?", "options": ["leaf", "stem", "root", "flower"], "answer": "1"},
    ],
    "mmstar": [
        {"index": 0, "question": "Which describes the cat?\nOptions: A: It is on the book., B: It sleeps., C: It is gone., "
         "D: It is red.", "answer": "B", "category": "coarse perception", "l2_category": "image emotion"},
        {"index": 1, "question": "How many cups?\nOptions: A: 1, B: 2, C: 3, D: 4", "answer": "D",
         "category": "fine-grained perception", "l2_category": "object counting"},
        {"index": 2, "question": "How many dogs?\nOptions: A: 1, B: 2, C: 3, D: 4", "answer": "A",
         "category": "fine-grained perception", "l2_category": "object counting"},
        {"index": 3, "question": "What follows?\nOptions: A: x, B: y", "answer": "A", "category": "logical reasoning",
         "l2_category": "diagram reasoning"},
    ],
    "seed_image": [
        {"question": "How many towels are in the image?", "choice_a": "One", "choice_b": "Two", "choice_c": "Three",
         "choice_d": "Four", "answer": "A", "data_type": "image", "question_id": "101669", "category": "Instances Counting"},
        {"question": "What is on the shelf?", "choice_a": "A vase", "choice_b": "A book", "choice_c": "A cat",
         "choice_d": "Nothing", "answer": "B", "data_type": "image", "question_id": "101670", "category": "Scene"},
        {"question": "Where is the dog?", "choice_a": "left", "choice_b": "right", "choice_c": "above",
         "choice_d": "below", "answer": "D", "data_type": "image", "question_id": "101671", "category": "Scene"},
    ],
    "realworldqa": [
        {"question": "In which direction is the front wheel facing?\n\nA. Left\nB. Straight\nC. Right\nPlease answer "
         "directly with only the letter of the correct option and nothing else.", "answer": "C"},
        {"question": "How many lanes are there?\nPlease answer directly with a single word or number.", "answer": "3"},
        {"question": "Are we going uphill or downhill?\nPlease answer directly with a single word or number.",
         "answer": "Downhill"},
        {"question": "Which car is closer?\n\nA. The red one\nB. The blue one\nPlease answer directly with only the letter "
         "of the correct option and nothing else.", "answer": "A"},
    ],
    "mmmu_pro_standard": [
        {**_MMMU_IMAGES, "id": "test_History_1", "question": "<image 1> Who is it?", "options": str(_TEN), "answer": "I",
         "explanation": "?", "img_type": "['Photographs']", "topic_difficulty": "Hard", "subject": "History"},
        {**_MMMU_IMAGES, "id": "test_Art_2", "question": "Compare <image 1> with <image 2>.", "options": str(_TEN[:3]),
         "answer": "A", "explanation": "?", "img_type": "['Paintings']", "topic_difficulty": "Easy", "subject": "Art"},
        {**_MMMU_IMAGES, "id": "test_Art_3", "question": "<image 1> When?", "options": str(["1890", "1900", "1910"]),
         "answer": "B", "explanation": "?", "img_type": "['Paintings']", "topic_difficulty": "Easy", "subject": "Art"},
    ],
    "mmmu_pro_vision": [
        {"id": "test_History_1", "options": str(_TEN), "answer": "I", "subject": "History"},
        {"id": "test_Art_2", "options": str(_TEN[:3]), "answer": "A", "subject": "Art"},
        {"id": "test_Art_3", "options": str(["1890", "1900", "1910"]), "answer": "B", "subject": "Art"},
    ],
    "blink": [
        {"idx": f"val_{task}_{number}", "sub_task": task, "question": asked, "choices": choices, "answer": answer,
         "prompt": f"{asked}\nSelect from the following choices.\n"
         + "\n".join(f"({letter}) {text}" for letter, text in zip("ABCD", choices, strict=False)), "explanation": ""}
        for task, number, asked, choices, answer in (
            ("Art_Style", 1, "Which image has the style of the first?", ["the second image", "the third image"], "(B)"),
            ("Counting", 1, "How many blue floats are there?", ["0", "3", "2", "1"], "(A)"),
            ("Counting", 2, "How many shelves?", ["1", "2", "4", "3"], "(C)"),
            ("Counting", 3, "How many cats?", ["2", "1", "4", "3"], "(D)"),
            ("Jigsaw", 1, "Which fits?", ["the second image", "the third image"], "(A)"),
        )
    ],
    "mmbench": [
        {"index": index, "question": asked, "hint": hint, **dict(zip("ABCD", [*options, "", ""], strict=False)),
         "answer": answer, "category": category, "source": "x", "l2-category": wide, "comment": "", "split": "dev",
         **({"image": str(index % 1_000_000)} if index >= 1_000_000 else {})}
        for index, asked, hint, options, answer, category, wide in (
            (241, "What is shown?", "It is small.", ["a cat", "a dog"], "A", "object_localization", "finegrained_perception (instance-level)"),
            (1_000_241, "What is shown?", "It is small.", ["a dog", "a cat"], "B", "object_localization", "finegrained_perception (instance-level)"),
            (252, "Which is colder?", "", ["ice", "tea", "air"], "A", "physical_relation", "relation_reasoning"),
            (1_000_252, "Which is colder?", "", ["tea", "air", "ice"], "C", "physical_relation", "relation_reasoning"),
            (2_000_252, "Which is colder?", "", ["air", "ice", "tea"], "B", "physical_relation", "relation_reasoning"),
            (260, "Which follows?", "", ["x", "y"], "B", "physical_relation", "relation_reasoning"),
            (1_000_260, "Which follows?", "", ["y", "x"], "A", "physical_relation", "relation_reasoning"))
    ],
    "hallusion_bench": [
        {"category": category, "subcategory": sub, "visual_input": "1", "set_id": a, "figure_id": b, "sample_note": "n",
         "question_id": c, "question": asked, "gt_answer_details": "d", "gt_answer": answer, "filename": f"./{sub}/{a}_{b}.png"}
        for category, sub, a, b, c, asked, answer in (
            ("VD", "illusion", "0", "0", "0", "Is the left line longer?", "0"), ("VD", "illusion", "0", "1", "0", "Is the left line longer?", "1"),
            ("VD", "illusion", "0", "0", "1", "Are the lines equal?", "1"), ("VD", "illusion", "0", "1", "1", "Are the lines equal?", "0"),
            ("VS", "chart", "0", "1", "0", "Is China first?", "0"), ("VS", "chart", "0", "2", "0", "Is China first?", "1"),
            ("VS", "chart", "1", "1", "0", "Is it higher?", "1"))
    ],
    "ocrbench": [
        {"dataset": dataset, "question": asked, "question_type": kind, "answer": answer}
        for dataset, kind, asked, answer in (
            ("IIIT5K", "Regular Text Recognition", "what is written in the image?", ["CENTRE"]),
            ("HME100k", "Handwritten Mathematical Expression Recognition", "Please write out the expression.", ["x ^ { 2 }"]),
            ("DocVQA", "Doc-oriented VQA", "What is the date?", ["July 5, 1999", "July 5"]),
            ("SROIE", "Key Information Extraction", "what is the total?", ["9.00"]),
            ("STVQA", "Scene Text-centric VQA", "What brand?", ["Coca Cola"]))
    ],
    "refcoco": [
        {"question_id": "1-0", "question": "Please describe the box.", "answer": ["the left dog", "dog on the left"],
         "segmentation": [1.0, 2.0], "bbox": [2.4, 1.6, 12.0, 8.0], "iscrowd": 0, "file_name": "COCO_train2014_1.jpg"},
        {"question_id": "2-0", "question": "Please describe the box.", "answer": ["red ball"],
         "segmentation": [1.0, 2.0], "bbox": [0.0, 0.0, 6.0, 16.0], "iscrowd": 0, "file_name": "COCO_train2014_2.jpg"},
        {"question_id": "3-0", "question": "Please describe the box.", "answer": ["a man", "man in blue"],
         "segmentation": [1.0, 2.0], "bbox": [12.0, 8.0, 12.0, 8.0], "iscrowd": 0, "file_name": "COCO_train2014_3.jpg"},
    ],
    "textcaps": [
        {"question_id": "a1", "question": "Please describe the image.", "image_id": "a1", "image_classes": ["Sign"],
         "flickr_original_url": "https://x/1.jpg", "image_width": 8, "image_height": 8, "set_name": "val",
         "image_name": "a1", "image_path": "train/a1.jpg", "caption_id": [1, 2],
         "caption_str": ["A sign says stop.", "a red stop sign"], "reference_strs": ["A sign says stop."]},
        {"question_id": "a2", "question": "Please describe the image.", "image_id": "a2", "image_classes": ["Book"],
         "flickr_original_url": "https://x/2.jpg", "image_width": 8, "image_height": 8, "set_name": "val",
         "image_name": "a2", "image_path": "train/a2.jpg", "caption_id": [3, 4],
         "caption_str": ["Two books by Tolkien.", "books on a shelf"], "reference_strs": ["Two books by Tolkien."]},
    ],
    "nocaps": [
        {"image_id": number, "image_file_name": f"{number}.jpg", "image_coco_url": f"https://x/{number}.jpg",
         "image_height": 8, "image_width": 8, "image_license": 0, "image_date_captured": "2018-11-06",
         "image_open_images_id": f"00{number}", "annotations_ids": [2 * number, 2 * number + 1],
         "annotations_captions": captions}
        for number, captions in ((4, ["A baby in a tub.", "a small baby bathes"]), (5, ["An otter eats.", "an otter swims"]))
    ],
    "stvqa": [
        {"question_id": number, "question": asked, "answers": answers, "dataset": "coco-text", "set_name": "train",
         "file_name": f"{number}.jpg", "file_path": f"coco-text/{number}.jpg"}
        for number, asked, answers in (
            (11, "What does the sign say?", ["STOP", "stop sign"]), (12, "Which brand?", ["Coca Cola"]),
            (13, "What is the number?", ["42"]), (14, "Which street?", ["High Street"]))
    ],
}  # fmt: skip

REPLIES: dict[str, list[str]] = {
    "ai2d": ["C", "A. snake", "B", "b."],
    "mmstar": ["B", "The answer is D.", "(B)", "A: x"],
    "seed_image": ["A", "B.", "C"],
    "realworldqa": ["C", "3.", "uphill", "A."],
    "mmmu_pro_standard": ["The answer is (I).", "B", "The painting, as its frame shows, is from 1900"],
    "mmmu_pro_standard_cot": ["It could be the first.\n\nAnswer: I", "Answer: A", "Answer: C"],
    "mmmu_pro_vision": ["Answer: I", "Answer: B", "(B)"],
    "mmmu_pro_vision_cot": ["Who is it? The first, no.\n\nAnswer: I", "So it is.\n\nAnswer: C", "Answer: B"],
    "blink": ["(B)", "A", "The floats are counted.\n\n(B)", "(D)", "B"],
    "mmbench": ["A", "B", "The answer is A", "C. ice", "A", "B", "y"],
    "hallusion_bench": ["No, it is not.", "Yes", "No.", "No", "Yes, it is.", "yes", "I am not certain"],
    "ocrbench": ["It says Centre.", "$x^{2}$", "The date is July 5.", "8.00", "coca\ncola"],
    "refcoco": [
        "[0.1, 0.1, 0.6, 0.6]",
        "The box is [0.15, 0.1, 0.6, 0.5].",
        "[0.5, 0.0, 0.9, 1.0]",
        "[0.5, 0.5, 1, 1]",
        "I see no man",
    ],
    "textcaps": ["a stop sign", "two books on a shelf"],
    "nocaps": ["a baby in a tub", "an otter that eats"],
    "stvqa": ["Stop", "coca cola", "43", "Hihg Street"],
}
SAME_ROWS = {
    "refcoco_plus": "refcoco",
    "refcocog": "refcoco",
    "mmmu_pro_standard_cot": "mmmu_pro_standard",
    "mmmu_pro_vision_cot": "mmmu_pro_vision",
}


def docs_of(task: str) -> Rows:
    """The rows of a task; two tasks may ask the same ones."""
    return DOCS[SAME_ROWS.get(task, task)]


def replies_of(task: str) -> list[str]:
    """The replies to the rows of a task."""
    return REPLIES[task] if task in REPLIES else REPLIES[SAME_ROWS[task]]


# ---- the files as published ----------------------------------------------------------------------


def image_bytes(number: int) -> bytes:
    """A small PNG, another for each number."""
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (24, 16), (number * 37 % 256, 80, 160)).save(out, "PNG")
    return out.getvalue()


def _parquet(path: Path, rows: Rows, image: str = "image", seed: int = 0) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    held = [{**row, image: {"bytes": image_bytes(seed + number), "path": None}} for number, row in enumerate(rows)]
    pq.write_table(pa.Table.from_pylist(held), path)


def _tsv(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*(name for name in rows[0] if name != "image"), "image"], delimiter="\t")
        writer.writeheader()
        for number, row in enumerate(rows):
            writer.writerow({"image": base64.b64encode(image_bytes(number)).decode(), **row})


def _seed_image(folder: Path, rows: Rows) -> None:
    _tsv(
        folder / "SEEDBench_IMG.tsv",
        [
            {"index": row["question_id"], "question": row["question"],
             **{letter.upper(): row[f"choice_{letter}"] for letter in "abcd"},
             "answer": row["answer"], "category": row["category"]}
            for row in rows
        ],
    )  # fmt: skip


def _mmmu_pro(folder: Path, rows: Rows) -> None:
    image = {"bytes": image_bytes(9), "path": None}
    two = [{**row, "image_2": image if "<image 2>" in row["question"] else None} for row in rows]
    _parquet(folder / "standard (10 options)" / "test-00000-of-00001.parquet", two, "image_1")


def _blink(folder: Path, rows: Rows) -> None:
    for number, row in enumerate(rows):  # a shard for each question keeps it short
        more = {f"image_{place}": {"bytes": image_bytes(40 + place), "path": None} if place < 4 else None
                for place in (2, 3, 4)}  # fmt: skip
        name = f"val-{number:05d}-of-00005.parquet"
        _parquet(folder / row["sub_task"] / name, [{**row, **more}], "image_1", seed=number)


def _stvqa(folder: Path, rows: Rows) -> None:
    for number, row in enumerate(rows):
        path = folder / row["file_path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_bytes(number))
    whole = {"dataset_name": "st-vqa", "dataset_version": "1.0", "task_name": "task 3", "data": rows}
    (folder / "train_task_3.json").write_text(json.dumps(whole), encoding="utf-8")


_WRITERS = {
    "ai2d": lambda folder, rows: _parquet(folder / "data" / "test-00000-of-00001.parquet", rows),
    "mmstar": lambda folder, rows: _parquet(folder / "mmstar.parquet", rows),
    "seed_image": _seed_image,
    "realworldqa": lambda folder, rows: _parquet(folder / "data" / "test-00000-of-00001.parquet", rows),
    "mmmu_pro_standard": _mmmu_pro,
    "mmmu_pro_vision": lambda folder, rows: _parquet(folder / "vision" / "test-00000-of-00001.parquet", rows),
    "blink": _blink,
    "mmbench": lambda folder, rows: _tsv(folder / "MMBench_DEV_EN.tsv", rows),
    "hallusion_bench": lambda folder, rows: _parquet(folder / "data" / "image-00000-of-00001.parquet", rows),
    "ocrbench": lambda folder, rows: _parquet(folder / "data" / "test-00000-of-00001.parquet", rows),
    "refcoco": lambda folder, rows: _parquet(folder / "data" / "val-00000-of-00001.parquet", rows),
    "textcaps": lambda folder, rows: _parquet(folder / "data" / "val-00000-of-00001.parquet", rows),
    "nocaps": lambda folder, rows: _parquet(folder / "data" / "validation-00000-of-00001.parquet", rows),
    "stvqa": _stvqa,
}
_FOLDERS = {f"mmmu_pro_{kind}": "mmmu_pro" for kind in ("standard", "standard_cot", "vision", "vision_cot")}


def write(task: str, raw: Path) -> None:
    """Write a task's files below ``raw``, ``data/raw`` for its default location."""
    _WRITERS[SAME_ROWS.get(task, task)](raw / _FOLDERS.get(task, task), docs_of(task))
