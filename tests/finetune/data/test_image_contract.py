"""An image costs the same tokens wherever the trained model's inputs are prepared, for every family with a recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from evalsuite.backends import Request
from evalsuite.backends import model as evaluated
from evalsuite.backends.greedy import Unit, prepare
from evalsuite.backends.transformers import render
from evalsuite.recipe import ModelSettings
from finetune.data.chat import join_rows
from finetune.data.collate import Collator
from finetune.data.image_costs import image_token_counter
from finetune.data.preflight import check_rows
from finetune.data.rows import open_rows
from finetune.model.load import load_processor
from finetune.recipe import TrainRecipe
from finetune.training.prompts import kept_prompt
from tests.finetune import families
from tests.finetune.toys import record, write_rows
from winnow.errors import UserError
from winnow.vlm.inputs import InputSettings, apply_to_processor, save_input_settings
from winnow.vlm.models import load_processor as plain_processor

SHAPES = {"tiny": (9, 7), "photo": (320, 240), "panorama": (600, 75), "page": (210, 297)}
SETTINGS = {
    "qwen2_5_vl": [InputSettings(max_pixels=30_000), InputSettings(processor={"min_pixels": 8_000})],
    "qwen3_vl": [InputSettings(max_pixels=30_000), InputSettings(processor={"size": {"longest_edge": 9_000}})],
    "llava_1_5": [InputSettings()],
    "llava_onevision": [
        InputSettings(max_pixels=1_500, processor={"image_grid_pinpoints": [[32, 32], [32, 64], [64, 32], [64, 64]]})
    ],
    "smolvlm": [
        InputSettings(max_pixels=5_000, processor={"size": {"longest_edge": 96}}),
        InputSettings(processor={"do_image_splitting": False}),
    ],
    "internvl": [InputSettings(processor={"max_patches": 4}), InputSettings(max_pixels=2_000)],
    "gemma3": [InputSettings(max_pixels=5_000)],
    "paligemma": [InputSettings(max_pixels=5_000)],
}
CASES = [pytest.param(family, given, id=f"{family}-{n}") for family, all_ in SETTINGS.items()
         for n, given in enumerate(all_)]  # fmt: skip


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A row for each shape, and one of two images."""
    folder = tmp_path_factory.mktemp("shapes")
    for name, size in SHAPES.items():
        Image.radial_gradient("L").resize(size).convert("RGB").save(folder / f"{name}.png")
    records = [record(number, f"{name}.png", "what color?", "red") for number, name in enumerate(SHAPES)]
    two = {**record(9, None, "what color?", "red"), "image": ["photo.png", "page.png"]}
    data = write_rows(folder / "rows.jsonl", [*records, two])
    return open_rows(TrainRecipe(name="p", model="m", data=data, image_root=folder))


def count(processor, ids) -> int:
    return ids.tolist().count(families.image_token(processor))


@pytest.mark.parametrize(("family", "settings"), CASES)
def test_one_image_costs_the_same_everywhere(family, settings, rows, tmp_path):
    """Training, pre-flight, prompts, evaluation and the saved processor alone, where it does the whole work."""
    getattr(families, family)().save_pretrained(tmp_path / "base")
    processor = load_processor(str(tmp_path / "base"), None, settings)
    collator = Collator(processor, rows.image_root, settings)
    trained = [collator([join_rows([rows[row]], [row])]) for row in range(len(rows))]
    wanted = [count(processor, batch["input_ids"][0]) for batch in trained]
    assert min(wanted) >= 4  # every family's own number of tokens, not a placeholder

    checked = check_rows(rows, processor, settings=settings, max_length=10**6, max_reject=0.0, sample_answers=False,
                         workers=0, rejects=tmp_path / "rejects.jsonl")  # fmt: skip
    assert checked.accepted.tokens.tolist() == [int(batch["attention_mask"].sum()) for batch in trained]

    asked = [kept_prompt(rows[row], rows.image_root, held_out=True) for row in range(len(rows))]
    assert [count(processor, ask.inputs(processor, settings)["input_ids"][0]) for ask in asked] == wanted

    processor.save_pretrained(tmp_path / "merged")
    reloaded = plain_processor(str(tmp_path / "merged"))
    if settings.max_pixels is None or family.startswith("qwen"):
        assert [count(processor, ask.inputs(reloaded, InputSettings())["input_ids"][0]) for ask in asked] == wanted

    save_input_settings(tmp_path / "merged", settings)
    if family != "paligemma":  # it has no chat template, so it is not asked by evalsuite
        choice = ModelSettings(path=str(tmp_path / "merged"))
        ours = evaluated.load_processor(choice)
        model = evaluated.Loaded(None, ours, None, frozenset(), evaluated.input_settings(choice))
        requests = [
            Request(str(row), render(ours, "what color?", len(names), None), tuple(map(str, names)), names, 5, ())
            for row, names in enumerate(tuple(rows.image_root / name for name in rows[row].image)
                                        for row in range(len(rows)))
        ]  # fmt: skip
        prepared = [prepare(Unit((request,)), model, None).batch["input_ids"][0] for request in requests]
        assert [count(processor, ids) for ids in prepared] == wanted


