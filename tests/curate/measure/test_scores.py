import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from curate.measure.embeddings import write_scores
from curate.measure.images import measure_images
from curate.rules.columns import known_columns
from curate.settings.signals import ClipSettings, HeadSettings, MeasureSettings, PromptSet
from curate.signals.clip import SHIPPED, prompt_scores
from tests.curate import sets
from tests.curate.make_images import clip_folder, noise, write
from winnow.errors import UserError

PROMPTS = PromptSet(positive=("a cat", "a kitten"), negative=("a dog", "a house", "a tree"), scale=20)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return clip_folder(tmp_path_factory.mktemp("model") / "clip")


@pytest.fixture
def measured(tmp_path, clip):
    """A signals folder of five images in two parts and one file that is none, and its settings."""
    for number in range(5):
        write(tmp_path / "root" / f"{number}.png", noise(seed=number))
    write(tmp_path / "root" / "broken.png", b"broken")
    settings = MeasureSettings(workers=1, shard_size=3, clip=ClipSettings(model=str(clip)))
    paths = [*(f"{number}.png" for number in range(5)), "broken.png"]
    measure_images(paths, tmp_path / "root", tmp_path / "out", settings)
    return tmp_path / "out", settings


def stored(out):
    return {row.pop("image_key"): row for row in pq.read_table(out / "scores.parquet").to_pylist()}


def embeddings(out):
    rows = [row for part in sorted(out.glob("part-*")) for row in pq.read_table(part).to_pylist()]
    return {row["image_key"]: row["clip_embedding"] for row in rows}


@pytest.mark.slow
def test_scores_equal_the_definition(measured, clip, tmp_path):
    from curate.signals.clip import load_clip

    out, settings = measured
    weight = np.random.default_rng(0).normal(size=(1, 8)).astype(np.float32)
    save_file({"linear.weight": weight, "linear.bias": np.float32([0.3])}, tmp_path / "head.safetensors")
    prompts = {"cats": PROMPTS, "violence": "shipped"}
    write_scores(
        out,
        settings.model_copy(
            update={"prompts": prompts, "heads": {"taste": HeadSettings(file=tmp_path / "head.safetensors")}}
        ),
    )
    model = load_clip(str(clip), None)
    for key, scores in stored(out).items():
        image = embeddings(out)[key]
        if image is None:
            assert set(scores.values()) == {None}
            continue
        for name, positive, negative, scale in (
            ("cats", PROMPTS.positive, PROMPTS.negative, 20),
            ("violence", *SHIPPED["violence"], 100),
        ):
            power = [np.exp(scale * float(np.dot(image, model.embed_texts([text])[0].astype(float))))
                     for text in (*positive, *negative)]  # fmt: skip
            assert scores[name] == pytest.approx(sum(power[: len(positive)]) / sum(power), abs=1e-3)
        assert scores["taste"] == pytest.approx(1 / (1 + np.exp(-float(np.dot(weight[0], image)) - 0.3)), abs=1e-4)
    assert sum(scores["cats"] is None for scores in stored(out).values()) == 1


def test_prompts_embedded_before_need_no_model_and_no_image(measured, monkeypatch):
    import curate.measure.texts as scores

    out, settings = measured
    write_scores(out, settings.model_copy(update={"prompts": {"cats": PROMPTS}}))
    before = stored(out)
    monkeypatch.setattr(scores, "clip_model", lambda settings: pytest.fail("loaded again"))
    monkeypatch.setattr("curate.measure.row.decode_whole", lambda *_, **__: pytest.fail("decoded"))
    swapped = PromptSet(positive=PROMPTS.negative, negative=PROMPTS.positive, scale=20)
    write_scores(out, settings.model_copy(update={"prompts": {"others": swapped, "cats": PROMPTS}}))
    for key, row in stored(out).items():
        assert row["cats"] == before[key]["cats"]
        assert row["cats"] is None or row["others"] == pytest.approx(1 - row["cats"])


def test_without_scores_there_is_no_file(measured):
    out, settings = measured
    write_scores(out, settings.model_copy(update={"prompts": {"cats": PROMPTS}}))
    write_scores(out, settings)
    assert not (out / "scores.parquet").exists()


