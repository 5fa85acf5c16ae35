"""Search, short keys and the store of pictures against plain readings of the same data."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboards.data.catalog import Folder, scan
from dashboards.find.embeddings import Model, Store, adopt, cosines, embedding_of, model_of, short_keys
from winnow.errors import UserError

_MODEL = Model("local:0", "folder", None)


def _unit(count: int, width: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


@pytest.mark.parametrize("count", [0, 1, 1_249, 1_250, 1_251, 10_000])
def test_cosines_are_those_of_the_whole_matrix(count: int) -> None:
    vectors, query = _unit(count, 24, 0), _unit(1, 24, 1)[0].astype(np.float32)
    np.testing.assert_allclose(cosines(vectors, query), vectors.astype(np.float64) @ query, atol=1e-6)


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=8), max_size=20))
def test_short_keys_are_the_first_eight_bytes(contents: list[bytes]) -> None:
    digests = [hashlib.sha256(content) for content in contents]
    keys = np.array([digest.hexdigest().encode() for digest in digests], dtype="S64")
    assert short_keys(keys).tolist() == [int.from_bytes(digest.digest()[:8], "big") for digest in digests]


def test_the_store_gives_back_what_was_appended(tmp_path: Path) -> None:
    store = Store(tmp_path, _MODEL)
    assert store.size() == 0 and store.read(8)[1].shape == (0, 8)
    vectors = _unit(5, 8, 0)
    store.append(np.arange(3, dtype=np.uint64), vectors[:3])
    store.append(np.arange(3, 5, dtype=np.uint64), vectors[3:])
    keys, stored = store.read(8)
    assert keys.tolist() == [0, 1, 2, 3, 4] and store.size() == 5
    np.testing.assert_array_equal(stored, vectors)
    assert Store(tmp_path, Model("local:1", "folder", None)).size() == 0, "another model has pictures of its own"


def test_a_kill_while_a_batch_is_written_loses_only_that_batch(tmp_path: Path) -> None:
    store, vectors = Store(tmp_path, _MODEL), _unit(4, 8, 0)
    store.append(np.arange(2, dtype=np.uint64), vectors[:2])
    (file,) = (tmp_path / "cache" / "embeddings").glob("*.vectors")
    with file.open("ab") as torn:  # the vectors were written, half a one too much, and the keys were not
        torn.write(vectors[2:].tobytes()[:24])
    assert store.read(8)[0].tolist() == [0, 1]
    store.append(np.array([7], dtype=np.uint64), vectors[3:])
    keys, stored = store.read(8)
    assert keys.tolist() == [0, 1, 7]
    np.testing.assert_array_equal(stored, vectors[[0, 1, 3]])


def test_a_cache_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot be written"):
        Store(tmp_path, _MODEL).append(np.arange(1, dtype=np.uint64), _unit(1, 8, 0))


@pytest.fixture
def folder(small: Path, tmp_path: Path) -> Folder:
    root = Path(shutil.copytree(small, tmp_path / "copy", ignore=shutil.ignore_patterns("cache")))
    found = scan(root).find("curated", "small")
    assert found is not None
    return found


def test_what_curation_embedded_is_taken_over(folder: Folder) -> None:
    own = pd.read_parquet(next((folder.path / "signals").glob("part-*.parquet")))["image_key"].tolist()
    held = pd.read_parquet(next(folder.path.glob("against/*/signals/part-*.parquet")))["image_key"].tolist()
    wanted = [*own[3:5], *held]
    keys = short_keys(np.array([key.encode() for key in wanted], dtype="S64"))
    store = Store(folder.root, _MODEL)
    adopt(folder, store, np.unique(np.append(keys, np.uint64(5))))
    stored, vectors = store.read(64)
    assert sorted(stored.tolist()) == sorted(set(keys.tolist())), "the unknown picture 5 is left out"
    for key, short in zip(wanted, keys, strict=True):
        at = stored.tolist().index(int(short))
        np.testing.assert_allclose(vectors[at], embedding_of(folder, key), atol=1e-3)


def test_the_model_is_the_one_that_the_signals_name(folder: Folder) -> None:
    model = model_of(folder)
    assert model and model.name.startswith("local:") and Path(model.model).name == "clip"
