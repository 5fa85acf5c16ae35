"""Evaluations made without a model: rows with chosen answers, written like a run writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalsuite.analysis.compare import ComparedRun
from evalsuite.analysis.results import score_rows
from evalsuite.runs.finish import UnscoredRun, finish
from evalsuite.tasks.spec import TaskSpec, dumped


def spec_of(name: str = "made", metrics: Sequence[str] = ("accuracy",), slices: Sequence[str] = ()) -> TaskSpec:
    return TaskSpec.model_validate(
        {"name": name, "source": {"location": "nowhere.jsonl"}, "metrics": list(metrics), "slices": list(slices)}
    )


def made_row(
    number: int, raw: str | None, *, images: int = 1, references: Sequence[str] = ("red",), **more: Any
) -> dict:
    """Row ``number`` about image ``number // images``; ``raw`` None is a failed request."""
    return {
        "sample_id": f"made/test/{number}", "image_keys": [f"key-{number // images}"], "images": [f"{number}.png"],
        "task": "made", "question": f"what colour is number {number % 3}?", "prompt": "chat", "raw": raw or "",
        "references": list(references), "finish_reason": "stop" if raw is not None else "error", "input_tokens": 1,
        "output_tokens": 1, "seconds": 0.5, "error": None if raw is not None else "lost",
        "request_key": f"request-{number}", "content_hash": f"hash-{number}", "choices": [], **more,
    }  # fmt: skip


def run_of(name: str, rows: list[dict], **settings: Any) -> ComparedRun:
    spec = spec_of(**settings)
    return ComparedRun(name, {spec.name: spec}, {spec.name: score_rows(spec, rows).rows})


def write_evaluation(folder: Path, rows: list[dict], **more: Any) -> Path:
    spec = spec_of(**{key: more.pop(key) for key in ("metrics", "slices") if key in more})
    folder.mkdir(parents=True, exist_ok=True)
    extra = {"task_specs": dumped({spec.name: spec}), "image_root": {spec.name: str(folder)}, "skipped": {}}
    recipe = {"name": folder.name, "seed": 0, "baseline": None, "version": 0}
    finish(
        folder,
        UnscoredRun(
            folder.name, "a model", {spec.name: spec}, {spec.name: rows}, 0, None, recipe, {}, extra, {}, **more
        ),
    )
    return folder