def test_probabilities_of_extreme_cosines_stay_numbers():
    images = np.array([[1, 0], [0, 1], [-1, 0]], np.float16)
    found = prompt_scores(images, images[:1], images[2:], 1000.0)
    assert found.tolist() == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    "tensors",
    [{"weight": np.zeros((1, 9), np.float32)}, {"bias": np.zeros(1, np.float32)},
     {"weight": np.zeros((2, 8), np.float32)}, {"weight": np.zeros(8, np.float32), "more": np.zeros(1, np.float32)}],
)  # fmt: skip
def test_a_head_that_does_not_fit_is_a_sentence(measured, tmp_path, tensors):
    out, settings = measured
    save_file(tensors, tmp_path / "head.safetensors")
    with pytest.raises(UserError, match=r"linear layers from 8 numbers to 1"):
        write_scores(
            out, settings.model_copy(update={"heads": {"taste": HeadSettings(file=tmp_path / "head.safetensors")}})
        )
    (tmp_path / "head.safetensors").write_bytes(b"pickle")
    with pytest.raises(UserError, match="not readable as safetensors"):
        write_scores(
            out, settings.model_copy(update={"heads": {"taste": HeadSettings(file=tmp_path / "head.safetensors")}})
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompts": {"cats": "shipped"}}, "shipped are nsfw_clip and violence"),
        ({"prompts": {"nsfw_clip": "shipped"}, "clip": None}, "set `clip:` too"),
        ({"prompts": {"a b": PROMPTS}}, "a unique name"),
        ({"prompts": {"cats": PROMPTS}, "heads": {"cats": "x"}}, "a unique name"),
        ({"prompts": {"cats": {"positive": [], "negative": ["a"]}}}, "at least 1 item"),
    ],
)
def test_settings_that_cannot_be_computed(settings, message):
    with pytest.raises(ValueError, match=message):
        MeasureSettings(**{"clip": {"model": "x"}, **settings})


def test_a_score_may_not_hide_another_column():
    with pytest.raises(UserError, match="'width' is the name of another column"):
        known_columns(("width",))


@pytest.mark.slow
def test_a_prompt_set_added_later_decides_without_a_decode(tmp_path, clip, monkeypatch):
    from curate import pipeline
    from winnow.media import images as decode

    for number in range(4):
        write(tmp_path / "images" / f"{number}.png", noise(seed=number))
    rows = [sets.row(number, [f"{number}.png", f"{(number + 1) % 4}.png"]) for number in range(4)]
    sets.write_lines(tmp_path / "rows.jsonl", rows)
    signals = {"workers": 1, "clip": {"model": str(clip)}}
    pipeline.run(sets.recipe(tmp_path, signals=signals), "recipe.yaml")
    monkeypatch.setattr(decode, "decode_whole", lambda *_, **__: pytest.fail("decoded"))
    prompts = {"violence": "shipped", "cats": PROMPTS.model_dump(mode="json")}
    rules = {"cat": {"when": "cats > 0.5", "action": "drop"}, "violent": {"when": "violence > 2", "action": "flag"}}
    changed = sets.recipe(tmp_path, signals={**signals, "prompts": prompts}, rules=rules)
    outcome = pipeline.decide_again(changed, "recipe.yaml")
    scores = {key: row["cats"] for key, row in stored(tmp_path / "out" / "signals").items()}
    assert len(scores) == 4
    decided = pq.read_table(tmp_path / "out" / "decisions.parquet").to_pylist()
    keys = pq.read_table(tmp_path / "out" / "samples.parquet", columns=["image_keys"])["image_keys"].to_pylist()
    worst = [max(scores[key] for key in one) for one in keys]
    assert [row["reason"] for row in decided] == ["cat" if value > 0.5 else None for value in worst]
    assert outcome.workspace.scores.is_file()
    pipeline.decide_again(sets.recipe(tmp_path, signals=signals), "recipe.yaml")
    assert not outcome.workspace.scores.exists()
