"""Hits over rows against a naive search, text queries, and pictures that are embedded in the background."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.signals.clip import load_clip
from dashboards.data.catalog import Folder, scan
from dashboards.data.filters import FilterSpec, View, resolve_filters
from dashboards.find.background import progress_of, start
from dashboards.find.embed import embed_missing
from dashboards.find.embeddings import Model, model_of
from dashboards.find.search import (
    Pictured,
    found_answers,
    found_cases,
    hits,
    load_model,
    pictured_run,
    pictured_set,
    query_of,
    text_vector,
)
from tests.dashboards.curated import CLIP
from winnow.errors import UserError
from winnow.media.images import decode


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-1, 6), min_size=1, max_size=30), st.integers(1, 9), st.integers(0, 1000), st.booleans())
def test_hits_are_those_of_a_naive_search(places: list[int], count: int, seed: int, some: bool) -> None:
    chance = np.random.default_rng(seed)
    vectors = chance.standard_normal((7, 4)).astype(np.float16)
    rows = np.arange(len(places), dtype=np.int32) * 2
    pictured = Pictured(rows, np.ones(len(places), dtype=np.uint64), np.array(places), vectors)
    chosen = chance.permutation(rows)[: max(1, len(rows) // 2)] if some else None
    query = chance.standard_normal(4).astype(np.float32)
    by_place: dict[int, list[int]] = {}
    for row, place in zip(rows.tolist(), places, strict=True):
        if place >= 0 and (chosen is None or row in chosen):
            by_place.setdefault(place, []).append(row)
    scored = [(float(vectors[place].astype(np.float64) @ query), tuple(of)) for place, of in by_place.items()]
    expected = sorted(scored, key=lambda item: (-item[0], item[1][0]))[:count]
    found = hits(pictured, query, count, chosen)
    assert [hit.rows for hit in found] == [rows for _, rows in expected]
    np.testing.assert_allclose([hit.cosine for hit in found], [cosine for cosine, _ in expected], atol=1e-5)


@pytest.fixture(scope="module")
def place(found: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("search") / "data"
    return Path(shutil.copytree(found, root, ignore=shutil.ignore_patterns("cache")))


@pytest.fixture(scope="module")
def view(place: Path) -> View:
    found = resolve_filters(scan(place), FilterSpec(run="demo-tuned"))
    assert found
    return found


@pytest.fixture(scope="module")
def folder(place: Path) -> Folder:
    found = scan(place).find("curated", "small")
    assert found
    return found


def test_missing_pictures_are_embedded_as_curation_would(view: View, folder: Folder) -> None:
    before = pictured_run(view.run, folder)
    assert before and before.missing == 40
    told: list[tuple[int, int]] = []
    embed_missing(view.run, folder, lambda done, total: told.append((done, total)))
    assert told[0] == (0, 40) and told[-1] == (40, 40)
    after = pictured_run(view.run, folder)
    assert after and after.missing == 0
    table = pd.read_parquet(view.run.path / "predictions.parquet")
    root = Path(json.loads((view.run.path / "manifest.json").read_text())["image_root"]["vqa"])
    clip = load_clip(str(CLIP), None)
    from curate.signals.clip import clip_pixels

    for row in (0, 100, 300):
        image, _ = decode((root / table["images"][row][0]).read_bytes(), max_bytes=10**8, max_pixels=10**8)
        assert image is not None
        expected = clip.embed_images(clip_pixels(image, clip.input)[None])[0]
        np.testing.assert_allclose(after.vectors[after.place[row]], expected, atol=2e-3)
    size = len(after.vectors)
    embed_missing(view.run, folder, lambda done, total: None)
    again = pictured_run(view.run, folder)
    assert again and len(again.vectors) == size, "no picture is embedded twice"
    other = scan(folder.root).find("evals", "demo-base")
    assert other and (shared := pictured_run(other, folder)) and shared.missing == 0, "two runs share their pictures"


def test_answers_are_wrong_ones_of_the_view_and_near_the_text(view: View, folder: Folder) -> None:
    pictured = pictured_run(view.run, folder)
    assert pictured
    query = query_of(view.run, folder, len(pictured.vectors), "a red circle", "")
    assert query is not None and np.linalg.norm(query) == pytest.approx(1, abs=1e-2)
    found = found_answers(view, folder, len(pictured.vectors), query.tobytes(), 5, "")
    table = pd.read_parquet(view.run.path / "predictions.parquet")
    wrong = np.flatnonzero((table["accuracy"] < 0.5) | (table["status"] != "ok"))
    cosine = np.where(
        np.isin(np.arange(len(table)), wrong), pictured.vectors[pictured.place].astype(np.float64) @ query, -2
    )
    assert found[0].cosine == pytest.approx(cosine.max(), abs=1e-3)
    assert set(found[0].rows) == {row for row in wrong if cosine[row] > cosine.max() - 1e-6}


def test_a_row_is_not_like_itself(view: View, folder: Folder) -> None:
    pictured, training = pictured_run(view.run, folder), pictured_set(folder)
    assert pictured and training
    samples = pd.read_parquet(folder.path / "samples.parquet")
    query = query_of(view.run, folder, len(pictured.vectors), "", samples["sample_id"][30])
    assert query is not None
    found = found_cases(folder, query.tobytes(), 3, samples["sample_id"][30])
    own = samples["image_keys"][30][0]
    assert len(found) == 3 and all(samples["image_keys"][hit.rows[0]][0] != own for hit in found)
    (first, *_) = found_cases(folder, query.tobytes(), 1, "")
    assert 30 in first.rows and first.cosine == pytest.approx(1, abs=5e-3)
    assert query_of(view.run, folder, len(pictured.vectors), "", "no/such/id") is None


def test_texts_find_their_colour_among_training_pictures(folder: Folder) -> None:
    """The demo's CLIP tells shapes and colours apart: what it finds first is what the questions say is there."""
    samples = pd.read_parquet(folder.path / "samples.parquet")
    model = model_of(folder)
    assert model
    there = samples[(samples["question"].str.contains("color")) & (samples["split"] == "train")]
    hit = 0
    for colour in (colours := sorted(set(there["answer"]))):
        (found, *_) = found_cases(folder, text_vector(model, f"a {colour} shape").tobytes(), 1, "")
        hit += colour in set(there[there["position"].isin(found.rows)]["answer"])
    assert hit >= len(colours) * 0.6, f"{hit} of {len(colours)}"


