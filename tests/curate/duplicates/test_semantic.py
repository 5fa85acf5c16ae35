"""Near-duplicates by embedding, against all pairs computed one by one."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.duplicates import semantic
from curate.duplicates.semantic import semantic_pairs
from curate.measure.set_embeddings import SetEmbeddings
from curate.pipeline import run
from tests.curate.sets import recipe, row, save, scene, write_lines


def embeddings(seed, images, width=80, clusters=4, model="clip"):
    """Clustered unit vectors; every fifth image has none."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(clusters, width))
    values = centres[random.integers(0, clusters, images)] + random.normal(size=(images, width)) * random.choice(
        [0.02, 0.3, 1], (images, 1)
    )
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    row = np.arange(images)
    row[4::5] = -1
    return SetEmbeddings(model, values.astype(np.float16), row)


def naive(a, b, cosine):
    """All pairs, one dot product each."""
    found = {}
    for i in a.numbers:
        for j in (b or a).numbers:
            value = float(a.of(np.array([i]))[0].astype(float) @ (b or a).of(np.array([j]))[0].astype(float))
            if round(value, 6) >= cosine and (b is not None or i < j):
                found[int(i), int(j)] = pytest.approx(min(value, 1), abs=1e-6)
    return found


def collected(a, b, cosine):
    found = {}
    for pairs in semantic_pairs(a, b, cosine):
        assert set(pairs.kind.tolist()) <= {semantic.SEMANTIC}
        for i, j, strength in zip(pairs.i.tolist(), pairs.j.tolist(), pairs.strength.tolist(), strict=True):
            assert (i, j) not in found
            found[i, j] = strength
    return found


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 99), sizes=st.tuples(st.integers(1, 40), st.integers(0, 40)),
    cosine=st.sampled_from([-1.0, 0.0, 0.6, 0.95, 1.0]), blocks=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    dense=st.sampled_from([1, 10**6]),
)  # fmt: skip
def test_equals_all_pairs_for_any_blocks(seed, sizes, cosine, blocks, dense):
    a = embeddings(seed, sizes[0])
    b = embeddings(seed, sizes[1]) if sizes[1] else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semantic, "_LEFT", blocks[0])
        patch.setattr(semantic, "_RIGHT", blocks[1])
        patch.setattr(semantic, "_DENSE", dense)
        patch.setattr(semantic, "_DIRECTIONS", 8)
        assert collected(a, b, cosine) == naive(a, b, cosine)


def test_embeddings_of_two_models_are_not_compared():
    with pytest.raises(ValueError, match="clip cannot be compared with those of embedding"):
        next(semantic_pairs(embeddings(0, 3), embeddings(0, 3, model="embedding"), 0.9))


def naive_clusters(found, order, cosine):
    """Each image in turn joins the first leader that is near, or leads."""
    near = {pair for i, j in naive(found, None, cosine) for pair in ((i, j), (j, i))}
    leader, leaders = {}, []
    for image in order.tolist():
        leader[image] = next((other for other in leaders if (image, other) in near), image)
        if leader[image] == image:
            leaders.append(image)
    return [leader.get(image, -1) for image in range(len(found.row))]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999), images=st.integers(1, 60), old=st.integers(0, 60),
    cosine=st.sampled_from([0.5, 0.9, 0.99]), block=st.integers(1, 70),
)  # fmt: skip
def test_clusters_are_greedy_stars_and_an_earlier_search_changes_nothing(seed, images, old, cosine, block):
    found = embeddings(seed, images)
    order = np.random.default_rng(seed).permutation(found.numbers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semantic, "_LEFT", block)
        expected = naive_clusters(found, order, cosine)
        whole = semantic.cluster(found, order, cosine)
        assert whole.representative.tolist() == expected
        assert (whole.cosine >= cosine).all()
        old = min(old, images)
        first = SetEmbeddings("clip", found.values, found.row[:old])
        earlier = semantic.cluster(first, order[order < old], cosine).representative
        assert semantic.cluster(found, order, cosine, earlier).representative.tolist() == expected


def test_a_recipe_flags_what_is_beyond_keep_and_adding_images_gives_the_same_bytes(tmp_path):
    for number in range(6):
        save(tmp_path / "images" / f"{number}.png", scene(number // 3, 64 + 16 * (number % 3)))

    def curate(folder, rows):
        write_lines(tmp_path / "rows.jsonl", [row(number, f"{number}.png") for number in range(rows)])
        signals = {"workers": 1, "embedding": "efficientnet-lite0"}
        return run(
            recipe(tmp_path, out=str(tmp_path / folder), signals=signals, semantic={"cosine": 0.9, "keep": 2}), ""
        )

    curate("grown", 4)
    grown, whole = curate("grown", 6).workspace, curate("whole", 6).workspace
    assert (grown.ledger.read_bytes(), grown.semantic_images.read_bytes()) == (
        whole.ledger.read_bytes(), whole.semantic_images.read_bytes(),
    )  # fmt: skip
    flagged = [json.loads(line) for line in whole.ledger.read_text().splitlines()]
    assert [(one["image"], one["rules"][0]["rule"], one["decision"]) for one in flagged] == [
        ("0.png", "semantic_repeat", "flag"), ("3.png", "semantic_repeat", "flag"),
    ]  # fmt: skip
    clusters = pq.read_table(whole.semantic_images).to_pylist()
    assert sorted(one["semantic_place"] for one in clusters) == [1, 1, 2, 2, 3, 3]
    assert {one["semantic_cluster_size"] for one in clusters} == {3}
    assert all(one["semantic_similarity"] >= 0.9 for one in clusters)


def test_semantic_needs_embeddings(tmp_path):
    with pytest.raises(ValueError, match="efficientnet-lite0"):
        recipe(tmp_path, semantic={})
