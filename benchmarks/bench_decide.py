"""Deciding anew on stored signals: a million rows, eight rules, no image on disk.

python -m benchmarks.bench_decide [--rows N]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import duckdb

from curate.recipe import Rule
from curate.report.results import write_results
from curate.rules.decide import check_rules, decide
from curate.workspace import Workspace

QUESTIONS_AN_IMAGE = 4
RULES = {
    "unreadable": Rule(when="error IS NOT NULL", action="drop"),
    "blurry": Rule(when="sharpness < 20 AND flat < 0.5", action="drop"),
    "dark": Rule(when="luminance_p99 < 60", action="drop"),
    "odd_shape": Rule(when="aspect_ratio NOT BETWEEN 0.35 AND 2.9", action="flag"),
    "small": Rule(when="least(width, height) < 70", action="drop"),
    "nsfw": Rule(when="nsfw > 0.97", action="drop"),
    "misaligned": Rule(when="clip_alignment < 0.11", action="flag"),
    "disputed": Rule(when="agreement < 0.3 OR refusal OR empty_answer", action="flag"),
}


def generate(space: Workspace, rows: int) -> None:
    """Rows and signals as ``curate run`` leaves them, with random values."""
    for folder in (space.corrected.folder, space.text.folder):
        folder.mkdir(parents=True)
    images = max(rows // QUESTIONS_AN_IMAGE, 1)
    with duckdb.connect(":memory:") as connection:
        connection.execute("SELECT setseed(0.5)")

        def write(target: Path, query: str) -> None:
            connection.execute(f"COPY ({query}) TO '{target}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 16384)")

        key, path = "sha256(i::VARCHAR)", "'train2014/COCO_train2014_' || lpad(i::VARCHAR, 12, '0') || '.jpg'"
        write(
            space.corrected.folder / "all.parquet",
            f"""SELECT 'vqa_v2/train/' || lpad(n::VARCHAR, 9, '0') AS sample_id, 'vqa_v2' AS source,
                'train' AS split, [{path}] AS images, 'What is number ' || n || '?' AS question, 'yes' AS answer,
                ['yes', 'yes', 'yes', 'no', 'yes', 'yes', 'yes', 'yes', 'maybe', 'yes'] AS answers,
                'yes/no' AS question_type, '{{"id": "vqa_v2/train/' || n || '", "conversations": []}}' AS record,
                NULL::VARCHAR AS bad_row, [{key}] AS image_keys, md5(n::VARCHAR) AS content_hash,
                'what is number ' || n AS question_key, 'yes' AS answer_key, '' AS context_key, NULL::VARCHAR AS forced,
                NULL::VARCHAR AS forced_by
            FROM (SELECT range AS n, range // {QUESTIONS_AN_IMAGE} AS i FROM range({rows})) ORDER BY n""",
        )
        write(
            space.paths,
            f"""SELECT {path} AS path, {key} AS image_key, CASE WHEN random() < 0.01 THEN 'truncated' END AS error,
                NULL::VARCHAR AS error_detail FROM (SELECT range AS i FROM range({images}))""",
        )
        write(
            space.signals / "part-00000.parquet",
            f"""SELECT {key} AS image_key, {path} AS path, 100000 AS bytes, 640 AS width, hash(i) AS phash,
                60 + (random() * 900)::INTEGER AS height, random() * 100 AS sharpness, random() AS flat,
                NULL::VARCHAR AS error, NULL::VARCHAR AS error_detail, 20 + random() * 235 AS luminance_p99,
                0.3 + random() * 3 AS aspect_ratio, random() AS nsfw
            FROM (SELECT range AS i FROM range({images}))""",
        )
        write(
            space.text.folder / "all.parquet",
            f"""SELECT 'vqa_v2/train/' || lpad(range::VARCHAR, 9, '0') AS sample_id, random() < 0.001 AS refusal,
                random() < 0.001 AS empty_answer, 0.1 + random() * 0.3 AS clip_alignment, random() AS agreement
            FROM range({rows})""",
        )
    for parts in (space.corrected, space.text):
        parts.finish(["all.parquet"])


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        space = Workspace(Path(folder))
        generate(space, asked.rows)
        rules = check_rules(RULES)
        for attempt in ("first", "again"):
            started, busy = time.perf_counter(), time.process_time()
            decide(space, rules)
            print(
                f"decide, {attempt}: {asked.rows:,} rows, {len(rules)} rules in {time.perf_counter() - started:.2f} s"
                f" ({time.process_time() - busy:.2f} s of CPU), no image opened"
            )
        with duckdb.connect(":memory:") as connection:
            fates = connection.execute(
                f"SELECT decision, count(*) FROM read_parquet('{space.decisions}') GROUP BY 1 ORDER BY 1"
            ).fetchall()
        print(", ".join(f"{fate} {count:,}" for fate, count in fates))
        started = time.perf_counter()
        write_results(space)
        print(f"samples.parquet, samples.jsonl and ledger.jsonl in {time.perf_counter() - started:.2f} s")
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024:,} MB")


if __name__ == "__main__":
    main()