def test_a_model_that_is_gone_or_changed_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(Model("local:1", str(tmp_path / "gone"), None))
    with pytest.raises(UserError, match="not those that embedded this set"):
        load_model(Model("local:1", str(CLIP), None))


def test_pictures_that_changed_are_told_and_left_out(place: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(place, tmp_path / "own", ignore=shutil.ignore_patterns("cache")))
    for manifest in root.glob("*/*/manifest.json"):
        manifest.write_text(manifest.read_text().replace(str(place), str(root)).replace(str(place.parent), str(root)))
    catalog = scan(root)
    run, folder = catalog.find("evals", "demo-tuned"), catalog.find("curated", "small")
    assert run and folder
    manifest = json.loads((run.path / "manifest.json").read_text())
    manifest["image_root"] = {"vqa": str(root / "raw" / "images"), "caption": str(root / "raw" / "images")}
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    (root / "raw" / "images" / "test" / "0.png").write_bytes(b"other bytes")
    run = scan(root).find("evals", "demo-tuned")
    assert run
    key = ("test", str(root))
    start(key, lambda report: embed_missing(run, folder, report))
    while (work := progress_of(key)) and work.running:
        pass
    assert work and "1 of 40 pictures" in work.problem and "changed since the run" in work.problem
    assert (left := pictured_run(run, folder)) and left.missing == 1
