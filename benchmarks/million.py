"""Folders as the stages leave them, with generated rows: two evaluations, two curated sets and a training run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.bench_decide import RULES, generate
from curate.report.results import write_results
from curate.rules.decide import check_rules, decide
from curate.workspace import Workspace
from winnow.files import write_json
from winnow.run import write_manifest

_PREDICTIONS = """
    SELECT *, accuracy >= 0.5 AS accuracy_right, vqa_accuracy >= 0.5 AS vqa_accuracy_right,
           NULL::BOOLEAN AS cider_right
    FROM (SELECT 'vqa/test/' || lpad(i::VARCHAR, 7, '0') AS sample_id,
           [md5((i // 8)::VARCHAR) || md5((i // 8)::VARCHAR)] AS image_keys,
           ['images/' || (i // 8) || '.png'] AS images,
           CASE WHEN i % 20 = 0 THEN 'captions' ELSE 'vqa' END AS task,
           'What is shape number ' || (i % 977) || ' in the image?' AS question, 'Answer: ' || i AS prompt,
           CASE WHEN random() < 0.7 THEN 'yes' ELSE 'a red triangle' END AS raw,
           CASE WHEN random() < 0.7 THEN 'yes' ELSE 'red' END AS extracted,
           CASE WHEN random() < 0.95 THEN 'ok' ELSE 'unparsed' END AS status, ['yes', 'yes', 'no'] AS "references",
           CASE WHEN i % 20 = 0 THEN NULL WHEN random() < 0.8 THEN 1.0::DOUBLE ELSE 0.0 END AS accuracy,
           CASE WHEN i % 20 = 0 THEN NULL ELSE random() END AS vqa_accuracy,
           CASE WHEN i % 20 = 0 THEN random() * 10 END AS cider,
           'stop' AS finish_reason, 40::BIGINT AS input_tokens,
           3::BIGINT AS output_tokens, 0.01::DOUBLE AS "seconds",
           ['yes_no', 'color', 'shape'][1 + i % 3] AS slice_question_type,
           ['other', 'number'][1 + i % 2] AS slice_answer_type, md5(i::VARCHAR) AS content_hash
    FROM range({rows}) t(i))"""
_RULE = """struct_pack(rule := '{name}', action := '{action}', expression := '{name} < 1', "values" := '{{"x": 0.5}}',
                       threshold := '1', related_row := 'vqa/test/' || lpad((i % 5000)::VARCHAR, 7, '0'))"""
_DECISIONS = """
    SELECT i AS position, 'vqa/train/' || i AS sample_id,
           CASE WHEN i % 20 = 0 THEN 'drop' WHEN i % 33 = 0 THEN 'flag' ELSE 'keep' END AS decision,
           CASE WHEN i % 40 = 0 THEN 'blurry' WHEN i % 20 = 0 THEN 'duplicate' END AS reason,
           list_concat(CASE WHEN i % 40 = 0 THEN [{blurry}] ELSE [] END,
                       CASE WHEN i % 20 = 0 THEN [{duplicate}] ELSE [] END,
                       CASE WHEN i % 33 = 0 THEN [{misaligned}] ELSE [] END) AS rules,
           md5((i // 20)::VARCHAR) AS duplicate_group,
           CASE WHEN i % 20 = 0 AND i % 40 > 0 THEN 'vqa/train/' || (i + 1) END AS representative,
           CASE WHEN i % 20 = 0 AND i % 40 > 0 THEN 4 * random() END AS duplicate_distance,
           CASE WHEN i % 20 = 0 AND i % 40 > 0 THEN (i % 9)::INTEGER END AS hamming
    FROM range({rows}) t(i)"""
_SAMPLES = """
    SELECT i AS position, 'vqa/train/' || i AS sample_id, 'vqa' AS source, 'train' AS split,
           ['images/' || i || '.png'] AS images,
           [md5(i::VARCHAR) || md5(i::VARCHAR)] AS image_keys, md5(i::VARCHAR) AS content_hash,
           'What is shape number ' || (i % 977) || '?' AS question,
           'yes' AS answer, ['yes', 'no'] AS answers, 'color' AS question_type, 'keep' AS decision,
           NULL::VARCHAR AS reason, repeat('x', 200) AS record
    FROM range({rows}) t(i)"""
_LOSSES = """
    SELECT 'vqa/train/' || i AS sample_id, ['vqa', 'captions', 'ocr'][1 + i % 3] AS source, 0::INTEGER AS stage,
           epoch::INTEGER AS epoch, random() * 3 AS loss, 4::INTEGER AS tokens
    FROM range({rows}) t(i), range(2) e(epoch)"""
_WIDTH = 64  # of the random embeddings
_PART = 100_000


def write_folders(root: Path, rows: int) -> None:
    """Two evaluations, a curated set and a training run."""
    with duckdb.connect(":memory:") as connection:
        for seed, run in ((0.1, "base"), (0.2, "tuned")):
            folder = root / "evals" / run
            folder.mkdir(parents=True)
            connection.execute("SELECT setseed(?)", [seed])
            _copy(connection, _PREDICTIONS.format(rows=rows), folder / "predictions.parquet")
            entry = {
                "value": 0.8,
                "ci_low": 0.79,
                "ci_high": 0.81,
                "n": rows,
                "coverage": 0.95,
                "variant": "",
                "mean_of_rows": True,
            }
            tasks = {
                task: {"headline": metric, "metrics": {metric: {**entry, "n": n, "unit": unit, "top": top}}}
                for task, metric, n, unit, top in (
                    ("vqa", "accuracy", rows, "%", 1.0),
                    ("captions", "cider", rows // 20, "", 10.0),
                )
            }
            write_json(folder / "scores.json", {"tasks": tasks})
            _manifest(folder)
        folder = root / "curated" / "big"
        folder.mkdir(parents=True)
        actions = {"blurry": "drop", "duplicate": "drop", "misaligned": "flag"}
        rules = {name: _RULE.format(name=name, action=action) for name, action in actions.items()}
        _copy(connection, _DECISIONS.format(rows=rows, **rules), folder / "decisions.parquet")
        _copy(connection, _SAMPLES.format(rows=rows), folder / "samples.parquet")
        _write_embeddings(connection, folder, rows)
        _manifest(folder)
    _write_decided(root / "curated" / "signals", rows)
    folder = root / "runs" / "big"
    folder.mkdir(parents=True)
    lines = (json.dumps({"step": step, "epoch": step / 50_000, "loss": 1 / (1 + step)}) for step in range(50_000))
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    with duckdb.connect(":memory:") as connection:
        _copy(connection, _LOSSES.format(rows=rows), folder / "losses.parquet")
    _manifest(folder)


def _write_embeddings(connection: duckdb.DuckDBPyConnection, folder: Path, rows: int) -> None:
    """A random unit vector for the image of every row of ``_SAMPLES``, in parts."""
    (folder / "signals").mkdir()
    chance = np.random.default_rng(0)
    for part in range(-(-rows // _PART)):
        first, last = part * _PART, min((part + 1) * _PART, rows)
        keys = connection.sql(f"SELECT md5(i::VARCHAR) || md5(i::VARCHAR) AS k FROM range({first}, {last}) t(i)")
        vectors = chance.standard_normal((last - first, _WIDTH), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        flat = pa.array(vectors.astype(np.float16).ravel())
        table = pa.table(
            {
                "image_key": keys.to_arrow_table()["k"],
                "clip_embedding": pa.FixedSizeListArray.from_arrays(flat, _WIDTH),
            }
        )
        pq.write_table(table, folder / "signals" / f"part-{part:05d}.parquet")


def _write_decided(folder: Path, rows: int) -> None:
    """A set with the signals and decisions of ``bench_decide``, as ``curate decide`` leaves it."""
    space = Workspace(folder)
    generate(space, rows)
    decide(space, check_rules(RULES))
    write_results(space)
    recipe = {
        "name": "signals",
        "sources": [{"location": "train.jsonl"}],
        "rules": {name: rule.model_dump() for name, rule in RULES.items()},
    }
    _manifest(folder, recipe)


def _copy(connection: duckdb.DuckDBPyConnection, sql: str, path: Path) -> None:
    connection.execute(f"COPY ({sql}) TO '{path}' (FORMAT parquet, ROW_GROUP_SIZE 65536)")


def _manifest(folder: Path, recipe: dict[str, Any] | None = None) -> None:
    write_manifest(
        folder, stage="bench", recipe=recipe or {}, inputs={}, outputs=[], counts={}, seconds={}, seeds={},
        extra={"image_root": str(folder)},
    )  # fmt: skip
