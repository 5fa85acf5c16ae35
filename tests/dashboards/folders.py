"""Writes small result folders in the stages' own formats, with real images of easy-vqa.

40 questions and 8 captions about ten test images, answered by a base and a tuned model; 60
training rows that a curated set decided on; one training run.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from easy_vqa import get_test_image_paths, get_test_questions, get_train_image_paths, get_train_questions

from dashboards.data.catalog import Folder, scan
from evalsuite.tasks.spec import dumped, load_spec
from winnow.corrections import content_hash
from winnow.files import sha256_bytes, write_json
from winnow.run import write_manifest

HOSTILE = "<img src=x onerror=\"document.title='owned'\"> **bold** :red[x] $5 or $7 ![p](http://example.com/p.png)"
_METRICS = ("accuracy", "vqa_accuracy", "bleu_4", "cider")
_FACTS: dict[str, dict[str, Any]] = {
    "accuracy": {"title": "Accuracy", "unit": "%", "top": 1.0, "mean_of_rows": True},
    "vqa_accuracy": {"title": "VQA accuracy", "unit": "%", "top": 1.0, "mean_of_rows": True},
    "bleu_4": {"title": "BLEU-4", "unit": "%", "top": 1.0, "mean_of_rows": False},
    "cider": {"title": "CIDEr-D", "unit": "", "top": 10.0, "mean_of_rows": True},
}


def build(root: Path) -> Path:
    """Write everything below ``root`` and return it."""
    images = root / "raw" / "images"
    test = copied_images(get_test_image_paths(), images, "test", 10)
    train = copied_images(get_train_image_paths(), images, "train", 15)
    rows = questions_about(get_test_questions(), test, "test", 40)
    rows[3]["question"] = HOSTILE
    captions = [_caption(number, test) for number in range(8)]
    answered_by(root, "demo-base", rows, captions, right=0.5, seed=1)
    answered_by(root, "demo-tuned", rows, captions, right=0.85, seed=2)
    _curated(root, questions_about(get_train_questions(), train, "train", 60), rows)
    _run(root)
    return root


def copied_images(paths: dict[int, str], root: Path, split: str, count: int) -> dict[int, tuple[str, str]]:
    found = {}
    for number in range(count):
        data = Path(paths[number]).read_bytes()
        target = root / split / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        found[number] = (f"{split}/{number}.png", sha256_bytes(data))
    return found


def questions_about(loaded: Any, images: dict[int, tuple[str, str]], split: str, count: int) -> list[dict[str, Any]]:
    rows = []
    for number, (question, answer, image) in enumerate(zip(*loaded, strict=True)):
        if image in images and len(rows) < count:
            path, key = images[image]
            kind = "yes_no" if answer in ("yes", "no") else "color" if "color" in question else "shape"
            rows.append(
                {
                    "sample_id": f"easy_vqa/{split}/{number}",
                    "images": [path],
                    "image_keys": [key],
                    "task": "vqa",
                    "question": question,
                    "references": [answer],
                    "type": kind,
                }
            )
    return rows


def _caption(number: int, images: dict[int, tuple[str, str]]) -> dict[str, Any]:
    path, key = images[number]
    return {
        "sample_id": f"easy_vqa/test/caption-{number}",
        "images": [path],
        "image_keys": [key],
        "task": "caption",
        "question": "Describe the image.",
        "references": ["a red triangle", "a triangle in red"],
        "type": None,
    }


def answered_by(
    root: Path, name: str, rows: list[dict[str, Any]], captions: list[dict[str, Any]], right: float, seed: int
) -> None:
    folder = root / "evals" / name
    folder.mkdir(parents=True)
    chance = random.Random(seed)
    answered = [_answered(row, chance, right) for row in [*rows, *captions]]
    table = pd.DataFrame(answered).astype(
        dict.fromkeys(_METRICS, "float64") | dict.fromkeys([f"{name}_right" for name in _METRICS], "boolean")
    )
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), folder / "predictions.parquet", row_group_size=16)
    write_json(folder / "scores.json", _scores(table, name))
    (folder / "report.md").write_text(f"# {name}\n")
    _manifest(
        folder,
        "evaluate",
        {"rows": len(answered)},
        {"image_root": dict.fromkeys(("vqa", "caption"), str(root / "raw" / "images"))},
    )


def _answered(row: dict[str, Any], chance: random.Random, right: float) -> dict[str, Any]:
    correct = chance.random() < right
    answer = (
        row["references"][0]
        if correct
        else chance.choice([a for a in ("yes", "no", "red", "circle") if a not in row["references"]])
    )
    status = "ok" if correct or chance.random() < 0.8 else "unparsed"
    vqa = row["task"] == "vqa"
    return {
        **{key: row[key] for key in ("sample_id", "image_keys", "images", "task", "question")},
        "prompt": f"{row['question']} Answer briefly.",
        "raw": f"{answer}.",
        "extracted": answer if status == "ok" else None,
        "status": status,
        "truncated": status != "ok" or answer == "circle",
        "references": row["references"],
        "accuracy": float(correct) if vqa else None,
        "vqa_accuracy": float(correct) if vqa else None,
        **{f"{name}_right": None for name in _METRICS},
        **({"accuracy_right": correct, "vqa_accuracy_right": correct} if vqa and status == "ok" else {}),
        "bleu_4": None if vqa else chance.random(),
        "cider": None if vqa else 10 * chance.random(),
        "finish_reason": "stop",
        "input_tokens": 40,
        "output_tokens": 2,
        "seconds": 0.05,
        "content_hash": content_hash(
            row["image_keys"], {"conversations": [row["question"]], "answers": row["references"]}
        ),
        "slice_question_type": row["type"],
        "slice_answer_type": None if row["type"] is None else "yes/no" if row["type"] == "yes_no" else "other",
    }


def _scores(table: pd.DataFrame, name: str) -> dict[str, Any]:
    tasks = {}
    for task, part in table.groupby("task"):
        metrics = {
            metric: {
                "value": part[metric].mean(),
                "ci_low": part[metric].mean() * 0.9,
                "ci_high": min(part[metric].mean() * 1.1, 10.0),
                "n": len(part),
                "coverage": 1.0,
                "variant": metric,
                **_FACTS[metric],
            }
            for metric in _METRICS
            if part[metric].notna().any()
        }
        tasks[task] = {
            "n": len(part),
            "coverage": 1.0,
            "statuses": part["status"].value_counts().to_dict(),
            "headline": "accuracy" if task == "vqa" else "cider",
            "metrics": metrics,
            "slices": {},
        }
    return {"model": name, "tasks": tasks, "comparison": None}


def _curated(root: Path, rows: list[dict[str, Any]], test: list[dict[str, Any]]) -> None:
    folder = root / "curated" / "demo"
    folder.mkdir(parents=True)
    samples, decisions = [], []
    for position, row in enumerate(rows):
        rules = _rules(position, rows, test)
        reason = next((rule["rule"] for rule in rules if rule["action"] == "drop"), None)
        decision = "drop" if reason else "flag" if rules else "keep"
        missing = position == 7
        record = {"id": row["sample_id"], "image": row["images"][0], "conversations": []}
        samples.append(
            {
                "position": position,
                "sample_id": row["sample_id"],
                "source": "easy_vqa",
                "split": "train",
                "images": row["images"],
                "image_keys": [None] if missing else row["image_keys"],
                "question": row["question"],
                "answer": row["references"][0],
                "answers": row["references"] * 3,
                "question_type": row["type"],
                "decision": decision,
                "reason": reason,
                "content_hash": content_hash(row["image_keys"], record),
                "record": json.dumps(record),
            }
        )
        decisions.append(
            {
                "position": position,
                "sample_id": row["sample_id"],
                "decision": decision,
                "reason": reason,
                "rules": rules,
                "duplicate_group": None,
                "representative": None,
                "duplicate_distance": None,
                "hamming": None,
            }
        )
    pq.write_table(pa.Table.from_pylist(samples), folder / "samples.parquet", row_group_size=16)
    rule_type = pa.struct(
        [(name, pa.string()) for name in ("rule", "action", "expression", "values", "threshold", "related_row")]
    )
    schema = pa.schema(
        [
            ("position", pa.int64()),
            ("sample_id", pa.string()),
            ("decision", pa.string()),
            ("reason", pa.string()),
            ("rules", pa.list_(rule_type)),
            ("duplicate_group", pa.string()),
            ("representative", pa.string()),
            ("duplicate_distance", pa.float64()),
            ("hamming", pa.int32()),
        ]
    )
    pq.write_table(pa.Table.from_pylist(decisions, schema), folder / "decisions.parquet", row_group_size=16)
    recipe = {
        "name": "demo",
        "sources": [{"location": "easy_vqa"}],
        "rules": {
            "unreadable": {"when": "error IS NOT NULL", "action": "drop"},
            "blurry": {"when": "sharpness < 35 AND entropy > 3", "action": "drop"},
            "misaligned": {"when": "clip_alignment < 0.15", "action": "flag"},
        },
        "contamination": {"against": [{"location": "easy_vqa", "split": "test"}]},
    }
    _contamination(folder, rows, test)
    counts = {"rows": len(rows), "rules": [{"rule": rule} for rule in (*recipe["rules"], "contaminated")]}
    _manifest(folder, "curate", counts, {"image_root": str(root / "raw" / "images")}, recipe)


def _contamination(folder: Path, rows: list[dict[str, Any]], test: list[dict[str, Any]]) -> None:
    """Every 13th training row shows the image of the first test row."""
    found = [
        {
            "benchmark": "easy_vqa/test",
            "sample_id": row["sample_id"],
            "image_key": row["image_keys"][0],
            "evaluation_key": test[0]["image_keys"][0],
            "evaluation": test[0]["sample_id"],
            "match": "look",
            "distance": 1.5,
            "hamming": 2,
            "same_question": position == 25,
        }
        for position, row in enumerate(rows)
        if position % 13 == 12
    ]
    pq.write_table(pa.Table.from_pylist(found), folder / "contamination.parquet")


def _rules(position: int, rows: list[dict[str, Any]], test: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Row 7 misses its file; every 10th is blurry, row 5 also misaligned; every 13th leaks; every 17th is flagged."""
    fired = []
    if position == 7:
        fired.append(("unreadable", "drop", "error IS NOT NULL", {"error": "missing"}, "", None))
    if position % 10 == 5:
        fired.append(
            ("blurry", "drop", "sharpness < 35 AND entropy > 3", {"sharpness": 12.25, "entropy": 4.5}, "35, 3", None)
        )
    if position % 17 == 4 or position == 5:
        fired.append(("misaligned", "flag", "clip_alignment < 0.15", {"clip_alignment": 0.08}, "0.15", None))
    if position % 13 == 12:
        fired.append(
            ("contaminated", "drop", "contaminated", {"hamming": 2, "distance": 1.5}, "8, 4.0", test[0]["sample_id"])
        )
    names = ("rule", "action", "expression", "values", "threshold", "related_row")
    return [dict(zip(names, (*rule[:3], json.dumps(rule[3]), *rule[4:]), strict=True)) for rule in fired]


