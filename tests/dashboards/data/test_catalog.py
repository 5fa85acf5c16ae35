from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dashboards.data.catalog import find_folder, image_root, manifest_of, scan
from dashboards.data.engine import columns_of
from tests.dashboards.folders import build


def test_lists_finished_folders(data: Path) -> None:
    catalog = scan(data)
    assert {folder.name for folder in catalog.finished("evals")} == {"demo-base", "demo-tuned"}
    assert [folder.name for folder in catalog.finished("curated")] == ["demo"]
    assert [folder.name for folder in catalog.finished("runs")] == ["demo"]
    assert catalog.broken() == []


def test_empty_and_missing_data_folder(tmp_path: Path) -> None:
    assert scan(tmp_path).folders == ()
    assert scan(tmp_path / "nowhere").folders == ()


def test_folder_without_manifest_is_listed_with_the_command_that_finishes_it(own: Path) -> None:
    (own / "evals" / "demo-base" / "manifest.json").unlink()
    catalog = scan(own)
    assert [folder.name for folder in catalog.finished("evals")] == ["demo-tuned"]
    (broken,) = catalog.broken()
    assert "did not finish" in broken.problem and "evalsuite run" in broken.problem


@pytest.mark.parametrize("content", ["{", "[1, 2]", "\x00\xff"])
def test_damaged_manifest_is_a_problem_not_a_crash(own: Path, content: str) -> None:
    (own / "runs" / "demo" / "manifest.json").write_text(content)
    (broken,) = scan(own).broken()
    assert broken.name == "demo" and "remake" in broken.problem


def test_missing_table_is_a_problem(own: Path) -> None:
    (own / "curated" / "demo" / "decisions.parquet").unlink()
    (broken,) = scan(own).broken()
    assert "decisions.parquet is missing" in broken.problem


def test_fingerprint_changes_with_a_file(own: Path) -> None:
    before = scan(own).find("evals", "demo-tuned")
    table = own / "evals" / "demo-tuned" / "predictions.parquet"
    table.write_bytes(table.read_bytes() + b"\0")
    after = scan(own).find("evals", "demo-tuned")
    assert before and after and before.fingerprint != after.fingerprint


def test_rewritten_manifest_is_read_again(own: Path) -> None:
    folder = scan(own).find("evals", "demo-tuned")
    assert folder and "new" not in manifest_of(folder)
    path = folder.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "new": 1}))
    folder = scan(own).find("evals", "demo-tuned")
    assert folder and manifest_of(folder)["new"] == 1


@pytest.mark.parametrize("name", ["../curated/demo", "..", ".", "", "demo-tuned/", "/etc", "nope"])
def test_names_are_compared_and_never_joined(data: Path, name: str) -> None:
    assert scan(data).find("evals", name) is None
    assert find_folder(data, "evals", name) is None


def test_hidden_folders_are_left_out(own: Path) -> None:
    shutil.copytree(own / "runs" / "demo", own / "runs" / ".demo.tmp")
    assert [folder.name for folder in scan(own).finished("runs")] == ["demo"]


def test_image_root_per_task_and_for_all(data: Path) -> None:
    catalog = scan(data)
    evaluation, curated = catalog.find("evals", "demo-tuned"), catalog.find("curated", "demo")
    assert evaluation and curated
    assert image_root(evaluation, "vqa") == data / "raw" / "images"
    assert image_root(evaluation, "unknown") is None
    assert image_root(curated, "") == data / "raw" / "images"


def test_wildcards_in_a_folder_name_are_taken_literally(tmp_path: Path) -> None:
    root = build(tmp_path / "a[1]*")
    folder = scan(root).find("evals", "demo-tuned")
    assert folder and "sample_id" in columns_of(folder.connection, folder.file("predictions.parquet"))
