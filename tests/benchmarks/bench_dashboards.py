"""Server time of the dashboard's queries and pages at a million predictions and a million curated rows.

    python tests/benchmarks/bench_dashboards.py [--rows 1000000] [--data FOLDER]

Writes the rows (reused when FOLDER holds them), then prints cold (first call) and warm (best of
the following) milliseconds per query, and per page a whole run of its script.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from curate.atomic import write_json
from curate.manifest import write_manifest
from dashboards.query.catalog import scan
from dashboards.query.compare import changes
from dashboards.query.decisions import fate_of, funnel
from dashboards.query.engine import connect
from dashboards.query.failures import answers_at, count_outcomes, filter_values, matching_rows
from dashboards.query.filters import FilterSpec
from dashboards.query.matches import matches_of
from dashboards.query.samples import answers_of_all
from dashboards.query.scores import headline, scores
from dashboards.query.tables import open_predictions
from dashboards.settings import DATA_VARIABLE

_PREDICTIONS = """
    SELECT 'vqa/test/' || lpad(i::VARCHAR, 7, '0') AS sample_id,
           [md5((i // 8)::VARCHAR) || md5((i // 8)::VARCHAR)] AS image_keys,
           ['images/' || (i // 8) || '.png'] AS images,
           CASE WHEN i % 20 = 0 THEN 'captions' ELSE 'vqa' END AS task,
           'What is shape number ' || (i % 977) || ' in the image?' AS question, 'Answer: ' || i AS prompt,
           CASE WHEN random() < 0.7 THEN 'yes' ELSE 'a red triangle' END AS raw,
           CASE WHEN random() < 0.7 THEN 'yes' ELSE 'red' END AS extracted,
           CASE WHEN random() < 0.95 THEN 'ok' ELSE 'unparsed' END AS status, ['yes', 'yes', 'no'] AS "references",
           CASE WHEN i % 20 = 0 THEN NULL WHEN random() < 0.8 THEN 1.0::DOUBLE ELSE 0.0 END AS accuracy,
           CASE WHEN i % 20 = 0 THEN NULL ELSE random() END AS vqa_accuracy,
           CASE WHEN i % 20 = 0 THEN random() * 10 END AS cider, 'stop' AS finish_reason, 40::BIGINT AS input_tokens,
           3::BIGINT AS output_tokens, 0.01::DOUBLE AS "seconds",
           ['yes_no', 'color', 'shape'][1 + i % 3] AS slice_question_type,
           ['other', 'number'][1 + i % 2] AS slice_answer_type
    FROM range({rows}) t(i)"""
_RULE = """struct_pack(rule := '{name}', action := '{action}', expression := '{name} < 1', "values" := '{{"x": 0.5}}',
                       threshold := '1', kept_twin := 'vqa/test/' || lpad((i % 5000)::VARCHAR, 7, '0'))"""
_DECISIONS = """
    SELECT i AS position, 'vqa/train/' || i AS sample_id,
           CASE WHEN i % 20 = 0 THEN 'drop' WHEN i % 33 = 0 THEN 'flag' ELSE 'keep' END AS decision,
           CASE WHEN i % 40 = 0 THEN 'blurry' WHEN i % 20 = 0 THEN 'duplicate' END AS reason,
           list_concat(CASE WHEN i % 40 = 0 THEN [{blurry}] ELSE [] END,
                       CASE WHEN i % 20 = 0 THEN [{duplicate}] ELSE [] END,
                       CASE WHEN i % 33 = 0 THEN [{misaligned}] ELSE [] END) AS rules,
           NULL::VARCHAR AS duplicate_group, NULL::VARCHAR AS representative, NULL::DOUBLE AS duplicate_distance,
           NULL::INTEGER AS hamming
    FROM range({rows}) t(i)"""
_SAMPLES = """
    SELECT i AS position, 'vqa/train/' || i AS sample_id, 'vqa' AS source, 'train' AS split,
           ['images/' || i || '.png'] AS images,
           [md5(i::VARCHAR) || md5(i::VARCHAR)] AS image_keys, 'What is shape number ' || (i % 977) || '?' AS question,
           'yes' AS answer, ['yes', 'no'] AS answers, 'color' AS question_type, 'keep' AS decision,
           NULL::VARCHAR AS reason, repeat('x', 200) AS record
    FROM range({rows}) t(i)"""


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = options.data or Path(temporary)
        if not (root / "curated").exists():
            write_folders(root, options.rows)
        print(
            f"{options.rows:,} predictions in each of two runs, {options.rows:,} curated rows; milliseconds cold / warm"
        )
        bench_queries(root)
        bench_pages(root)
        print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


def write_folders(root: Path, rows: int) -> None:
    """Two evaluations, a curated set and a training run."""
    with duckdb.connect(":memory:") as connection:
        for seed, run in ((0.1, "base"), (0.2, "tuned")):
            folder = root / "evals" / run
            folder.mkdir(parents=True)
            connection.execute("SELECT setseed(?)", [seed])
            _copy(connection, _PREDICTIONS.format(rows=rows), folder / "predictions.parquet")
            entry = {"value": 0.8, "ci_low": 0.79, "ci_high": 0.81, "n": rows, "coverage": 0.95, "variant": ""}
            tasks = {
                task: {"headline": metric, "metrics": {metric: {**entry, "n": n}}}
                for task, metric, n in (("vqa", "accuracy", rows), ("captions", "cider", rows // 20))
            }
            write_json(folder / "scores.json", {"tasks": tasks})
            _manifest(folder)
        folder = root / "curated" / "big"
        folder.mkdir(parents=True)
        actions = {"blurry": "drop", "duplicate": "drop", "misaligned": "flag"}
        rules = {name: _RULE.format(name=name, action=action) for name, action in actions.items()}
        _copy(connection, _DECISIONS.format(rows=rows, **rules), folder / "decisions.parquet")
        _copy(connection, _SAMPLES.format(rows=rows), folder / "samples.parquet")
        _manifest(folder)
    folder = root / "runs" / "big"
    folder.mkdir(parents=True)
    lines = (json.dumps({"step": step, "epoch": step / 50_000, "loss": 1 / (1 + step)}) for step in range(50_000))
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    _manifest(folder)


def _copy(connection: duckdb.DuckDBPyConnection, sql: str, path: Path) -> None:
    connection.execute(f"COPY ({sql}) TO '{path}' (FORMAT parquet, ROW_GROUP_SIZE 65536)")


def _manifest(folder: Path) -> None:
    write_manifest(
        folder, stage="bench", recipe={}, inputs={}, outputs=[], counts={}, seconds={}, seeds={},
        extra={"image_root": str(folder)},
    )  # fmt: skip


def bench_queries(root: Path) -> None:
    """Time every query that the three pages make."""
    catalog = scan(root)
    run, base = catalog.find("evals", "tuned"), catalog.find("evals", "base")
    curated = catalog.find("curated", "big")
    assert run and base and curated
    connection = connect(root)
    table, before = (open_predictions(connection, folder.file("predictions.parquet")) for folder in (run, base))
    wrong, broken = FilterSpec(), FilterSpec(outcome="Broken")
    rows = matching_rows(connection, table, before, wrong)
    deep = [int(row) for row in rows[len(rows) // 2 :][:24]]
    sample = answers_at(connection, table, None, deep[:1])[0]
    queries: dict[str, Callable[[], Any]] = {
        "overview: catalog": lambda: scan(root),
        "overview: counts per outcome, two runs": lambda: count_outcomes(connection, table, before, wrong),
        "overview: paired differences with intervals": lambda: changes(
            connection, table, before, headline(scores(run))
        ),
        "overview: funnel": lambda: funnel(connection, curated),
        "failures: values of the filters": lambda: filter_values(connection, table),
        "failures: wrong, sorted, all ids": lambda: matching_rows(connection, table, before, wrong),
        "failures: broken, joined, sorted": lambda: matching_rows(connection, table, before, broken),
        "failures: substring in question and answers": lambda: matching_rows(
            connection, table, before, FilterSpec(text="NUMBER 12", outcome="All")
        ),
        "failures: 24 rows in the middle": lambda: answers_at(connection, table, before, deep),
        "sample: what all runs said": lambda: answers_of_all(connection, [run, base], sample.sample_id),
        "sample: fate of a training row": lambda: fate_of(connection, curated, "vqa/train/500000"),
        "sample: leaks and copies": lambda: matches_of(connection, curated, sample.sample_id, sample.image_keys),
    }
    for name, query in queries.items():
        _print(name, _times(query))


def bench_pages(root: Path) -> None:
    """Time whole runs of the pages' scripts; warm ones answer from the caches."""
    from streamlit.testing.v1 import AppTest

    os.environ[DATA_VARIABLE] = str(root)
    main_script = Path(__file__).parents[2] / "dashboards" / "app.py"
    app = AppTest.from_file(str(main_script), default_timeout=300)
    app.query_params["id"] = "vqa/test/0500001"

    def run() -> None:
        app.run()
        assert not app.exception, app.exception

    _print("whole page: overview", _times(run))
    for page in ("failures", "sample"):
        app.switch_page(f"app_pages/{page}.py")
        _print(f"whole page: {page}", _times(run))


def _times(call: Callable[[], Any], warm: int = 4) -> list[float]:
    found = []
    for _ in range(warm + 1):
        started = time.perf_counter()
        call()
        found.append(1000 * (time.perf_counter() - started))
    return found


def _print(name: str, times: list[float]) -> None:
    print(f"{name:<48}{times[0]:>8.0f} /{min(times[1:]):>6.0f}", flush=True)


if __name__ == "__main__":
    main()