@pytest.mark.parametrize(("family", "settings"), [case for case in CASES if case.values[1] != InputSettings()])
def test_the_settings_of_these_tests_matter(family, settings, rows):
    """Without them some image is other tokens or pixels."""
    plain, changed = (getattr(families, family)() for _ in range(2))
    apply_to_processor(changed, settings)
    for row in range(len(SHAPES)):
        talks = [join_rows([rows[row]], [row])]
        before = Collator(plain, rows.image_root)(talks)
        after = Collator(changed, rows.image_root, settings)(talks)
        if before["pixel_values"].shape != after["pixel_values"].shape:
            return
        if not before["pixel_values"].equal(after["pixel_values"]):
            return
    pytest.fail("the settings change nothing")


@pytest.mark.parametrize(
    ("family", "settings", "names"),
    [
        ("internvl", {"max_patchs": 4}, "max_patches"),
        ("smolvlm", {"do_image_spliting": False}, "do_image_splitting"),
        ("gemma3", {"return_tensors": "np"}, "no setting"),
        ("qwen2_5_vl", {"size": {"shortest_edge": 5, "width": 7}}, "does not take"),
        ("qwen2_5_vl", {"min_pixels": 50_000}, "50,000 pixels at least and 12,544 at most"),
        ("internvl", {"max_patches": "four"}, "does not take .*four"),
        ("llava_onevision", {"image_grid_pinpoints": [[32]]}, "does not take"),
        ("smolvlm", {"size": {"longest_edge": 0}}, "does not take"),
    ],
)
def test_settings_that_a_processor_lacks(family, settings, names):
    with pytest.raises(UserError, match=names):
        apply_to_processor(getattr(families, family)(), InputSettings(processor=settings))


def test_two_limits_of_one_area():
    both = InputSettings(max_pixels=9_000, processor={"size": {"longest_edge": 9_000}})
    with pytest.raises(UserError, match="leave one of them out"):
        apply_to_processor(families.qwen3_vl(), both)


def test_a_size_that_the_processor_refuses_costs_its_row(tmp_path):
    """Qwen's processors raise an error on images 200 times as wide as high."""
    import json

    Image.new("RGB", (900, 4)).save(tmp_path / "strip.png")
    Image.new("RGB", (90, 40)).save(tmp_path / "fine.png")
    data = write_rows(tmp_path / "rows.jsonl", [record(n, f"{name}.png", "q", "a")
                                                for n, name in enumerate(("strip", "fine"))])  # fmt: skip
    rows = open_rows(TrainRecipe(name="p", model="m", data=data, image_root=tmp_path))
    found = check_rows(rows, families.qwen2_5_vl(), settings=InputSettings(), max_length=999, max_reject=1.0,
                       sample_answers=False, workers=0, rejects=tmp_path / "rejects.jsonl")  # fmt: skip
    reject = json.loads(Path(tmp_path / "rejects.jsonl").read_text())
    assert reject["sample_id"] == "toy/train/0" and reject["reason"] == "image" and "aspect ratio" in reject["detail"]
    assert found.accepted.row.tolist() == [1] and set(found.sizes) == {(90, 40)}


def test_an_image_among_others_has_its_own_price():
    """OneVision cuts only a single image into crops."""
    processor = families.llava_onevision()
    counted = image_token_counter(processor, InputSettings())
    assert counted((60, 30)) > counted((60, 30), 2) == counted((999, 30), 3)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["internvl", "llava_onevision", "qwen3_vl", "smolvlm"])
def test_many_sizes_are_calculated_and_right(family, monkeypatch):
    """Each count is compared with a processor that measures it; SmolVLM's arithmetic leaves out the crops' names."""
    processor = getattr(families, family)()
    sizes = [(37 * n % 400 + 20, 53 * n % 300 + 20) for n in range(60)]
    counted = image_token_counter(processor, InputSettings())
    assert [counted(size) for size in sizes] == [
        image_token_counter(processor, InputSettings())(size) for size in sizes
    ]
    calls = []
    measure = type(processor).__call__
    monkeypatch.setattr(
        type(processor), "__call__", lambda *args, **kwargs: calls.append(1) or measure(*args, **kwargs)
    )
    again = image_token_counter(processor, InputSettings())
    assert [again(size) for size in sizes] == [counted(size) for size in sizes]
    assert (len(calls) < 30) == (family != "smolvlm")
