"""The whole proof on a slice with a tiny model: every stage is real, the figures mean nothing."""

import csv
import json
import os
import re
import subprocess

import pyarrow.parquet as pq
import pytest
import yaml

from studies.demo.__main__ import PARTS
from studies.demo.report import read_parts, update_page
from tests.forks import python
from tests.loop import REPO

pytestmark = pytest.mark.slow

SETTINGS = {
    "images": 60, "rule_images": 60, "kinds": ["color", "shape"], "questions": 60,
    "training": {"steps": 2, "batch_size": 4},
    "comparisons": [
        {"pictures": 0.1, "answers": 0.2, "trainings": 2},
        {"pictures": 0.1, "answers": 0.3, "trainings": 1},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def project(loop, tmp_path_factory):
    """A folder like the repository's, with the slice's raw data and tiny model."""
    project = tmp_path_factory.mktemp("project")
    (project / "data").mkdir()
    for name in ("curate", "evalsuite", "finetune", "winnow"):
        (project / name).symlink_to(REPO / name)
    for name in ("raw", "models"):
        (project / "data" / name).symlink_to(loop / name)
    (project / "settings.yaml").write_text(yaml.safe_dump(SETTINGS))
    return project


def prove(project, *options):
    command = python("-m", "studies.demo", "settings.yaml", "--out", "results", *options)
    return subprocess.run(
        command, cwd=project, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(REPO)}
    )


@pytest.fixture(scope="module")
def proof(project):
    parts = (word for part in PARTS if part != "photos" for word in ("--part", part))
    done = prove(project, *parts)
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def sets_of(project):
    """The folder of the training sets; the rules are counted on another one, with all kinds of question."""
    return next(path.parent for path in project.glob("data/cache/proof/sets-*/exam"))


def test_every_part_leaves_its_results(proof):
    report = read_parts(proof / "results", PARTS)
    assert report.keys() == {"rules", "main"}
    for compared, seeds in zip(report["main"]["comparisons"], (2, 1), strict=True):
        accuracies = compared["untouched"]["accuracy"]
        assert all(0 <= one["accuracy"] <= 1 and one["low"] <= one["high"] for one in accuracies.values())
        assert all(len(one["seeds"]) == seeds for one in accuracies.values())
    for name in ("main.png", "rules.png"):
        assert (proof / "results" / name).read_bytes().startswith(b"\x89PNG")
    rows = list(csv.reader((proof / "results/main.csv").open()))
    assert len(rows) == 3 and all(len(row) == len(rows[0]) for row in rows)


def test_each_set_is_what_it_says(proof):
    sets = next(path.parent for path in proof.glob("data/cache/proof/sets-*/exam"))
    decisions = pq.read_table(sets / "all/curated/decisions.parquet").to_pandas()
    truth = pq.read_table(sets / "all/raw/truth.parquet").to_pandas()
    kept = set(decisions.sample_id[decisions.decision != "drop"])
    wrong = set(truth.sample_id[truth.defect == "wrong_answer"])
    assert len(wrong & kept) < 0.1 * len(wrong)
    assert pq.read_table(sets / "clean/raw/truth.parquet").num_rows == 0
    for path in (sets / "clean/raw/vqa.jsonl", sets / "exam/questions.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert {row["meta"]["question_type"] for row in rows} == {"color", "shape"}


def test_the_arms_of_a_seed_share_rows_at_the_same_steps(proof):
    arms = proof / "data/cache/proof/arms"

    def seen(version, seed):
        (folder,) = arms.glob(f"main-{version}-seed-{seed}-*")
        losses = pq.read_table(folder / "run/losses.parquet").to_pylist()
        assert len(losses) == 8  # two steps of four rows, none twice
        return [json.loads(line)["id"] for line in (folder / "rows.jsonl").read_text().splitlines()]

    for seed in (0, 1):
        clean = seen("clean", seed)
        for version in ("dirty", "curated"):
            for place, name in enumerate(seen(version, seed)):
                assert name not in clean or clean.index(name) == place
    assert seen("clean", 0) != seen("clean", 1)


def texts(project):
    results = project / "results"
    return {path.name: path.read_bytes() for path in results.iterdir() if path.suffix != ".png"}


def test_a_second_run_trains_nothing_and_says_the_same(proof):
    before = texts(proof)
    done = prove(proof, "--part", "main")
    assert done.returncode == 0 and not any(f"{stage} run" in done.stdout for stage in ("curate", "evalsuite"))
    assert "finetune train" not in done.stdout
    assert texts(proof) == before


def test_the_section_goes_between_its_marks(proof, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- proof: written by `make proof` -->\nan earlier section\n<!-- /proof -->\nafter\n")
    for _ in range(2):
        update_page(read_parts(proof / "results", PARTS), proof / "results", page)
    written = page.read_text()
    assert written.startswith("before\n") and written.endswith("<!-- /proof -->\nafter\n")
    assert "an earlier section" not in written and written.count("| rates of defects |") == 1
    plots = re.findall(r"!\[.*?\]\((.*?)\)", written)
    assert plots and all((tmp_path / plot).is_file() for plot in plots)


def test_an_unknown_part_is_named(project):
    done = prove(project, "--part", "photographs")
    assert done.returncode == 2 and "photographs" in done.stderr