def _run(root: Path) -> None:
    folder = root / "runs" / "demo"
    folder.mkdir(parents=True)
    lines = [
        {"stage": stage, "step": step, "epoch": step / 100, "loss": top / (1 + step / 20) + 0.1 * (step % 3)}
        for stage, steps, top in ((0, 50, 6.0), (1, 150, 3.0))
        for step in range(1, steps + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    recipe = {"name": "demo", "stages": [{"name": "align"}, {"name": None}]}
    _manifest(folder, "train", {"steps": 150}, {}, recipe)


def _manifest(
    folder: Path, stage: str, counts: dict[str, Any], extra: dict[str, Any], recipe: dict[str, Any] | None = None
) -> None:
    write_manifest(
        folder,
        stage=stage,
        recipe=recipe or {"name": folder.name},
        inputs={},
        outputs=[],
        counts=counts,
        seconds={"all": 1.0},
        seeds={"seed": 0},
        extra=extra,
    )


def with_task(own: Path) -> Folder:
    """The tuned run, its manifest holding the task as the evaluation writes it."""
    place = own / "evals" / "demo-tuned" / "manifest.json"
    manifest = json.loads(place.read_text())
    spec = load_spec("easy_vqa").model_copy(update={"name": "vqa"})
    place.write_text(json.dumps(manifest | {"task_specs": dumped({"vqa": spec})}))
    path = place.with_name("predictions.parquet")
    frame = pd.read_parquet(path)
    frame.at[0, "extracted"] = "The Two!"
    frame["references"] = [["two", "2", "three"], *list(frame["references"])[1:]]
    frame.to_parquet(path)
    folder = scan(own).find("evals", "demo-tuned")
    assert folder
    return folder
