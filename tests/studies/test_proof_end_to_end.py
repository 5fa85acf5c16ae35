"""The whole proof on a slice with a tiny model: every stage is real, the figures mean nothing."""

import csv
import json
import os
import re
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import yaml

from studies.curation_pays.__main__ import PARTS
from studies.curation_pays.report import read_parts, update_page
from tests.forks import python
from tests.loop import REPO

pytestmark = pytest.mark.slow

SETTINGS = {
    "images": 60, "rule_images": 60, "kinds": ["color", "shape"],
    "asked": ["color", "shape"], "questions": 60, "seeds": [0], "strength": 4,
    "training": {"steps": 4, "batch_size": 2},
    "also": [{"steps": 4, "images": 60, "kinds": ["color", "shape"]}],  # the same arms again
    "second_turn": {"dropped": 0.2, "corrected": 40},
    "sweep": {"defects": ["leaked"], "rates": [0.3]},
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


def prove(project, *options, interpreter=(sys.executable, "-m", "studies.curation_pays")):
    command = [*interpreter, "settings.yaml", "--out", "results", *options]
    return subprocess.run(
        command, cwd=project, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(REPO)}
    )


@pytest.fixture(scope="module")
def proof(project):
    parts = (word for part in PARTS if part != "photos" for word in ("--part", part))
    done = prove(project, *parts, interpreter=python("-m", "tests.studies.forked_study"))
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def sets_of(project):
    """The folder of the training sets; the rules are counted on another one, with all kinds of question."""
    return next(path.parent for path in project.glob("data/cache/proof/sets-*/exam"))


def test_every_part_leaves_its_results(proof):
    report = read_parts(proof / "results", PARTS)
    assert report.keys() == {"rules", "main", "second_turn", "sweep"}
    accuracies = report["main"]["untouched"]["accuracy"]
    assert [one["untouched"] for one in report["main"]["also"]] == [report["main"]["untouched"]]
    assert all(0 <= one["accuracy"] <= 1 and one["low"] <= one["high"] for one in accuracies.values())
    assert {one["defect"] for one in report["sweep"]["entries"]} == {"leaked"}
    for name in ("main.png", "rules.png", "sweep.png"):
        assert (proof / "results" / name).read_bytes().startswith(b"\x89PNG")
    rows = list(csv.reader((proof / "results/sweep.csv").open()))
    assert len(rows) == 2 and all(len(row) == len(rows[0]) for row in rows)


def test_each_set_is_what_it_says(proof):
    sets = sets_of(proof)
    clean = pq.read_table(sets / "all/curated/decisions.parquet").to_pandas()
    truth = pq.read_table(sets / "all/raw/truth.parquet").to_pandas()
    kept = set(clean.sample_id[clean.decision != "drop"])
    wrong = set(truth.sample_id[truth.defect == "wrong_answer"])
    assert len(wrong & kept) < 0.1 * len(wrong)
    assert pq.read_table(sets / "clean/raw/truth.parquet").num_rows == 0
    for path in (sets / "clean/raw/vqa.jsonl", sets / "exam/questions.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert {row["meta"]["question_type"] for row in rows} == {"color", "shape"}


def test_the_reviewer_mends_what_the_truth_says(proof):
    turn = sets_of(proof) / "second-turn/reviewed_worst"
    lines = [json.loads(line) for line in (turn / "corrections/simulated.jsonl").read_text().splitlines()]
    assert lines
    rows = {row["id"]: row for row in map(json.loads, (turn / "set/samples.jsonl").read_text().splitlines())}
    for line in lines:
        if line["action"] == "relabel":
            assert rows[line["sample_id"]]["conversations"][-1]["value"] == line["new"]
        else:
            assert line["sample_id"] not in rows
    applied = json.loads((turn / "set/corrections.json").read_text())
    assert "stale" not in json.dumps(applied.get("counts", {})) or applied["counts"].get("stale", 0) == 0


def texts(project):
    results = project / "results"
    return {path.name: path.read_bytes() for path in results.iterdir() if path.suffix != ".png"}


def test_a_second_run_trains_nothing_and_says_the_same(proof):
    before = texts(proof)
    done = prove(proof, "--part", "main", "--part", "sweep")
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
    assert "an earlier section" not in written and written.count("| trained with |") == 1
    plots = re.findall(r"!\[.*?\]\((.*?)\)", written)
    assert plots and all((tmp_path / plot).is_file() for plot in plots)


def test_an_unknown_part_is_named(project):
    done = prove(project, "--part", "photographs")
    assert done.returncode == 2 and "photographs" in done.stderr
