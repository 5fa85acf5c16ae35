"""Nearest training images against brute force over the stored embeddings."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dashboards.data.catalog import Folder, scan
from dashboards.find.embeddings import embedding_of, has_embeddings, open_embeddings, search
from dashboards.find.neighbors import nearest


@pytest.fixture(scope="module")
def folder(small: Path) -> Folder:
    found = scan(small).find("curated", "small")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def stored(small: Path) -> pd.DataFrame:
    return pd.concat(map(pd.read_parquet, (small / "curated/small/signals").glob("part-*.parquet")))


def _samples(small: Path) -> pd.DataFrame:
    return pd.read_parquet(small / "curated/small/samples.parquet")


def test_search_is_exact(folder: Folder, stored: pd.DataFrame) -> None:
    embeddings = open_embeddings(folder)
    assert embeddings is not None and len(embeddings.vectors) == len(stored)
    matrix = np.stack(stored["clip_embedding"].to_list()).astype(np.float32)
    for key, vector in list(zip(stored["image_key"], matrix, strict=True))[:5]:
        query = embedding_of(folder, key)
        assert query is not None
        cosines = matrix @ vector
        expected = sorted(zip(stored["image_key"], cosines, strict=True), key=lambda item: -item[1])[:4]
        found = search(embeddings, query, 4)
        np.testing.assert_allclose([cosine for _, cosine in found], [cosine for _, cosine in expected], atol=1e-3)
        assert found[0][1] == pytest.approx(1, abs=5e-3)
    cosines = matrix @ matrix.T
    np.fill_diagonal(cosines, -1)
    assert embeddings.usual == pytest.approx(np.percentile(cosines.max(axis=1), 5), abs=1e-3)


def test_the_files_are_written_once(folder: Folder) -> None:
    open_embeddings(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.root.rglob("*.vectors")}
    open_embeddings(folder)
    assert before and before == {path: path.stat().st_mtime_ns for path in folder.root.rglob("*.vectors")}


def test_an_evaluation_image_that_was_trained_on_is_a_leak_unless_dropped(small: Path, folder: Folder) -> None:
    row = _samples(small).set_index("sample_id").loc["t/train/0"]
    found = nearest(folder, row["image_keys"][0], row["question"], ("x",), of_training=False)
    assert found.neighbors[0].image_key == row["image_keys"][0]
    assert found.neighbors[0].rows[0].same_question and found.neighbors[0].rows[0].decision == "drop"
    assert not found.contradicting, "the same question with another answer is there, but it was dropped"


def test_kept_rows_that_answer_otherwise_are_noise(small: Path, folder: Folder) -> None:
    kept = _samples(small).query("decision == 'keep'").iloc[0]
    found = nearest(folder, kept["image_keys"][0], kept["question"].upper(), ("x",), of_training=False)
    assert found.is_identical and kept["sample_id"] in [row.sample_id for row in found.contradicting]
    agreeing = nearest(folder, kept["image_keys"][0], kept["question"], (kept["answer"],), of_training=False)
    assert kept["sample_id"] not in [row.sample_id for row in agreeing.contradicting]


def test_a_training_row_is_not_its_own_neighbour(small: Path, folder: Folder) -> None:
    key = _samples(small).iloc[40]["image_keys"][0]
    found = nearest(folder, key, "q", (), of_training=True, count=3)
    assert len(found.neighbors) == 3 and key not in [near.image_key for near in found.neighbors]
    counts = _samples(small)["image_keys"].map(lambda keys: keys[0]).value_counts()
    assert all(near.row_count == counts[near.image_key] for near in found.neighbors)


def test_an_unknown_image_says_what_to_do(folder: Folder) -> None:
    assert "contamination" in nearest(folder, "0" * 64, "q", (), of_training=False).problem


def test_an_image_without_a_vector_waits_for_no_matrix(small: Path, tmp_path: Path) -> None:
    shutil.copytree(small / "curated", tmp_path / "curated")
    folder = scan(tmp_path).find("curated", "small")
    assert folder is not None
    assert "not measured" in nearest(folder, "0" * 64, "q", (), of_training=False).problem
    assert not list(tmp_path.rglob("*.vectors"))
    for part in folder.path.glob("signals/part-*.parquet"):
        frame = pd.read_parquet(part)
        frame.assign(clip_embedding=pd.Series([None] * len(frame), dtype=object)).to_parquet(part)
    assert not has_embeddings.__wrapped__(folder)  # type: ignore[attr-defined]
    for part in folder.path.glob("signals/part-*.parquet"):
        pd.read_parquet(part).drop(columns="clip_embedding").to_parquet(part)
    assert not has_embeddings.__wrapped__(folder)  # type: ignore[attr-defined]
    plain = scan(tmp_path).find("curated", "small")
    assert plain is not None
    assert "add `clip`" in nearest(replace(plain, fingerprint="plain"), "1" * 64, "q", (), of_training=False).problem
